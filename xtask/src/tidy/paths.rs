//! No file speaks of one machine's folders. Called by `tidy`; reads every text file.
//! It never checks whether a path exists.

use anyhow::Result;

use super::Tree;

/// First folders of a path that only one machine has. Everybody has the last one, but what is in it is one machine's.
const FOLDERS: [&str; 5] = ["home", "root", "mnt", "work", "tmp"];

/// One finding a line.
pub(super) fn machine_paths(tree: &Tree) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for file in tree.files.iter().filter(|file| file.path != "Cargo.lock") {
        for (number, line) in (1..).zip(file.text.lines()) {
            if names_machine_path(line) {
                found.push(format!("{}:{number}: {}", file.path, line.trim()));
            }
        }
    }
    Ok(found)
}

fn names_machine_path(line: &str) -> bool {
    let mut before = None;
    for (at, character) in line.char_indices() {
        if character == '/' && !before.is_some_and(continues_a_path) {
            let path = line.get(at + 1..).unwrap_or_default();
            let end = path.find(|c: char| !is_name(c)).unwrap_or(path.len());
            let (folder, rest) = path.split_at(end);
            let goes_on = rest.strip_prefix('/').is_some_and(|rest| rest.starts_with(is_name));
            if goes_on && FOLDERS.contains(&folder) {
                return true;
            }
        }
        before = Some(character);
    }
    false
}

/// The slash after this character does not begin an absolute path.
fn continues_a_path(character: char) -> bool {
    is_name(character) || matches!(character, '.' | '~' | '/' | '}' | ')' | '+' | '#')
}

fn is_name(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '_' | '-' | '$')
}

#[cfg(test)]
mod tests {
    use super::names_machine_path;

    #[test]
    fn absolute_paths_of_a_machine_are_found() {
        for folder in super::FOLDERS {
            assert!(names_machine_path(&format!("see /{folder}/x")));
            assert!(names_machine_path(&format!("\"/{folder}/x\"")));
        }
    }

    #[test]
    fn other_paths_are_fine() {
        for line in [
            "crates/work/x",
            "https://example.org/root/x",
            "/etc/quelea",
            "a/tmp/b",
            "./tmp/x",
            "sport/+/tmp/x",
        ] {
            assert!(!names_machine_path(line), "{line}");
        }
    }
}
