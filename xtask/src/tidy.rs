//! The rules that clippy cannot check: the crate line, licences, manifests and the text of the sources.
//! Called by the stage `tidy` and as `cargo xtask tidy`. It never changes a file and needs no network but cargo's.

mod crate_line;
mod files;
mod licences;
mod manifests;
mod masked;
mod pages;
mod paths;
mod sources;
mod spdx;

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::report::Outcome;

/// What all rules look at, read once.
struct Tree {
    /// `cargo metadata`, with everything that the workspace depends on.
    metadata: Value,
    /// The tracked files that are text.
    files: Vec<files::File>,
    /// `deny.toml`.
    deny: toml::Table,
}

/// A rule: its name and the function that lists what breaks it.
struct Rule {
    name: &'static str,
    find: fn(&Tree) -> Result<Vec<String>>,
}

/// A new rule is a function and a row here.
const RULES: &[Rule] = &[
    Rule { name: "a crate depends only on crates to its left", find: crate_line::order },
    Rule { name: "big dependencies have one owner", find: crate_line::owners },
    Rule { name: "deny.toml names the same owners", find: crate_line::wrappers },
    Rule { name: "licences are on the list", find: licences::allowed },
    Rule { name: "packages inherit the workspace's lints and fields", find: manifests::inherit },
    Rule { name: "Cargo.lock is tracked", find: manifests::lock_file },
    Rule { name: "mqtt-codec is no_std", find: manifests::codec_is_no_std },
    Rule { name: "files say what they are", find: sources::opens_with_doc },
    Rule { name: "files are short", find: sources::length },
    Rule { name: "nothing is left to do", find: sources::unfinished },
    Rule { name: "no code in comments", find: sources::commented_out },
    Rule { name: "exceptions say why", find: sources::reasons },
    Rule { name: "every queue has a bound", find: sources::queues },
    Rule { name: "links of pages lead somewhere", find: pages::links },
    Rule { name: "the map of the code is short", find: pages::map_length },
    Rule { name: "no path of one machine", find: paths::machine_paths },
];

/// `cargo xtask tidy`.
pub(crate) fn main(arguments: &[String]) -> Result<bool> {
    if let Some(extra) = arguments.first() {
        bail!("tidy takes no arguments, not `{extra}`");
    }
    let outcome = check(&crate::gate::root()?)?;
    Ok(outcome.failures.is_empty())
}

/// Goes through all rules of the repository at `root`; prints each rule and what breaks it.
pub(crate) fn check(root: &Path) -> Result<Outcome> {
    let deny = deny_list(root)?;
    let tree = Tree { metadata: metadata(root, &deny)?, files: files::tracked(root)?, deny };
    let mut outcome = Outcome::default();
    for rule in RULES {
        let found = (rule.find)(&tree).with_context(|| rule.name)?;
        println!("{:<52} {}", rule.name, if found.is_empty() { "ok" } else { "BROKEN" });
        for finding in &found {
            println!("    {finding}");
        }
        if found.is_empty() {
            outcome.passed += 1;
        }
        outcome.failures.extend(found.into_iter().map(|finding| format!("{}: {finding}", rule.name)));
    }
    Ok(outcome)
}

/// The rule about licences for a workspace apart, in `folder`; the list is in the `deny.toml` of `list`.
pub(crate) fn licences_apart(folder: &Path, list: &Path) -> Result<Vec<String>> {
    let deny = deny_list(list)?;
    licences::allowed(&Tree { metadata: metadata(folder, &deny)?, files: Vec::new(), deny })
}

/// Everything that is built for the platforms that `deny.toml` names.
fn metadata(root: &Path, deny: &toml::Table) -> Result<Value> {
    let platforms = deny.get("graph").and_then(|graph| graph.get("targets")).and_then(toml::Value::as_array);
    let platforms = platforms.context("deny.toml has no list graph.targets")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(root).args([
        "metadata",
        "--format-version",
        "1",
        "--locked",
        "--quiet",
        "--all-features",
    ]);
    for platform in platforms.iter().filter_map(toml::Value::as_str) {
        command.args(["--filter-platform", platform]);
    }
    let output = command.output().context("cannot start cargo metadata")?;
    if !output.status.success() {
        bail!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    serde_json::from_slice(&output.stdout).context("cargo metadata printed no JSON")
}

fn deny_list(root: &Path) -> Result<toml::Table> {
    let text = std::fs::read_to_string(root.join("deny.toml")).context("deny.toml")?;
    text.parse().context("deny.toml")
}

/// The packages of the metadata: all of them, or those of the workspace.
fn packages(metadata: &Value, only_members: bool) -> impl Iterator<Item = &Value> {
    let members = list(metadata, "workspace_members");
    let wanted =
        move |package: &&Value| !only_members || package.get("id").is_some_and(|id| members.contains(id));
    list(metadata, "packages").iter().filter(wanted)
}

/// The list at a key of a JSON object; empty when there is none.
fn list<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The text at a key of a JSON object; empty when there is none.
fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}
