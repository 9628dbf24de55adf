//! Syncs that fail, take long or do nothing: `shim.c`, compiled once and preloaded into the node under test. The binary is
//! the one that ships.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use e2e_tests::process;

/// Says why a test does not run here; where nothing may be missing, that is a failure.
pub(crate) fn skipped(reason: &str) {
    assert!(
        std::env::var_os("REQUIRE_ALL").is_none_or(|value| value != "1"),
        "REQUIRE_ALL is set, and {reason}"
    );
    println!("SKIPPED: {reason}");
}

fn library() -> Option<&'static Path> {
    static LIBRARY: OnceLock<Option<PathBuf>> = OnceLock::new();
    let compile = || {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("disks/shim.c");
        let to = process::fresh_dir().join("shim.so");
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&to).arg(source).arg("-ldl");
        cc.status().ok().filter(|status| status.success()).map(|_| to)
    };
    LIBRARY.get_or_init(compile).as_deref()
}

/// The environment in which a node has this rule for its syncs; `None` where it cannot be made, which is said.
pub(crate) fn shim(rule: &str, mark: Option<&Path>) -> Option<Vec<(&'static str, String)>> {
    let Some(library) = library() else {
        skipped("there is no C compiler `cc` to build the shim with");
        return None;
    };
    let mut env = vec![("LD_PRELOAD", library.display().to_string()), ("QUELEA_SHIM", rule.to_owned())];
    env.extend(mark.map(|mark| ("QUELEA_SHIM_MARK", mark.display().to_string())));
    Some(env)
}
