//! Members of a shared group that are not on this node: where they are, and how many places they have in its turns. Held by views
//! of groups; what is known of their windows is old by nature, and counts for a moment only.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::Destination;

/// How long it counts what was heard of windows: whoever is passed over for it is not heard of again.
const COUNTS_FOR: Duration = Duration::from_millis(500);

/// Members that a shard or another host has.
#[derive(Clone, Debug)]
pub(super) struct Others {
    /// Where they are.
    pub(super) to: Destination,
    /// How many there are.
    pub(super) places: u32,
    /// Of a host: what is known of their windows.
    pub(super) full: Option<Arc<Full>>,
}

impl Others {
    /// Members of a shard, whose windows are known there.
    pub(super) fn of_shard(shard: u16, places: u32) -> Self {
        Self { to: Destination::Shard(shard), places, full: None }
    }

    /// Whether one of these places has room: the last ones stand for those that have none.
    pub(super) fn has_room(&self, choice: u64) -> bool {
        let full = self.full.as_ref().map_or(0, |full| full.count());
        choice < u64::from(self.places.saturating_sub(full))
    }
}

/// How many members of a host have no room in their window, as it was last heard.
#[derive(Debug)]
pub(super) struct Full {
    count: AtomicU32,
    /// When it was heard, in milliseconds since `epoch`.
    heard_ms: AtomicU64,
    epoch: Instant,
}

impl Default for Full {
    fn default() -> Self {
        Self { count: AtomicU32::new(0), heard_ms: AtomicU64::new(0), epoch: Instant::now() }
    }
}

impl Full {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// So many are full now.
    pub(super) fn heard(&self, count: u32) {
        self.heard_ms.store(self.now_ms(), Ordering::Relaxed);
        self.count.store(count, Ordering::Relaxed);
    }

    fn count(&self) -> u32 {
        let count = self.count.load(Ordering::Relaxed);
        if count == 0 {
            return 0;
        }
        if self.is_old() { 0 } else { count }
    }

    /// Whether what was heard counts no more.
    pub(super) fn is_old(&self) -> bool {
        let age_ms = self.now_ms().saturating_sub(self.heard_ms.load(Ordering::Relaxed));
        Duration::from_millis(age_ms) >= COUNTS_FOR
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_heard_of_windows_counts_for_a_moment() {
        let full = Arc::new(Full::default());
        let others = Others { full: Some(Arc::clone(&full)), ..Others::of_shard(1, 3) };
        assert!((0..3).all(|choice| others.has_room(choice)));
        full.heard(2);
        let told = [0, 1, 2].map(|choice| others.has_room(choice));
        assert!(told == [true, false, false] || full.is_old(), "{told:?}");
        while !full.is_old() {
            std::thread::yield_now();
        }
        assert!((0..3).all(|choice| others.has_room(choice)));
    }
}
