//! Evenly spaced permits for a steady rate, from a thread of their own: the runtime's timers go
//! by milliseconds, and a burst each millisecond is not the load that was asked for.
//! Started by `coordinator`, consumed by `publisher`. It ends with the publishing.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Waker;
use std::thread;
use std::time::{Duration, Instant};

use super::control::Phase;
use super::worker::Shared;

/// The shortest sleep: below it, permits are given out a few at a time.
const SLEEP_MIN: Duration = Duration::from_micros(50);
/// The longest sleep, so that the end of the run is noticed.
const SLEEP_MAX: Duration = Duration::from_millis(50);

/// The permits of one publisher.
#[derive(Debug, Default)]
pub(super) struct Permits {
    granted: AtomicU64,
    waker: OnceLock<Waker>,
}

impl Permits {
    /// Wakes `waker` at each permit from now on. Called once, by the publisher.
    pub(super) fn register(&self, waker: &Waker) {
        self.waker.get_or_init(|| waker.clone());
    }

    /// Permits granted since the start.
    pub(super) fn granted(&self) -> u64 {
        self.granted.load(Ordering::SeqCst)
    }

    fn grant(&self, count: u64) {
        self.granted.fetch_add(count, Ordering::SeqCst);
        if let Some(waker) = self.waker.get() {
            waker.wake_by_ref();
        }
    }
}

/// Grants `rate` permits a second in all, to one publisher after another, while the run is running.
///
/// # Errors
/// Where the thread cannot be started.
pub(super) fn start(shared: Arc<Shared>, rate: f64) -> std::io::Result<thread::JoinHandle<()>> {
    thread::Builder::new().name("bench-pacer".into()).spawn(move || {
        let start = Instant::now();
        let (mut granted, mut turn) = (0_u64, 0);
        while shared.control.phase() == Phase::Running {
            let due = due(start.elapsed(), rate);
            turn = grant(&shared.permits, due - granted, turn);
            granted = due;
            thread::park_timeout(until(start, granted + 1, rate).clamp(SLEEP_MIN, SLEEP_MAX));
        }
    })
}

/// Grants `count` permits evenly, beginning with publisher `turn`; returns whose turn is next.
fn grant(permits: &[Permits], count: u64, turn: usize) -> usize {
    let publishers = permits.len().max(1);
    let each = count / publishers as u64;
    // Less than the publishers, which are counted in a usize.
    let rest = usize::try_from(count % publishers as u64).unwrap_or_default();
    for (index, permits) in permits.iter().enumerate() {
        let place = (index + publishers - turn) % publishers;
        let share = each + u64::from(place < rest);
        if share > 0 {
            permits.grant(share);
        }
    }
    (turn + rest) % publishers
}

/// How many permits are due after `elapsed`.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a count that fits in u64 for ages"
)]
fn due(elapsed: Duration, rate: f64) -> u64 {
    (elapsed.as_secs_f64() * rate) as u64
}

/// The time until permit `number` is due.
#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 messages")]
fn until(start: Instant, number: u64, rate: f64) -> Duration {
    let at = Duration::try_from_secs_f64(number as f64 / rate).unwrap_or(SLEEP_MAX);
    (start + at).saturating_duration_since(Instant::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permits_go_round() {
        let permits: Vec<_> = (0..3).map(|_| Permits::default()).collect();
        let granted = || permits.iter().map(Permits::granted).collect::<Vec<_>>();
        assert_eq!(grant(&permits, 1, 0), 1);
        assert_eq!(granted(), [1, 0, 0]);
        assert_eq!(grant(&permits, 2, 1), 0);
        assert_eq!(granted(), [1, 1, 1]);
        assert_eq!(grant(&permits, 7, 2), 0);
        assert_eq!(granted(), [3, 3, 4]);
        assert_eq!(grant(&permits, 0, 2), 2);
    }

    #[test]
    fn permits_come_at_their_time() {
        assert_eq!(due(Duration::from_millis(1500), 10.0), 15);
        let start = Instant::now();
        assert!(until(start, 5, 10.0) <= Duration::from_millis(500));
        assert!(until(start, 5, 10.0) > Duration::from_millis(300));
        assert_eq!(until(start, 0, 10.0), Duration::ZERO);
    }
}
