//! Who is about to use how much of what is free on a disk: the log's next segment and a checkpoint's batch may not both
//! count on the same bytes. Asked by the log's preparer and by the checkpointer before they write; writes nothing itself.

use std::sync::Arc;

use parking_lot::Mutex;

/// What is claimed of one disk; clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Space {
    claimed: Arc<Mutex<u64>>,
}

/// So many bytes are about to be used. Whoever has written them, or given up, drops it.
#[derive(Debug)]
pub struct Claim {
    space: Space,
    bytes: u64,
}

impl Space {
    /// Claims so many bytes, if `free` has them beyond what others have claimed. A disk that does not tell has them.
    /// What another has claimed and written in part counts twice until it drops its claim: rather too little than too
    /// much.
    #[must_use]
    pub fn claim(&self, bytes: u64, free: impl FnOnce() -> Option<u64>) -> Option<Claim> {
        let mut claimed = self.claimed.lock();
        let wanted = claimed.saturating_add(bytes);
        // Looked at under the lock: between a look and a claim another might claim the same.
        if free().is_some_and(|free| free < wanted) {
            return None;
        }
        *claimed = wanted;
        Some(Claim { space: self.clone(), bytes })
    }

    /// Whether anybody has claimed anything.
    pub(crate) fn is_claimed(&self) -> bool {
        *self.claimed.lock() > 0
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut claimed = self.space.claimed.lock();
        *claimed = claimed.saturating_sub(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_claimed_twice() {
        let space = Space::default();
        let first = space.claim(60, || Some(100)).unwrap();
        assert!(space.claim(60, || Some(100)).is_none());
        let second = space.claim(40, || Some(100)).unwrap();
        drop(first);
        assert!(space.claim(61, || Some(100)).is_none());
        drop(second);
        assert!(space.claim(100, || Some(100)).is_some());
    }

    #[test]
    fn a_disk_that_does_not_tell_has_space() {
        let space = Space::default();
        let _all = space.claim(u64::MAX, || None).unwrap();
        assert!(space.claim(1, || None).is_some());
    }
}
