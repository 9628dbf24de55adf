//! The check that every statement of a standard is tied to a test: reads a conformance table and the test sources.
//! Used by the test `every_row_is_tied` of each half of the suite; never runs a broker.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// How a row without a test begins its last cell; a reason follows.
const NO_TEST: &str = "no test:";

/// What to compare; the paths are relative to this package.
pub struct Conformance {
    /// The table: rows `| MQTT-1.5.4-1 | B | paraphrase | `test`, `test` |`.
    pub table: &'static str,
    /// The ids of the standard, one a line with who has the duty: `1.5.4-1 B`.
    pub ids: &'static str,
    /// The directory of the test sources that the table speaks of.
    pub sources: &'static str,
    /// How many rows may have no test.
    pub without_test_max: usize,
}

struct Row {
    id: String,
    who: String,
    paraphrase: String,
    shown_by: String,
}

impl Conformance {
    /// Panics with every flaw of the table at once; prints the counts when there is none.
    pub fn check(&self) {
        let rows = self.rows();
        let tests = self.tests();
        let mut flaws = self.flaws_of_ids(&rows);
        let mut named = BTreeSet::new();
        let mut without = 0;
        for row in &rows {
            match names_in(row) {
                Ok(names) => named.extend(names),
                Err(None) => without += 1,
                Err(Some(flaw)) => flaws.push(flaw),
            }
        }
        flaws.extend(named.difference(&tests).map(|name| format!("there is no test `{name}`")));
        let orphans = tests.difference(&named).filter(|name| name.starts_with("mqtt"));
        flaws.extend(orphans.map(|name| format!("no row names the test `{name}`")));
        if without > self.without_test_max {
            flaws.push(format!("{without} rows have no test, at most {} may", self.without_test_max));
        }
        assert!(flaws.is_empty(), "{} has {} flaws:\n{}", self.table, flaws.len(), flaws.join("\n"));
        let (count, shown) = (rows.len(), rows.len() - without);
        println!(
            "{}: {count} statements, {shown} shown by {} tests, {without} without",
            self.table,
            named.len()
        );
    }

    fn flaws_of_ids(&self, rows: &[Row]) -> Vec<String> {
        let mut left: BTreeMap<String, String> = self.ids_of_the_standard();
        let mut flaws = Vec::new();
        for row in rows {
            match left.remove(&row.id) {
                None => flaws.push(format!("{} is not in the standard, or twice in the table", row.id)),
                Some(who) if who != row.who => {
                    flaws.push(format!("{}: the duty is {who}'s, not {}'s", row.id, row.who))
                }
                Some(_) if row.paraphrase.is_empty() => flaws.push(format!("{} says nothing", row.id)),
                Some(_) => {}
            }
        }
        flaws.extend(left.keys().map(|id| format!("{id} is missing")));
        flaws
    }

    fn ids_of_the_standard(&self) -> BTreeMap<String, String> {
        let text = read(self.ids);
        let pairs = text.lines().map(|line| line.split_once(' ').expect("an id, a blank, who"));
        pairs.map(|(id, who)| (format!("MQTT-{id}"), who.to_owned())).collect()
    }

    fn rows(&self) -> Vec<Row> {
        let text = read(self.table);
        let cells = |line: &str| {
            line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>()
        };
        let rows = text.lines().filter(|line| line.starts_with("| MQTT-")).map(cells);
        rows.map(|cells| match <[String; 4]>::try_from(cells) {
            Ok([id, who, paraphrase, shown_by]) => Row { id, who, paraphrase, shown_by },
            Err(cells) => panic!("a row has four cells: {cells:?}"),
        })
        .collect()
    }

    /// The names of all functions in the sources that carry `#[test]` and not `#[ignore]`.
    fn tests(&self) -> BTreeSet<String> {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join(self.sources);
        let files =
            fs::read_dir(&dir).unwrap_or_else(|error| panic!("cannot read {}: {error}", dir.display()));
        let mut found = BTreeSet::new();
        for entry in files {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "rs") {
                collect_tests(&fs::read_to_string(path).unwrap(), &mut found);
            }
        }
        found
    }
}

fn collect_tests(source: &str, found: &mut BTreeSet<String>) {
    let (mut test, mut ignored) = (false, false);
    for line in source.lines().map(str::trim) {
        if line == "#[test]" {
            (test, ignored) = (true, false);
        }
        ignored |= line.starts_with("#[ignore");
        if let Some((name, _)) = line.strip_prefix("fn ").and_then(|rest| rest.split_once('(')) {
            if test && !ignored {
                assert!(found.insert(name.to_owned()), "two tests are called {name}");
            }
            test = false;
        }
    }
}

/// The tests a row names; `Err(None)` for a row that says why it has none.
fn names_in(row: &Row) -> Result<Vec<String>, Option<String>> {
    if let Some(reason) = row.shown_by.strip_prefix(NO_TEST) {
        return match reason.trim().len() {
            0..20 => Err(Some(format!("{}: say why nothing can be seen", row.id))),
            _ => Err(None),
        };
    }
    let names: Vec<String> = row.shown_by.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    if names.is_empty() {
        return Err(Some(format!("{}: names neither a test nor, after \"{NO_TEST}\", a reason", row.id)));
    }
    Ok(names)
}

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_functions_that_run_as_tests_are_found() {
        let source =
            "#[test]\nfn a() {}\nfn helper() {}\n#[test]\n#[ignore]\nfn b() {}\n  #[test]\n  fn c() {}\n";
        let mut found = BTreeSet::new();
        collect_tests(source, &mut found);
        assert_eq!(found.into_iter().collect::<Vec<_>>(), ["a", "c"]);
    }

    #[test]
    fn a_row_names_tests_or_says_why_not() {
        let row = |shown_by: &str| Row {
            id: "MQTT-1".into(),
            who: "S".into(),
            paraphrase: "p".into(),
            shown_by: shown_by.into(),
        };
        assert_eq!(names_in(&row("`a`, `b`")), Ok(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(names_in(&row("no test: it is the client that decides this")), Err(None));
        assert!(matches!(names_in(&row("no test: so")), Err(Some(_))));
        assert!(matches!(names_in(&row("")), Err(Some(_))));
    }
}
