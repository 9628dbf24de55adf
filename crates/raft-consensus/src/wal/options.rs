//! What an operator or a test decides about the log. Read once, by `Wal::open`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::WalError;
use super::header::{FIXED, GROUP_BYTES_MAX};
use crate::floor::GROUPS_MAX;

/// Bytes of log that are kept behind a group's checkpoint for members that were away, at most.
const MARGIN_BYTES: u64 = 16 << 20;

/// When an append counts as done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// When it is synced.
    Always,
    /// When it is written; synced this often. It survives the death of the process, not that of the machine: for a
    /// single node only. Votes are synced in any case.
    Interval(Duration),
}

/// Called once when the log is poisoned: whoever gets it stops the node.
#[derive(Clone)]
pub struct PoisonHook(pub Arc<dyn Fn(&WalError) + Send + Sync>);

impl fmt::Debug for PoisonHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PoisonHook")
    }
}

/// A fault that can be built into the log to show that a test would notice it.
#[cfg(feature = "failpoints")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WalMutant {
    /// Callbacks run after the write, without a sync.
    SkipSync,
}

/// Options of the log. Sizes are in bytes.
#[derive(Clone, Debug)]
pub struct WalOptions {
    /// Size of a segment; a record may take somewhat less than half of it.
    pub segment_bytes: u64,
    /// The most that the log should hold, beyond which there is [`Room::Full`](super::Room): at least four segments.
    /// To twice as much it still takes what other nodes send; what comes then waits.
    pub log_bytes_max: u64,
    /// How many freed segments are kept for reuse.
    pub spares: usize,
    /// The most that may wait to be synced, of all groups. One append that is larger is taken when nothing waits.
    pub queue_bytes_max: usize,
    /// How much of a group's newest entries is kept in memory beyond what waits.
    pub cache_bytes_max: usize,
    /// When an append counts as done.
    pub durability: Durability,
    /// After this long without an append, an empty record is written and synced.
    pub quiet: Duration,
    /// How often the floor is written when it has changed.
    pub floor_every: Duration,
    /// How long to wait for space before trying again to prepare a segment.
    pub full_retry: Duration,
    /// Told when the log is poisoned.
    pub on_poison: Option<PoisonHook>,
    /// A fault built in, for tests of tests.
    #[cfg(feature = "failpoints")]
    pub mutant: Option<WalMutant>,
}

impl Default for WalOptions {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            log_bytes_max: 1 << 30,
            spares: 2,
            queue_bytes_max: 64 << 20,
            cache_bytes_max: 8 << 20,
            durability: Durability::Always,
            quiet: Duration::from_millis(100),
            floor_every: Duration::from_millis(100),
            full_retry: Duration::from_secs(1),
            on_poison: None,
            #[cfg(feature = "failpoints")]
            mutant: None,
        }
    }
}

impl WalOptions {
    /// The largest record, in bytes: with the reserve half a segment.
    pub(crate) fn record_bytes_max(&self) -> usize {
        self.half_bytes() - self.reserve_bytes()
    }

    /// Bytes at the end of a segment that entries leave to votes and purges, for when there is no next segment.
    pub(crate) fn reserve_bytes(&self) -> usize {
        (self.half_bytes() / 8).clamp(256, 64 << 10)
    }

    /// Bytes at the end of the last segment that nothing is proposed into while there is no next one: a start, or
    /// several, writes what it has to there.
    pub(crate) fn start_bytes(&self) -> usize {
        self.half_bytes() / 4
    }

    fn half_bytes(&self) -> usize {
        usize::try_from(self.segment_bytes / 2).unwrap_or(usize::MAX)
    }

    /// Bytes of log that are kept behind a group's checkpoint, at most; a sixteenth of the bound where that is less.
    pub(crate) fn margin_bytes(&self) -> u64 {
        MARGIN_BYTES.min(self.log_bytes_max / 16)
    }

    /// How many segments before the newest may be kept for that, by all groups together: a quarter of the bound. A
    /// group that is idle must not hold back the log of all others.
    pub(crate) fn margin_segments(&self) -> u64 {
        self.log_bytes_max / 4 / self.segment_bytes
    }

    /// How many groups fit into the other half, which is for the header, and into the floor.
    pub(crate) fn groups_max(&self) -> usize {
        (self.half_bytes().saturating_sub(FIXED) / GROUP_BYTES_MAX).min(GROUPS_MAX)
    }

    /// Whether callbacks wait for the sync.
    pub(crate) fn sync_first(&self) -> bool {
        self.durability == Durability::Always
    }

    /// Whether syncs are really made.
    pub(crate) fn skips_sync(&self) -> bool {
        #[cfg(feature = "failpoints")]
        return self.mutant == Some(WalMutant::SkipSync);
        #[cfg(not(feature = "failpoints"))]
        false
    }

    pub(crate) fn check(&self) -> Result<(), WalError> {
        let wrong = |key, found, allowed| Err(WalError::Options { key, found, allowed });
        if !(4096..=1 << 30).contains(&self.segment_bytes) || !self.segment_bytes.is_multiple_of(4096) {
            return wrong("segment_bytes", self.segment_bytes, "a multiple of 4 KiB, from 4 KiB to 1 GiB");
        }
        if self.log_bytes_max / self.segment_bytes < 4 {
            return wrong("log_bytes_max", self.log_bytes_max, "at least four segments");
        }
        Ok(())
    }
}
