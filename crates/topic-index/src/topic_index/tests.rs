//! The topic index against the plain truth of `matches`, in pages, while it changes.
//! It never looks at how the index is made.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::TopicIndex;
use crate::filter::{Filter, PlainFilter, matches};

fn plain(text: &str) -> PlainFilter {
    Filter::parse(text, u16::MAX).expect(text).plain().clone()
}

fn all(index: &TopicIndex<u32>, filter: &str) -> Vec<String> {
    let mut topics = Vec::new();
    let more = index.scan(&plain(filter), None, usize::MAX, |topic, _| topics.push(text(topic)));
    assert!(!more);
    topics
}

fn text(topic: &[u8]) -> String {
    String::from_utf8(topic.to_vec()).expect("text")
}

fn of(topics: &[&str]) -> TopicIndex<u32> {
    let mut index = TopicIndex::new();
    for (topic, value) in topics.iter().zip(0..) {
        assert_eq!(index.insert(topic.as_bytes(), value), None);
    }
    index
}

fn level() -> impl Strategy<Value = &'static str> {
    // `!` is below `/`, `$` and `%` are neighbours, `\u{1}` is the lowest that a topic can have.
    prop_oneof![
        4 => Just("a"), 3 => Just("b"), 2 => Just(""), 1 => Just("$s"), 1 => Just("%"), 1 => Just("a!"),
        1 => Just("ab"), 1 => Just("\u{1}"), 1 => Just("a\u{1}"),
    ]
}

fn topic() -> impl Strategy<Value = String> {
    proptest::collection::vec(level(), 1..5)
        .prop_map(|levels| levels.join("/"))
        .prop_filter("empty", |t| !t.is_empty())
}

fn filter() -> impl Strategy<Value = PlainFilter> {
    let inner = prop_oneof![5 => level(), 5 => Just("+")];
    (proptest::collection::vec(inner, 0..5), any::<bool>())
        .prop_map(|(mut levels, multi)| {
            levels.extend(multi.then_some("#"));
            levels.join("/")
        })
        .prop_filter("empty", |text| !text.is_empty())
        .prop_map(|text| plain(&text))
}

/// The order that is promised: level by level, each by its bytes.
fn levels_of(topic: &str) -> Vec<&[u8]> {
    topic.as_bytes().split(|byte| *byte == b'/').collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(800))]

    #[test]
    fn pages_together_are_what_matches_in_order(
        steps in proptest::collection::vec((topic(), any::<u32>()), 0..80),
        filters in proptest::collection::vec(filter(), 1..8),
        limit in 1..5_usize,
    ) {
        let mut index = TopicIndex::new();
        let mut expected = BTreeMap::new();
        for (topic, value) in &steps {
            if value % 4 == 0 {
                prop_assert_eq!(index.remove(topic.as_bytes()), expected.remove(topic));
            } else {
                prop_assert_eq!(index.insert(topic.as_bytes(), *value), expected.insert(topic.clone(), *value));
            }
            prop_assert_eq!(index.get(topic.as_bytes()), expected.get(topic));
            prop_assert_eq!(index.len(), expected.len());
            prop_assert_eq!(index.is_empty(), expected.is_empty());
        }
        for filter in &filters {
            let mut wanted: Vec<_> =
                expected.iter().filter(|(topic, _)| matches(filter, topic.as_bytes())).map(|(t, v)| (t.clone(), *v)).collect();
            wanted.sort_by(|(one, _), (other, _)| levels_of(one).cmp(&levels_of(other)));
            let mut found: Vec<(String, u32)> = Vec::new();
            loop {
                let after = found.last().map(|(topic, _)| topic.clone());
                let before = found.len();
                let more = index.scan(filter, after.as_deref().map(str::as_bytes), limit, |topic, value| {
                    found.push((text(topic), *value));
                });
                prop_assert!(found.len() - before <= limit);
                prop_assert_eq!(more, found.len() < wanted.len());
                if !more {
                    break;
                }
                prop_assert_eq!(found.len() - before, limit);
            }
            prop_assert_eq!(found, wanted, "{}", filter);
        }
    }

    #[test]
    fn a_cursor_may_be_any_topic(
        topics in proptest::collection::btree_set(topic(), 0..60),
        filter in filter(),
        after in topic(),
    ) {
        let mut index = TopicIndex::new();
        for topic in &topics {
            index.insert(topic.as_bytes(), 0);
        }
        let mut found = Vec::new();
        index.scan(&filter, Some(after.as_bytes()), usize::MAX, |topic, _| found.push(text(topic)));
        let mut wanted: Vec<_> = topics
            .into_iter()
            .filter(|topic| matches(&filter, topic.as_bytes()) && levels_of(topic) > levels_of(&after))
            .collect();
        wanted.sort_by(|one, other| levels_of(one).cmp(&levels_of(other)));
        prop_assert_eq!(found, wanted);
    }
}

#[test]
fn the_dollar_rule_holds() {
    let index = of(&["$SYS/a", "$SYS/b/c", "a", "!/b", "%", "a/$x"]);
    assert_eq!(all(&index, "#"), ["!/b", "%", "a", "a/$x"]);
    assert_eq!(all(&index, "+/#"), ["!/b", "%", "a", "a/$x"]);
    assert_eq!(all(&index, "+/b"), ["!/b"]);
    assert_eq!(all(&index, "$SYS/#"), ["$SYS/a", "$SYS/b/c"]);
    assert_eq!(all(&index, "$SYS/+"), ["$SYS/a"]);
    assert_eq!(all(&index, "a/+"), ["a/$x"]);
}

#[test]
fn a_scan_goes_on_when_its_cursor_is_removed_and_sees_what_was_added_behind() {
    let mut index = of(&["a/1", "a/2", "a/3", "a/5"]);
    let mut topics = Vec::new();
    assert!(index.scan(&plain("a/+"), None, 2, |topic, _| topics.push(text(topic))));
    assert_eq!(topics, ["a/1", "a/2"]);
    index.remove(b"a/2");
    index.insert(b"a/0", 0);
    index.insert(b"a/4", 0);
    topics.clear();
    assert!(index.scan(&plain("a/+"), Some(b"a/2"), 2, |topic, _| topics.push(text(topic))));
    assert_eq!(topics, ["a/3", "a/4"]);
    topics.clear();
    assert!(!index.scan(&plain("a/+"), Some(b"a/4"), 2, |topic, _| topics.push(text(topic))));
    assert_eq!(topics, ["a/5"]);
    assert!(!index.scan(&plain("a/+"), Some(b"a/5"), 2, |_, _| panic!("nothing is behind it")));
}

#[test]
fn a_page_of_nothing_says_only_whether_there_is_more() {
    let index = of(&["a", "b"]);
    assert!(index.scan(&plain("a"), None, 0, |_, _| panic!("none was asked for")));
    assert!(!index.scan(&plain("c"), None, 0, |_, _| panic!("none was asked for")));
}
