//! The clock of leases. It goes on while the machine sleeps: a lease that ran out meanwhile is over when it wakes up.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use node_routing::lease::Moment;
use rustix::time::{ClockId, clock_gettime};
use session_store::failpoint;

/// Readings of both clocks that are kept: of the last few seconds.
const READINGS_MAX: usize = 64;
/// Between two of them, at least.
const READINGS_EVERY: Duration = Duration::from_millis(50);

/// The time now.
pub(super) fn now() -> Moment {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    let nanoseconds = u32::try_from(now.tv_nsec).unwrap_or_default();
    Moment::at(Duration::new(seconds, nanoseconds))
}

/// The time by which it is decided whether the node may act on what was matched before.
pub(super) fn match_time() -> Moment {
    Moment::at(failpoint::match_time(now().since(Moment::default())))
}

/// Carries times of the runtime's clock, which stands still while the machine sleeps, over to the one of leases: each by
/// two readings that were taken before it, so that a sleep between can only make it look older than it is.
#[derive(Debug, Default)]
pub(super) struct Carried {
    readings: VecDeque<(Instant, Moment)>,
}

impl Carried {
    /// Reads both clocks. The one of leases first: whatever comes between makes a time look older.
    pub(super) fn read(&mut self) {
        let lease = now();
        self.note(Instant::now(), lease);
    }

    fn note(&mut self, runtime: Instant, lease: Moment) {
        let last = self.readings.back();
        if last.is_some_and(|(at, _)| runtime.saturating_duration_since(*at) < READINGS_EVERY) {
            return;
        }
        if self.readings.len() >= READINGS_MAX {
            self.readings.pop_front();
        }
        self.readings.push_back((runtime, lease));
    }

    /// When that was; `None` where no reading is so old.
    pub(super) fn over(&self, time: Instant) -> Option<Moment> {
        let (runtime, lease) = self.readings.iter().rev().find(|(at, _)| *at <= time)?;
        Some(lease.plus(time.saturating_duration_since(*runtime)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_clock_goes_on() {
        let before = now();
        assert!(now() >= before && before > Moment::default());
    }

    #[test]
    fn a_sleep_makes_a_time_look_older_and_never_younger() {
        let (begin, lease) = (Instant::now(), Moment::at(Duration::from_secs(1_000)));
        let mut carried = Carried::default();
        assert_eq!(carried.over(begin), None, "nothing was read before it");
        carried.note(begin, lease);
        assert_eq!(carried.over(begin + MS * 70), Some(lease.plus(MS * 70)));
        // The machine slept for an hour behind the first reading.
        let (awake, hour) = (begin + MS * 100, Duration::from_secs(3_600));
        carried.note(awake, lease.plus(hour));
        assert_eq!(
            carried.over(awake - MS),
            Some(lease.plus(MS * 99)),
            "before it slept, as far as anybody knows"
        );
        assert_eq!(carried.over(awake + MS), Some(lease.plus(hour + MS)));
    }

    #[test]
    fn readings_are_few_and_never_stand_on_each_other() {
        let begin = Instant::now();
        let mut carried = Carried::default();
        for step in 0..1_000 {
            carried.note(begin + MS * step, Moment::at(MS * step));
        }
        assert!(carried.readings.len() <= 20, "{}", carried.readings.len());
        for step in 1..200 {
            carried.note(begin + MS * 1_000 * step, Moment::at(MS * 1_000 * step));
        }
        assert_eq!(carried.readings.len(), READINGS_MAX);
        assert_eq!(carried.over(begin), None, "it is forgotten: no lease rests on what is so old");
    }
}
