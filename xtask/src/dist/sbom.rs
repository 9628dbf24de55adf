//! What the broker is made of, as CycloneDX says it (1.5, JSON): every crate that is linked into it. Called by `dist`. It names
//! nothing that is only for builds and tests, and no time, so that it is the same for the same sources.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::PACKAGE;

/// The document for one kind of machine: others have other crates.
pub(super) fn of(root: &Path, target: &str) -> Result<String> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root).args(["metadata", "--format-version", "1", "--locked"]);
    command.args(["--filter-platform", target]);
    let output = command.output().context("cannot start cargo metadata")?;
    ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    Ok(format!("{:#}\n", document(&metadata)?))
}

fn list<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn document(metadata: &Value) -> Result<Value> {
    let packages = list(metadata, "packages");
    let broker = packages.iter().find(|package| text(package, "name") == PACKAGE);
    let broker = broker.with_context(|| format!("there is no package {PACKAGE}"))?;
    let nodes = metadata.get("resolve").map_or(&[][..], |resolve| list(resolve, "nodes"));
    let linked = linked(nodes, text(broker, "id"));
    let component = |kind: &str, name: &str, package: &Value| {
        json!({
            "type": kind,
            "bom-ref": purl(package),
            "name": name,
            "version": text(package, "version"),
            "purl": purl(package),
            "licenses": [{ "expression": text(package, "license").replace('/', " OR ") }],
        })
    };
    // Cargo's own ids tell where the sources were.
    let purls: BTreeMap<&str, String> =
        packages.iter().map(|package| (text(package, "id"), purl(package))).collect();
    let others = |package: &&Value| {
        let id = text(package, "id");
        linked.contains(id) && id != text(broker, "id")
    };
    let depends = |node: &&Value| {
        let on: BTreeSet<_> = runtime(node).filter_map(|id| purls.get(id)).collect();
        json!({ "ref": purls.get(text(node, "id")), "dependsOn": on })
    };
    let library = |package: &Value| component("library", text(package, "name"), package);
    Ok(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": { "component": component("application", "quelea", broker) },
        "components": packages.iter().filter(others).map(library).collect::<Vec<_>>(),
        "dependencies": nodes.iter().filter(|node| linked.contains(text(node, "id")))
            .map(|node| depends(&node)).collect::<Vec<_>>(),
    }))
}

/// What names a package everywhere.
fn purl(package: &Value) -> String {
    format!("pkg:cargo/{}@{}", text(package, "name"), text(package, "version"))
}

/// Ids of what a node needs when it runs.
fn runtime(node: &Value) -> impl Iterator<Item = &str> {
    let is_runtime =
        |dependency: &&Value| list(dependency, "dep_kinds").iter().any(|kind| kind["kind"].is_null());
    list(node, "deps").iter().filter(is_runtime).map(|dependency| text(dependency, "pkg"))
}

/// Everything that is reached from one package by dependencies that are linked.
fn linked<'n>(nodes: &'n [Value], from: &'n str) -> BTreeSet<&'n str> {
    let (mut found, mut next) = (BTreeSet::new(), vec![from]);
    while let Some(id) = next.pop() {
        if found.insert(id) {
            next.extend(nodes.iter().filter(|node| text(node, "id") == id).flat_map(runtime));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_linked_is_named_and_nothing_else() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let written = of(root, "x86_64-unknown-linux-gnu").unwrap();
        assert!(!written.contains(root.to_str().unwrap()), "it tells where the sources were");
        let document: Value = serde_json::from_str(&written).unwrap();
        let names: Vec<_> =
            list(&document, "components").iter().map(|component| text(component, "name")).collect();
        for name in ["mqtt-codec", "openraft", "sled", "rustls", "mimalloc"] {
            assert!(names.contains(&name), "{name} is linked");
        }
        for name in ["criterion", "rumqttc", "prost-build", "broker-node", "xtask"] {
            assert!(!names.contains(&name), "{name} is not");
        }
        assert!(
            list(&document, "components")
                .iter()
                .all(|one| !text(&one["licenses"][0], "expression").is_empty())
        );
        let dependencies = list(&document, "dependencies");
        assert_eq!(dependencies.len(), names.len() + 1);
        let refs: BTreeSet<_> = dependencies.iter().map(|one| text(one, "ref")).collect();
        assert_eq!(refs.len(), dependencies.len(), "each has a name of its own");
        let all = dependencies.iter().flat_map(|one| list(one, "dependsOn"));
        assert!(all.map(|one| one.as_str().unwrap()).all(|one| refs.contains(one)));
    }
}
