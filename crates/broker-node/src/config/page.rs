//! Holds docs/configuration.md to the settings, key by key and default by default, and makes deploy/quelea.example.toml of both,
//! by the test below with `QUELEA_WRITE_DOCS=1`. In no binary.

use super::*;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use toml::{Table, Value};

/// What the rows of a listener's keys stand under.
const LISTENERS: &str = "## Listeners";
/// The name of the listener that there is by default.
const LISTENER: &str = "mqtt";
/// Columns of the example.
const WIDTH: usize = 100;

const HEAD: &str = "\
# All settings of a node, with their defaults. What is commented out is as it says; nothing has to be set.
# `quelea config check --config FILE` says whether a file can be used, `quelea config show` what is in force.
# Meanings at length: docs/configuration.md, of which this file is made.
";

/// A row of the manual.
struct Row {
    key: String,
    default: String,
    meaning: String,
}

/// The rows of all keys, in their order; those of a listener as keys of the one that there is by default.
fn rows() -> Vec<Row> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    let page = fs::read_to_string(page).unwrap();
    let (nodes, listeners) = page.split_once(LISTENERS).unwrap();
    let row = |line: &str, prefix: &str| {
        let cells = line.strip_prefix("| `")?.strip_suffix(" |")?.replace("\\|", "\u{0}");
        let (key, rest) = cells.split_once("` | ")?;
        let (default, meaning) = rest.split_once("| ")?;
        let [default, meaning] = [default, meaning].map(|cell| cell.trim().replace('\u{0}', "|"));
        Some(Row { key: format!("{prefix}{key}"), default, meaning })
    };
    let listener = format!("listener.{LISTENER}.");
    let listeners = listeners.lines().filter_map(|line| row(line, &listener));
    nodes.lines().filter_map(|line| row(line, "")).chain(listeners).collect()
}

/// The keys of a table that have values, with these. A list of tables is one value. `extremes` asks for them too.
pub(super) fn leaves(table: Table) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    let mut open = vec![(String::new(), table)];
    while let Some((path, table)) = open.pop() {
        for (key, value) in table {
            match value {
                Value::Table(inner) => open.push((format!("{path}{key}."), inner)),
                value => drop(found.insert(format!("{path}{key}"), value)),
            }
        }
    }
    found
}

/// All keys that there are.
fn keys() -> Vec<String> {
    let sample = leaves(Table::try_from(Settings::sample()).unwrap());
    sample.into_keys().map(|key| key.replace("listener.*.", &format!("listener.{LISTENER}."))).collect()
}

/// What is in force where nothing is set.
fn defaults() -> Settings {
    load(None, std::iter::empty(), &Flags::default()).unwrap()
}

/// The default of a key as TOML; `None` where nothing is set, or an empty text.
fn default_of(defaults: &BTreeMap<String, Value>, key: &str) -> Option<String> {
    let value = defaults.get(key)?;
    (value.as_str() != Some("")).then(|| value.to_string())
}

#[test]
fn the_manual_says_what_can_change_while_a_node_runs() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    let page = fs::read_to_string(page).unwrap();
    let (_, section) = page.split_once("## Changing it while a node runs").unwrap();
    let listed: Vec<&str> = section
        .lines()
        .map_while(|line| (!line.starts_with("## ")).then_some(line))
        .filter_map(|line| line.strip_prefix("- `")?.strip_suffix('`'))
        .collect();
    assert_eq!(listed, reload::LIVE);
}

#[test]
fn the_manual_has_every_key_with_its_default_and_no_other() {
    let (keys, defaults) = (keys(), leaves(Table::try_from(defaults()).unwrap()));
    let rows = rows();
    for key in &keys {
        assert_eq!(rows.iter().filter(|row| row.key == *key).count(), 1, "rows of {key}");
    }
    for Row { key, default, meaning } in &rows {
        assert!(keys.contains(key), "there is no key {key}");
        assert!(!meaning.is_empty(), "{key}");
        // The usual address of a listener depends on what is spoken there.
        if key.ends_with(".address") && key.starts_with("listener.") {
            continue;
        }
        match default_of(&defaults, key) {
            Some(value) => assert_eq!(*default, format!("`{value}`"), "the default of {key}"),
            None => {
                let told = default.strip_prefix('`').and_then(|rest| rest.strip_suffix('`'));
                let described = told.is_none_or(|told| told == "[]" || told.contains('`'));
                assert!(described, "{key} has no default, and not {default}");
            }
        }
    }
}

#[test]
fn the_example_is_what_the_manual_says_and_changes_nothing() {
    let defaults = defaults();
    let values = leaves(Table::try_from(defaults.clone()).unwrap());
    let mut text = HEAD.to_owned();
    let mut section = String::new();
    for Row { key, meaning, .. } in rows() {
        let split = key.match_indices('.').nth(usize::from(key.starts_with("listener.")));
        let (of, name) = key.split_at(split.unwrap().0);
        if of != section {
            section = of.to_owned();
            text += &format!("\n[{section}]\n");
        }
        text += &comment(&meaning);
        let name = name.trim_start_matches('.');
        text += &default_of(&values, &key)
            .map_or_else(|| format!("# {name} is not set\n"), |value| format!("#{name} = {value}\n"));
    }
    crate::testing::page_is("deploy/quelea.example.toml", &text);
    let uncommented = |line: &str| {
        let set = line.strip_prefix('#').filter(|rest| !rest.starts_with(' '));
        format!("{}\n", set.unwrap_or(line))
    };
    for text in [text.clone(), text.lines().map(uncommented).collect()] {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("quelea.toml");
        fs::write(&file, &text).unwrap();
        let loaded = load(Some(&file), std::iter::empty(), &Flags::default());
        assert_eq!(loaded.map_err(|error| error.to_string()), Ok(defaults.clone()), "{text}");
    }
}

/// A meaning in lines of a comment, without links.
fn comment(meaning: &str) -> String {
    let mut plain = String::new();
    let mut rest = meaning;
    while let Some((before, link)) = rest.split_once("](") {
        plain += &before.replace('[', "");
        rest = link.split_once(')').map_or("", |(_, behind)| behind);
    }
    plain += rest;
    let mut lines = vec!["#".to_owned()];
    for word in plain.split_whitespace() {
        if lines.last().is_some_and(|line| line.len() + word.len() >= WIDTH) {
            lines.push("#".to_owned());
        }
        lines.last_mut().unwrap().extend([" ", word]);
    }
    lines.join("\n") + "\n"
}
