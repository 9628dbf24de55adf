//! Huge pages, which the allocator asks the kernel for: kept off while the process is small, where they would double
//! its memory, and allowed once it is large, where the index of filters is a third faster with them.
//! Called at start and by the observer; never touches memory itself.

use rustix::thread::disable_transparent_huge_pages;

/// Resident memory in bytes from which on huge pages are allowed: three times what an idle node has.
const RESIDENT_BYTES_MIN: u64 = 128 * 1024 * 1024;

/// Whether the kernel may use huge pages for this process.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum HugePages {
    /// Not yet.
    Off,
    /// They were allowed, which stays so: taking them back would free nothing.
    Allowed,
}

impl HugePages {
    /// Before there are other threads. Where the kernel has no such switch it has no huge pages, or they stay on.
    pub(crate) fn start() {
        let _without_the_switch = disable_transparent_huge_pages(true);
    }

    /// Allows them once the process is large; `resident` is its memory in bytes.
    pub(crate) fn follow(&mut self, resident: u64) {
        if *self == Self::Off && resident >= RESIDENT_BYTES_MIN {
            let _without_the_switch = disable_transparent_huge_pages(false);
            *self = Self::Allowed;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_processes_have_none_and_large_ones_do() {
        let disabled = || rustix::thread::transparent_huge_pages_are_disabled().unwrap();
        HugePages::start();
        assert!(disabled());
        let mut pages = HugePages::Off;
        pages.follow(RESIDENT_BYTES_MIN - 1);
        assert_eq!(pages, HugePages::Off);
        assert!(disabled());
        pages.follow(RESIDENT_BYTES_MIN);
        assert_eq!(pages, HugePages::Allowed);
        assert!(!disabled());
        // What was allowed stays so.
        pages.follow(0);
        assert_eq!(pages, HugePages::Allowed);
    }
}
