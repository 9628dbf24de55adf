//! The metrics that a query names. Knows as much of PromQL as that takes.

use std::collections::BTreeSet;

/// Names of metrics in a query: words outside of quotes and braces that look like ours, and `up`.
pub(crate) fn of(query: &str) -> BTreeSet<String> {
    let mut bare = String::new();
    let (mut depth, mut quoted) = (0, false);
    for letter in query.chars() {
        match letter {
            '"' => quoted = !quoted,
            '{' if !quoted => depth += 1,
            '}' if !quoted => depth -= 1,
            _ => {}
        }
        bare.push(if depth > 0 || quoted { ' ' } else { letter });
    }
    let words = bare.split(|letter: char| !(letter.is_ascii_alphanumeric() || matches!(letter, '_' | ':')));
    words.filter(|word| *word == "up" || word.contains("quelea_")).map(str::to_owned).collect()
}

/// Those of several queries that are not known.
pub(crate) fn unknown(known: &BTreeSet<String>, queries: impl Iterator<Item = String>) -> BTreeSet<String> {
    queries.flat_map(|query| of(&query)).filter(|name| !known.contains(name)).collect()
}

#[test]
fn names_are_found_wherever_they_stand() {
    let query = r#"sum by (job) (rate(quelea_a_total{job="quelea_b",x=~"}up{"}[5m])) / on (job) job:quelea_c:sum == bool up"#;
    assert_eq!(of(query).into_iter().collect::<Vec<_>>(), ["job:quelea_c:sum", "quelea_a_total", "up"]);
    assert_eq!(
        unknown(&BTreeSet::from(["up".to_owned()]), ["up - quelea_x".to_owned()].into_iter()).len(),
        1
    );
}
