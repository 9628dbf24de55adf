//! The rules about the pages people read (`*.md`). Called by `tidy`.
//! It checks links within the repository only, never the network.

use std::collections::BTreeSet;

use anyhow::Result;

use super::Tree;

/// The page with the map of the code stays one that is read in a sitting.
const MAP: (&str, usize) = ("ARCHITECTURE.md", 300);

/// Every link to a file of the repository leads to one.
pub(super) fn links(tree: &Tree) -> Result<Vec<String>> {
    let mut known = BTreeSet::new();
    for file in &tree.files {
        // The file, and every folder above it.
        known.extend(file.path.match_indices('/').filter_map(|(at, _)| file.path.get(..at)));
        known.insert(file.path.as_str());
    }
    let mut found = Vec::new();
    for page in tree.files.iter().filter(|file| file.path.ends_with(".md")) {
        let folder = page.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        for (number, line) in (1..).zip(page.text.lines()) {
            let broken = targets(line).filter(|target| !known.contains(resolve(folder, target).as_str()));
            found.extend(broken.map(|target| format!("{}:{number}: there is no {target}", page.path)));
        }
    }
    Ok(found)
}

/// The map of the code is short.
pub(super) fn map_length(tree: &Tree) -> Result<Vec<String>> {
    let (path, lines_max) = MAP;
    let count = tree.files.iter().find(|file| file.path == path).map_or(0, |file| file.text.lines().count());
    let fits = (1..=lines_max).contains(&count);
    Ok(if fits { Vec::new() } else { vec![format!("{path}: {count} lines, expected 1 to {lines_max}")] })
}

/// The files that a line links to, without what is on the network or on the same page.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| {
        let target = rest.split(')').next()?.split('#').next()?;
        (!target.is_empty() && !target.contains("://") && !target.starts_with("mailto:")).then_some(target)
    })
}

/// A path relative to a folder, relative to the root.
fn resolve(folder: &str, target: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::super::files::File;
    use super::*;

    fn tree(files: &[(&str, &str)]) -> Tree {
        let file = |(path, text): &(&str, &str)| File { path: (*path).to_owned(), text: (*text).to_owned() };
        let files = files.iter().map(file).collect();
        Tree { metadata: serde_json::Value::Null, files, deny: toml::Table::new() }
    }

    #[test]
    fn links_lead_to_files_and_folders() {
        let good = "[a](docs/a.md#x) [b](docs) [c](https://example.org/x) [d](#here)";
        let tree = tree(&[("README.md", good), ("docs/a.md", "[up](../README.md)")]);
        assert!(links(&tree).unwrap().is_empty());
    }

    #[test]
    fn links_to_nowhere_are_found() {
        let tree = tree(&[("docs/a.md", "one\n[up](README.md)\n")]);
        assert_eq!(links(&tree).unwrap(), ["docs/a.md:2: there is no README.md"]);
    }

    #[test]
    fn the_map_is_there_and_short() {
        assert_eq!(map_length(&tree(&[])).unwrap().len(), 1);
        assert!(map_length(&tree(&[("ARCHITECTURE.md", "x\n")])).unwrap().is_empty());
        assert_eq!(map_length(&tree(&[("ARCHITECTURE.md", &"x\n".repeat(301))])).unwrap().len(), 1);
    }
}
