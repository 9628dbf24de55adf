//! Whether the node has as much in memory, or as much to do, as it can: then new connections are refused first, so that those that are
//! there go on. Looked at by tasks of its own, asked at each CONNECT. It ends nothing that is there.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};
use tracing::{info, warn};

use super::memory;
use crate::config::LimitSettings;
use crate::process::Usage;

/// Of its memory so many percent are too much, until it has so few again.
const SHED_PERCENT: u64 = 90;
const BACK_PERCENT: u64 = 85;
/// Between two looks at the memory.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Between two ticks of a loop that is looked at.
const TICK: Duration = Duration::from_millis(100);
/// So many ticks one after the other have to be late, or in time again: a machine that slept is late once.
const IN_A_ROW: u32 = 5;

/// Of what there is too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Memory in use.
    Memory,
    /// Work: a loop is late.
    Lag,
}

/// Whether there is too much of anything.
#[derive(Debug)]
pub(crate) struct Overload {
    /// Bytes; 0 is as many as there are.
    memory_max: u64,
    lag_max: Option<Duration>,
    memory: AtomicBool,
    /// Loops that are late.
    late: AtomicUsize,
}

impl Overload {
    /// Under these limits; its memory is looked at already.
    pub(crate) fn new(limits: &LimitSettings) -> Self {
        let memory_max = match limits.memory_max {
            0 => memory::group_limit().unwrap_or(0),
            configured => configured,
        };
        let lag_max = Some(limits.lag_max).filter(|max| !max.is_zero());
        let this = Self { memory_max, lag_max, memory: AtomicBool::new(false), late: AtomicUsize::new(0) };
        this.look(Usage::resident_now());
        this
    }

    /// Why new connections are refused, if they are.
    pub(crate) fn cause(&self) -> Option<Cause> {
        if self.memory.load(Ordering::Relaxed) {
            return Some(Cause::Memory);
        }
        (self.late.load(Ordering::Relaxed) > 0).then_some(Cause::Lag)
    }

    /// Bytes of memory that the node may have; 0 where nothing says so.
    pub(crate) fn memory_max(&self) -> u64 {
        self.memory_max
    }

    /// Looks at the memory again and again. To be run once, on any thread.
    pub(crate) async fn watch_memory(&self) {
        if self.memory_max == 0 {
            return;
        }
        loop {
            sleep(LOOK_EVERY).await;
            self.look(Usage::resident_now());
        }
    }

    fn look(&self, resident: u64) {
        if self.memory_max == 0 {
            return;
        }
        let before = self.memory.load(Ordering::Relaxed);
        let now = is_too_much(before, resident, self.memory_max);
        self.memory.store(now, Ordering::Relaxed);
        let (max, share) = (self.memory_max, SHED_PERCENT);
        match (before, now) {
            (false, true) => {
                warn!(target: "quelea", resident, max, "too much memory is in use ({share} % of the limit): new connections are refused");
            }
            (true, false) => {
                info!(target: "quelea", resident, max, "new connections are taken again: memory is free")
            }
            _ => {}
        }
    }

    /// Looks whether the loop that this runs on is late, again and again. To be run once on each.
    pub(crate) async fn watch_loop(&self) {
        let Some(max) = self.lag_max else { return };
        let mut lateness = Lateness::default();
        loop {
            let due = Instant::now() + TICK;
            sleep_until(due).await;
            match lateness.tick(due.elapsed() > max) {
                Some(true) if self.late.fetch_add(1, Ordering::Relaxed) == 0 => {
                    warn!(target: "quelea", ?max, "too much to do, a thread is late: new connections are refused");
                }
                Some(false) if self.late.fetch_sub(1, Ordering::Relaxed) == 1 => {
                    info!(target: "quelea", "new connections are taken again: no thread is late");
                }
                _ => {}
            }
        }
    }
}

fn is_too_much(before: bool, resident: u64, max: u64) -> bool {
    let percent = if before { BACK_PERCENT } else { SHED_PERCENT };
    u128::from(resident) * 100 >= u128::from(max) * u128::from(percent)
}

/// Of one loop.
#[derive(Debug, Default)]
struct Lateness {
    late: bool,
    /// Ticks one after the other that say otherwise.
    otherwise: u32,
}

impl Lateness {
    /// A tick was late or not; gives what the loop is from now on, where that is another than before.
    fn tick(&mut self, late: bool) -> Option<bool> {
        self.otherwise = if late == self.late { 0 } else { self.otherwise + 1 };
        if self.otherwise < IN_A_ROW {
            return None;
        }
        *self = Self { late, otherwise: 0 };
        Some(late)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_too_much_from_one_share_on_and_enough_again_below_another() {
        let (mut over, max) = (false, 1_000);
        let seen: Vec<bool> = [0, 899, 900, 1_500, 860, 850, 849, 899, 900]
            .into_iter()
            .map(|resident| {
                over = is_too_much(over, resident, max);
                over
            })
            .collect();
        assert_eq!(seen, [false, false, true, true, true, true, false, false, true]);
        assert!(is_too_much(false, u64::MAX, u64::MAX) && !is_too_much(false, 5, u64::MAX));
    }

    #[test]
    fn a_loop_is_late_after_some_ticks_in_a_row_and_no_more_after_as_many() {
        let mut lateness = Lateness::default();
        let ticks = "x....xxxx.xxxxx.xxxx....x.....".chars().map(|tick| lateness.tick(tick == 'x'));
        let changes: Vec<(usize, bool)> =
            ticks.enumerate().filter_map(|(at, change)| Some((at, change?))).collect();
        assert_eq!(changes, [(14, true), (29, false)]);
    }

    #[test]
    fn the_node_is_overloaded_by_what_it_was_told_to_be() {
        let mut limits = LimitSettings { memory_max: 1 << 50, ..LimitSettings::default() };
        let overload = Overload::new(&limits);
        assert_eq!((overload.cause(), overload.memory_max()), (None, 1 << 50));
        overload.look(1 << 50);
        assert_eq!(overload.cause(), Some(Cause::Memory));
        overload.look(1);
        assert_eq!(overload.cause(), None);
        limits.memory_max = 1;
        assert_eq!(Overload::new(&limits).cause(), Some(Cause::Memory), "from the beginning");
    }
}
