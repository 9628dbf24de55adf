//! What the log counts. Added to by the committer and the preparer, read by whoever exports metrics.

use std::sync::atomic::{AtomicU64, Ordering};

pub use session_store::counters::CounterInfo;
use session_store::histogram::Histogram;

macro_rules! counters {
    ($($field:ident: $unit:literal, $help:literal;)*) => {
        /// A reading of the log's counters since it was opened.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct WalCounters { $(#[doc = $help] pub $field: u64,)* }

        /// Names, units and help texts of [`WalCounters`], in the order of its fields.
        pub const WAL_COUNTERS: &[CounterInfo] = &[
            $(CounterInfo { name: stringify!($field), unit: $unit, help: $help },)*
        ];

        impl WalCounters {
            /// The values, in the order of the table.
            #[must_use]
            pub fn values(&self) -> Vec<u64> {
                vec![$(self.$field,)*]
            }
        }

        /// The counters themselves.
        #[derive(Debug, Default)]
        pub(crate) struct Tally {
            $(pub(crate) $field: AtomicU64,)*
            /// How long syncs take.
            pub(crate) syncs: Histogram,
        }

        impl Tally {
            pub(crate) fn read(&self) -> WalCounters {
                WalCounters { $($field: self.$field.load(Ordering::Relaxed),)* }
            }
        }
    };
}

counters! {
    wal_appends: "appends", "Appends and votes that were done, of all groups. Divided by wal_syncs: how many shared a sync.";
    wal_records: "records", "Records written to the log.";
    wal_written_bytes: "bytes", "Bytes written to the log.";
    wal_syncs: "syncs", "Syncs of the log.";
    wal_torn_tails: "tails", "Times that a torn end of the log was cut at start.";
    wal_segments_created: "segments", "Segments made and filled with zeros.";
    wal_segments_recycled: "segments", "Segments prepared from freed ones.";
    wal_full: "times", "Times that there was no room for more of the log, on the disk or within its bound.";
    wal_floor_writes: "writes", "Times that the floor was written.";
}

/// Adds to a counter.
pub(crate) fn count(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}
