//! How much memory the control group of this process may have (`memory.max`, or `memory.limit_in_bytes` of version 1). Read once at
//! start; whoever has none, or cannot look, has no limit.

use std::fs;
use std::path::Path;

/// Where control groups are.
const ROOT: &str = "/sys/fs/cgroup";
/// Version 1 says that there is no limit by a number near the largest.
const NO_LIMIT: u64 = 1 << 60;

/// The least of what this process's group and those above it may have, in bytes.
pub(super) fn group_limit() -> Option<u64> {
    limit_of(&fs::read_to_string("/proc/self/cgroup").ok()?, Path::new(ROOT))
}

/// Of the groups that `/proc/self/cgroup` tells, below a root.
fn limit_of(groups: &str, root: &Path) -> Option<u64> {
    let limits = groups.lines().filter_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let (folder, file) = match controllers {
            "" => ("", "memory.max"),
            _ if controllers.split(',').any(|name| name == "memory") => ("memory", "memory.limit_in_bytes"),
            _ => return None,
        };
        // In a container the path may be that of the machine, where nothing is to be seen; its own group is the root then.
        let above = Path::new(path.trim_start_matches('/')).ancestors();
        let limit = |group: &Path| {
            let text = fs::read_to_string(root.join(folder).join(group).join(file)).ok()?;
            text.trim().parse::<u64>().ok().filter(|limit| *limit < NO_LIMIT)
        };
        above.filter_map(limit).min()
    });
    limits.min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, path: &str, text: &str) {
        let file = root.join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }

    #[test]
    fn the_least_of_all_groups_above_counts() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        assert_eq!(limit_of("0::/a/b\n", root), None, "nothing is to be seen");
        write(root, "memory.max", "max\n");
        write(root, "a/memory.max", "5000000\n");
        write(root, "a/b/memory.max", "max\n");
        assert_eq!(limit_of("0::/a/b\n", root), Some(5_000_000));
        write(root, "a/b/memory.max", "4000000\n");
        assert_eq!(limit_of("0::/a/b\n", root), Some(4_000_000));
        assert_eq!(limit_of("0::/a\n", root), Some(5_000_000));
        assert_eq!(limit_of("0::/\n", root), None);
        assert_eq!(limit_of("0::/elsewhere/unseen\n", root), None);
        write(root, "memory.max", "7000000\n");
        assert_eq!(limit_of("0::/elsewhere/unseen\n", root), Some(7_000_000), "a container's own");
    }

    #[test]
    fn version_1_has_its_own_file() {
        let dir = tempfile::tempdir().unwrap();
        let groups = "12:cpu,cpuacct:/x\n5:memory:/docker/1\n1:name=systemd:/x\n";
        write(dir.path(), "memory/docker/1/memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(limit_of(groups, dir.path()), None, "as good as none");
        write(dir.path(), "memory/docker/1/memory.limit_in_bytes", "8000000\n");
        assert_eq!(limit_of(groups, dir.path()), Some(8_000_000));
        assert_eq!(limit_of("nonsense", dir.path()), None);
    }
}
