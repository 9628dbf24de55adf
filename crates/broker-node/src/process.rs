//! What the system says of this process and of its disk. Called by whoever observes the node; it changes nothing, and what
//! the system does not tell is 0.

use std::fs;
use std::path::Path;

use rustix::time::{ClockId, clock_gettime};

/// What the process has taken of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// Resident memory, in bytes.
    pub(crate) resident: u64,
    /// The most there ever was of it, in bytes.
    pub(crate) resident_max: u64,
    /// Threads.
    pub(crate) threads: u64,
    /// Open file descriptors.
    pub(crate) descriptors: u64,
    /// How many there may be.
    pub(crate) descriptors_max: u64,
    /// Processor time of all threads, in seconds.
    pub(crate) cpu_s: f64,
}

impl Usage {
    /// Resident memory alone, in bytes.
    pub(crate) fn resident_now() -> u64 {
        number(&status(), "VmRSS:").unwrap_or(0) * 1024
    }

    /// How it is now.
    pub(crate) fn now() -> Self {
        let status = status();
        let number = |name: &str| number(&status, name);
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        Self {
            resident: number("VmRSS:").unwrap_or(0) * 1024,
            resident_max: number("VmHWM:").unwrap_or(0) * 1024,
            threads: number("Threads:").unwrap_or(0),
            descriptors: descriptors(),
            descriptors_max: rlimit::Resource::NOFILE.get_soft().unwrap_or(0),
            cpu_s: cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9,
        }
    }
}

fn status() -> String {
    fs::read_to_string("/proc/self/status").unwrap_or_default()
}

fn number(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Open descriptors. Newer kernels say how many; else they are counted, one by one.
fn descriptors() -> u64 {
    const PATH: &str = "/proc/self/fd";
    match fs::metadata(PATH).map_or(0, |folder| folder.len()) {
        // The one that is open to count the others is among them.
        0 => fs::read_dir(PATH).map_or(0, |open| open.count().saturating_sub(1) as u64),
        told => told,
    }
}

/// Bytes of a disk.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DiskSpace {
    /// All of them.
    pub(crate) size: u64,
    /// Those that the process may still use.
    pub(crate) available: u64,
}

impl DiskSpace {
    /// Of the disk that a directory is on.
    pub(crate) fn of(directory: &Path) -> Self {
        let Ok(disk) = rustix::fs::statvfs(directory) else { return Self::default() };
        let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
        Self { size: bytes(disk.f_blocks), available: bytes(disk.f_bavail) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_tells_all_of_it() {
        let before = Usage::now().descriptors;
        let open: Vec<_> = (0..50).map(|_| fs::File::open("/proc/self/status").unwrap()).collect();
        let usage = Usage::now();
        // Other tests of this process open and close some, too.
        assert!(before > 0 && usage.descriptors >= open.len() as u64, "{before} {usage:?}");
        assert!(usage.descriptors_max >= usage.descriptors && usage.threads > 0, "{usage:?}");
        assert!(usage.resident > 0 && usage.resident_max >= usage.resident && usage.cpu_s > 0.0, "{usage:?}");
        let disk = DiskSpace::of(Path::new("/"));
        assert!(disk.size > 0 && disk.available <= disk.size, "{disk:?}");
        assert_eq!(DiskSpace::of(Path::new("/nowhere at all")).size, 0);
    }
}
