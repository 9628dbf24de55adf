//! What is left of a log without space for clients that come back to take what waits for them: so much of it, and so many
//! of them in a second. Asked by `Shards` before a CONNECT is held back; puts nothing into the log itself.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Between two of them: whoever is refused and comes back at once is not to use up what others need.
const PAUSE: Duration = Duration::from_millis(50);
/// Which part of a segment of the log they have in all, each time that there is no space.
const PART_OF_SEGMENT: u64 = 32;
/// Bytes that one takes in the log besides its CONNECT, its end included, at most.
const BESIDES_BYTES: usize = 1_024;

/// How those who come to drain their queues share what they may use.
#[derive(Debug)]
pub(super) struct Drains {
    bytes_max: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    bytes_left: usize,
    next: Option<Instant>,
}

/// Whether one more may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// It may, and what it uses is taken.
    Now,
    /// Not before this.
    At(Instant),
    /// What there was for them is used up.
    Over,
}

impl Drains {
    /// For a log with segments of so many bytes.
    pub(super) fn new(segment_bytes: u64) -> Self {
        let bytes_max = usize::try_from(segment_bytes / PART_OF_SEGMENT).unwrap_or(usize::MAX);
        Self { bytes_max, state: Mutex::new(State { bytes_left: bytes_max, next: None }) }
    }

    /// Takes what a CONNECT of so many bytes uses, if it is its turn `now`.
    pub(super) fn take(&self, bytes: usize, now: Instant) -> Turn {
        let mut state = self.state.lock();
        let bytes = bytes + BESIDES_BYTES;
        if bytes > state.bytes_left {
            return Turn::Over;
        }
        if let Some(next) = state.next.filter(|next| now < *next) {
            return Turn::At(next);
        }
        state.next = Some(now + PAUSE);
        state.bytes_left -= bytes;
        Turn::Now
    }

    /// There is space again.
    pub(super) fn refill(&self) {
        self.state.lock().bytes_left = self.bytes_max;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_come_to_drain_have_a_part_of_the_log_and_come_one_after_the_other() {
        let (begun, drains) = (Instant::now(), Drains::new(32 * 10_000));
        let (mut now, mut came) = (begun, 0);
        assert_eq!(drains.take(10_000, now), Turn::Over, "a will that is larger than all of it");
        loop {
            match drains.take(1_000, now) {
                Turn::Now => came += 1,
                Turn::At(then) => now = then,
                Turn::Over => break,
            }
        }
        assert_eq!((came, now - begun), (4, 3 * PAUSE));
        drains.refill();
        assert_eq!(drains.take(1_000, now), Turn::At(now + PAUSE));
        assert_eq!(drains.take(1_000, now + PAUSE), Turn::Now);
    }
}
