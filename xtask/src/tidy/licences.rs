//! The licences of everything that is built, against the list in `deny.toml`. Called by `tidy`.
//! It believes what the packages declare; cargo-deny reads their licence files too.

use anyhow::{Context, Result};
use toml::Value;

use super::{Tree, packages, spdx, text};

/// One finding for each package whose licence is missing or not on the list.
pub(super) fn allowed(tree: &Tree) -> Result<Vec<String>> {
    let list = tree.deny.get("licenses").and_then(|licences| licences.get("allow")).and_then(Value::as_array);
    let list = list.context("deny.toml has no list licenses.allow")?;
    let allowed: Vec<&str> = list.iter().filter_map(Value::as_str).collect();
    let found = packages(&tree.metadata, false).filter_map(|package| {
        let licence = text(package, "license");
        if spdx::is_allowed(licence, &allowed) {
            return None;
        }
        let licence = if licence.is_empty() { "no licence" } else { licence };
        Some(format!("{} {}: {licence}", text(package, "name"), text(package, "version")))
    });
    Ok(found.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_on_the_list_is_found() {
        let metadata = serde_json::json!({ "packages": [
            { "name": "a", "version": "1.0.0", "license": "MIT OR GPL-2.0" },
            { "name": "b", "version": "2.0.0", "license": "GPL-2.0" },
            { "name": "c", "version": "3.0.0", "license": null },
        ]});
        let deny = "[licenses]\nallow = [\"MIT\"]".parse().unwrap();
        let tree = Tree { metadata, files: Vec::new(), deny };
        assert_eq!(allowed(&tree).unwrap(), ["b 2.0.0: GPL-2.0", "c 3.0.0: no licence"]);
    }
}
