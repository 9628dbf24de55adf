//! What every package's `Cargo.toml` must say, and the lock file. Called by `tidy`.
//! It never looks at dependencies: that is the crate line's.

use anyhow::{Context, Result};
use toml::{Table, Value};

use super::Tree;
use super::files::File;

/// The fields that the workspace decides for all.
const FIELDS: [&str; 5] = ["version", "edition", "rust-version", "license", "publish"];

/// A member of the workspace takes lints and common fields from it.
pub(super) fn inherit(tree: &Tree) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let manifests = tree.files.iter().filter(|file| file.path.ends_with("/Cargo.toml"));
    for File { path, text } in manifests {
        let manifest: Table = text.parse().with_context(|| path.clone())?;
        if manifest.contains_key("workspace") {
            // A workspace of its own, like the fuzz targets.
            continue;
        }
        if !inherits(manifest.get("lints")) {
            found.push(format!("{path}: expected `[lints] workspace = true`"));
        }
        let package = manifest.get("package");
        for field in FIELDS {
            if !inherits(package.and_then(|package| package.get(field))) {
                found.push(format!("{path}: expected `{field}.workspace = true`"));
            }
        }
    }
    Ok(found)
}

fn inherits(value: Option<&Value>) -> bool {
    value.and_then(|value| value.get("workspace")).and_then(Value::as_bool) == Some(true)
}

/// Builds are the same everywhere.
pub(super) fn lock_file(tree: &Tree) -> Result<Vec<String>> {
    let there = tree.files.iter().any(|file| file.path == "Cargo.lock");
    Ok(if there { Vec::new() } else { vec!["Cargo.lock is missing or ignored".to_owned()] })
}

/// The codec knows nothing of sockets, files and threads: there is no `std` to find them in.
pub(super) fn codec_is_no_std(tree: &Tree) -> Result<Vec<String>> {
    const ROOT: &str = "crates/mqtt-codec/src/lib.rs";
    let says_so =
        |file: &File| file.text.lines().any(|line| line.starts_with("#![") && line.contains("no_std"));
    let there = tree.files.iter().any(|file| file.path == ROOT && says_so(file));
    Ok(if there { Vec::new() } else { vec![format!("{ROOT}: expected `#![no_std]`")] })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> Tree {
        let file = |(path, text): &(&str, &str)| File { path: (*path).to_owned(), text: (*text).to_owned() };
        Tree {
            metadata: serde_json::Value::Null,
            files: files.iter().map(file).collect(),
            deny: Table::new(),
        }
    }

    const GOOD: &str = "[package]\nname = \"x\"\nversion.workspace = true\nedition.workspace = true\n\
        rust-version.workspace = true\nlicense.workspace = true\npublish.workspace = true\n[lints]\nworkspace = true\n";

    #[test]
    fn members_inherit() {
        assert!(inherit(&tree(&[("crates/x/Cargo.toml", GOOD)])).unwrap().is_empty());
        let own =
            GOOD.replace("edition.workspace = true", "edition = \"2021\"").replace("[lints]", "[other]");
        assert_eq!(inherit(&tree(&[("crates/x/Cargo.toml", own.as_str())])).unwrap().len(), 2);
    }

    #[test]
    fn a_workspace_of_its_own_is_left_alone() {
        let tree = tree(&[("fuzz/Cargo.toml", "[package]\nname = \"fuzz\"\n[workspace]\n")]);
        assert!(inherit(&tree).unwrap().is_empty());
    }

    #[test]
    fn the_codec_says_no_std() {
        assert_eq!(codec_is_no_std(&tree(&[])).unwrap().len(), 1);
        let tree = tree(&[("crates/mqtt-codec/src/lib.rs", "//! x\n#![cfg_attr(not(test), no_std)]\n")]);
        assert!(codec_is_no_std(&tree).unwrap().is_empty());
    }
}
