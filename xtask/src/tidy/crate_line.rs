//! The line of crates: each uses those to its left, and hides one big dependency.
//! Called by `tidy`. It looks at what the manifests declare, never at what the code happens to use.

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Tree, list, packages, text};

/// Left to right. Those to come have their place.
const LINE: [&str; 6] =
    ["mqtt-codec", "topic-index", "session-store", "raft-consensus", "node-routing", "broker-node"];

/// Big dependencies and the crates that may name them.
const OWNERS: [(&str, &[&str]); 3] = [
    ("sled", &["session-store"]),
    ("openraft", &["raft-consensus"]),
    ("tonic", &["node-routing", "broker-node"]),
];

/// A crate depends on no crate to its right, and nothing in the line on what is outside it.
pub(super) fn order(tree: &Tree) -> Result<Vec<String>> {
    let members: Vec<&str> = packages(&tree.metadata, true).map(|package| text(package, "name")).collect();
    let mut found = Vec::new();
    for package in packages(&tree.metadata, true) {
        let name = text(package, "name");
        let in_crates = text(package, "manifest_path").contains("/crates/");
        let Some(place) = LINE.iter().position(|&other| other == name) else {
            if in_crates {
                found.push(format!("{name} is in crates/ and has no place in the line"));
            }
            continue;
        };
        for dependency in dependencies(package).filter(|dependency| members.contains(dependency)) {
            match LINE.iter().position(|&other| other == dependency) {
                Some(other) if other < place => {}
                Some(_) => found.push(format!("{name} depends on {dependency}, which is not to its left")),
                None => found.push(format!("{name} depends on {dependency}, which is outside the line")),
            }
        }
    }
    Ok(found)
}

/// Only its owner declares a big dependency.
pub(super) fn owners(tree: &Tree) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for package in packages(&tree.metadata, true) {
        let name = text(package, "name");
        for (dependency, owners) in OWNERS {
            if dependencies(package).any(|other| other == dependency) && !owners.contains(&name) {
                found
                    .push(format!("{name} depends on {dependency}, which only {} may", owners.join(" and ")));
            }
        }
    }
    Ok(found)
}

/// `deny.toml` says the same, so that cargo-deny finds what comes in through others.
pub(super) fn wrappers(tree: &Tree) -> Result<Vec<String>> {
    let bans = tree.deny.get("bans").and_then(|bans| bans.get("deny")).and_then(toml::Value::as_array);
    let bans = bans.context("deny.toml has no list bans.deny")?;
    let mut found = Vec::new();
    for (dependency, owners) in OWNERS {
        let ban = bans.iter().find(|ban| ban.get("crate").and_then(toml::Value::as_str) == Some(dependency));
        let wrappers = ban.and_then(|ban| ban.get("wrappers")).and_then(toml::Value::as_array);
        let names: Vec<&str> = wrappers.into_iter().flatten().filter_map(toml::Value::as_str).collect();
        if names != owners {
            found.push(format!("{dependency} has the wrappers {names:?}, expected {owners:?}"));
        }
    }
    Ok(found)
}

/// Names of what a package declares, of every kind.
fn dependencies(package: &Value) -> impl Iterator<Item = &str> {
    list(package, "dependencies").iter().map(|dependency| text(dependency, "name"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(packages: &[(&str, &[&str])]) -> Tree {
        let ids: Vec<&str> = packages.iter().map(|(name, _)| *name).collect();
        let packages: Vec<Value> = packages
            .iter()
            .map(|(name, dependencies)| {
                let dependencies: Vec<Value> =
                    dependencies.iter().map(|name| serde_json::json!({ "name": name })).collect();
                let folder = if name.contains("tests") { "tests" } else { "crates/x" };
                serde_json::json!({
                    "id": name, "name": name, "dependencies": dependencies,
                    "manifest_path": format!("/x/{folder}/Cargo.toml"),
                })
            })
            .collect();
        let metadata = serde_json::json!({ "packages": packages, "workspace_members": ids });
        let deny = "[bans]\ndeny = [{ crate = \"sled\", wrappers = [\"session-store\"] }]".parse().unwrap();
        Tree { metadata, files: Vec::new(), deny }
    }

    #[test]
    fn to_the_left_is_fine() {
        let tree = tree(&[("mqtt-codec", &["bytes"]), ("topic-index", &["mqtt-codec"])]);
        assert!(order(&tree).unwrap().is_empty());
    }

    #[test]
    fn to_the_right_or_out_of_the_line_is_not() {
        let tree = tree(&[
            ("mqtt-codec", &["topic-index"]),
            ("topic-index", &["e2e-tests"]),
            ("e2e-tests", &["mqtt-codec"]),
            ("common", &[]),
        ]);
        assert_eq!(
            order(&tree).unwrap(),
            [
                "mqtt-codec depends on topic-index, which is not to its left",
                "topic-index depends on e2e-tests, which is outside the line",
                "common is in crates/ and has no place in the line",
            ]
        );
    }

    #[test]
    fn a_big_dependency_has_its_owner() {
        let tree = tree(&[("session-store", &["sled"]), ("broker-node", &["sled", "tonic"])]);
        assert_eq!(owners(&tree).unwrap(), ["broker-node depends on sled, which only session-store may"]);
    }

    #[test]
    fn missing_wrappers_are_found() {
        assert_eq!(wrappers(&tree(&[])).unwrap().len(), 2);
    }
}
