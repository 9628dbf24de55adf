//! The topic index against the plain truth of `matches`, in pages, while it changes.
//! It never looks at how the index is made.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{PageBounds, PageEnd, TopicIndex};
use crate::filter::{Filter, PlainFilter, matches};

fn plain(text: &str) -> PlainFilter {
    Filter::parse(text, u16::MAX).expect(text).plain().clone()
}

fn all(index: &TopicIndex<u32>, filter: &str) -> Vec<String> {
    let mut topics = Vec::new();
    let end = index.scan(&plain(filter), None, PageBounds::ALL, |topic, _| topics.push(text(topic)));
    assert_eq!(end.next, None);
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

/// At most so many topics, however many steps it takes.
fn of_topics(topics: usize) -> PageBounds {
    PageBounds { topics, ..PageBounds::ALL }
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
            let mut from = None;
            loop {
                let before = found.len();
                let end = index.scan(filter, from.as_ref(), of_topics(limit), |topic, value| {
                    found.push((text(topic), *value));
                });
                prop_assert!(found.len() - before <= limit);
                prop_assert_eq!(end.next.is_some(), found.len() < wanted.len());
                from = end.next;
                if from.is_none() {
                    break;
                }
                prop_assert_eq!(found.len() - before, limit);
            }
            prop_assert_eq!(found, wanted, "{}", filter);
        }
    }

    /// Each page has bounds of its own, and between pages the index changes.
    #[test]
    fn pages_of_few_steps_miss_nothing_that_stays_and_repeat_nothing(
        topics in proptest::collection::btree_set(topic(), 0..60),
        changes in proptest::collection::vec((topic(), any::<bool>()), 1..30),
        bounds in proptest::collection::vec((1..4_usize, 1..6_usize), 1..8),
        filter in filter(),
    ) {
        let mut index = TopicIndex::new();
        for topic in &topics {
            index.insert(topic.as_bytes(), 0);
        }
        let (mut stayed, mut ever) = (topics.clone(), topics);
        let mut found: Vec<String> = Vec::new();
        let mut changes = changes.into_iter();
        let mut bounds = bounds.into_iter().cycle();
        let mut from = None;
        for page in 0.. {
            prop_assert!(page < 1_000, "the scan does not end");
            let Some((topics, steps)) = bounds.next() else { break };
            let before = found.len();
            let end = index.scan(&filter, from.as_ref(), PageBounds { topics, steps }, |topic, _| found.push(text(topic)));
            prop_assert!(found.len() - before <= topics);
            prop_assert!(end.steps <= steps);
            from = end.next;
            if from.is_none() {
                break;
            }
            if let Some((topic, add)) = changes.next() {
                if add {
                    index.insert(topic.as_bytes(), 0);
                    ever.insert(topic);
                } else {
                    index.remove(topic.as_bytes());
                    stayed.remove(&topic);
                }
            }
        }
        prop_assert!(found.windows(2).all(|pair| levels_of(&pair[0]) < levels_of(&pair[1])), "{:?}", found);
        prop_assert!(found.iter().all(|topic| ever.contains(topic) && matches(&filter, topic.as_bytes())));
        for topic in stayed.iter().filter(|topic| matches(&filter, topic.as_bytes())) {
            prop_assert!(found.contains(topic), "{} was there all along and was not found", topic);
        }
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
fn a_scan_goes_on_when_topics_around_its_cursor_come_and_go() {
    let mut index = of(&["a/1", "a/2", "a/3", "a/5"]);
    let page = |index: &TopicIndex<u32>, from: Option<&PageEnd>| {
        let mut topics = Vec::new();
        let from = from.and_then(|end| end.next.as_ref());
        let end = index.scan(&plain("a/+"), from, of_topics(2), |topic, _| topics.push(text(topic)));
        (end, topics)
    };
    let (first, topics) = page(&index, None);
    assert_eq!(topics, ["a/1", "a/2"]);
    index.remove(b"a/2");
    index.remove(b"a/3");
    index.insert(b"a/0", 0);
    index.insert(b"a/4", 0);
    let (second, topics) = page(&index, Some(&first));
    assert_eq!(topics, ["a/4", "a/5"]);
    assert_eq!(second.next, None);
}

#[test]
fn a_page_of_nothing_says_only_whether_there_is_more() {
    let index = of(&["a", "b"]);
    let nothing =
        |filter| index.scan(&plain(filter), None, of_topics(0), |_, _| panic!("none was asked for"));
    assert!(nothing("a").next.is_some());
    assert_eq!(nothing("c").next, None);
}

/// What matches nothing is what costs most: every device is looked at, and no page looks at more than it may.
#[test]
fn a_page_that_finds_nothing_ends_after_its_steps_and_the_scan_goes_on() {
    const DEVICES: usize = 5_000;
    const STEPS: usize = 64;
    let mut index = TopicIndex::new();
    for number in 0..DEVICES {
        index.insert(format!("site/{number:04}/x/1").as_bytes(), number);
    }
    let (mut from, mut pages, mut steps) = (None, 0, 0);
    loop {
        let bounds = PageBounds { topics: 1, steps: STEPS };
        let end = index.scan(&plain("+/+/x/+/nothing"), from.as_ref(), bounds, |_, _| panic!("none matches"));
        (pages, steps) = (pages + 1, steps + end.steps);
        assert!(end.steps == STEPS || end.next.is_none(), "{end:?}");
        from = end.next;
        if from.is_none() {
            break;
        }
    }
    assert!(steps >= DEVICES, "{steps} steps");
    assert_eq!(pages, steps.div_ceil(STEPS));
}

/// A page is bounded in bytes too: long topics, and a filter whose end is copied for each of them.
#[test]
fn long_names_cost_steps() {
    let long = "x".repeat(10 * 1_024);
    let mut index = TopicIndex::new();
    for number in 0..100 {
        index.insert(format!("{number:02}/{long}").as_bytes(), number);
        index.insert(format!("{number:02}").as_bytes(), number);
    }
    let bounds = PageBounds { topics: 1, steps: 50 };
    for filter in ["+/+/nothing".to_owned(), format!("+/y{long}")] {
        let mut looked = 0;
        let mut from = None;
        loop {
            let end = index.scan(&plain(&filter), from.as_ref(), bounds, |_, _| panic!("none matches"));
            assert!(end.steps < 50 + 21, "{end:?}");
            looked += end.steps;
            from = end.next;
            if from.is_none() {
                break;
            }
        }
        assert!(looked >= 100 * 11, "{filter:.9}: {looked} steps");
    }
}
