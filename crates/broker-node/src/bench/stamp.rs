//! The clock of a run and the stamp at the head of each payload: time sent, publisher, number.
//! Written by `publisher`, read by `subscriber`. It never asks the wall clock after the start.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Bytes of a stamp: the smallest payload that can carry one.
pub(super) const STAMP_LEN: usize = 16;

/// Nanoseconds since the Unix epoch that never go backwards within a process: the wall clock is
/// read once, so that two processes on one machine agree, and the monotonic clock carries on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    start: Instant,
    epoch_ns: u64,
}

impl Clock {
    pub(super) fn start() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { start: Instant::now(), epoch_ns: u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX) }
    }

    pub(super) fn now_ns(&self) -> u64 {
        let elapsed = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.epoch_ns.saturating_add(elapsed)
    }
}

/// What the first [`STAMP_LEN`] bytes of a payload say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) sent_ns: u64,
    pub(super) publisher: u32,
    pub(super) sequence: u32,
}

impl Stamp {
    pub(super) fn to_bytes(self) -> [u8; STAMP_LEN] {
        let packed =
            u128::from(self.sent_ns) << 64 | u128::from(self.publisher) << 32 | u128::from(self.sequence);
        packed.to_be_bytes()
    }

    /// The stamp of a payload, or `None` where it is too short to carry one.
    #[expect(clippy::cast_possible_truncation, reason = "each field is cut out of the packed value")]
    pub(super) fn read(payload: &[u8]) -> Option<Self> {
        let packed = u128::from_be_bytes(*payload.first_chunk::<STAMP_LEN>()?);
        Some(Self {
            sent_ns: (packed >> 64) as u64,
            publisher: (packed >> 32) as u32,
            sequence: packed as u32,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_comes_back() {
        let stamp = Stamp { sent_ns: 0x0123_4567_89ab_cdef, publisher: 0xdead_beef, sequence: 7 };
        let mut payload = stamp.to_bytes().to_vec();
        payload.extend_from_slice(b"rest");
        assert_eq!(Stamp::read(&payload), Some(stamp));
        assert_eq!(Stamp::read(&payload[..15]), None);
    }
}
