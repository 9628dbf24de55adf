//! The filter index against the plain truth of `matches`, and its bounds on nodes and work.
//! It looks inside for one thing alone: that no node is left that no filter needs.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::{FilterIndex, Slot};
use crate::filter::{Filter, PlainFilter, matches};

impl Slot for Vec<u32> {
    fn is_empty(&self) -> bool {
        self.is_empty()
    }
}

fn plain(text: &str) -> PlainFilter {
    match Filter::parse(text, u16::MAX).expect(text) {
        Filter::Plain(filter) => filter,
        Filter::Shared { .. } => panic!("{text} is shared"),
    }
}

fn add(index: &mut FilterIndex<Vec<u32>>, text: &str, value: u32) {
    index.update(&plain(text), |slot| slot.push(value));
}

fn remove(index: &mut FilterIndex<Vec<u32>>, text: &str) {
    index.update(&plain(text), Vec::clear);
}

fn found(index: &FilterIndex<Vec<u32>>, topic: &str) -> Vec<u32> {
    let mut values = Vec::new();
    index.for_each_match(topic.as_bytes(), |slot| values.extend(slot));
    values
}

/// The nodes that a set of filters needs: one for each beginning of a filter, and the root.
fn nodes_needed<'a>(filters: impl Iterator<Item = &'a PlainFilter>) -> usize {
    let mut beginnings = BTreeSet::new();
    for filter in filters {
        let text = filter.as_str();
        beginnings.extend(text.match_indices('/').map(|(at, _)| text[..at].to_owned()));
        beginnings.insert(text.to_owned());
    }
    beginnings.len() + 1
}

fn level() -> impl Strategy<Value = &'static str> {
    // The long ones differ behind what a node holds inline.
    prop_oneof![
        4 => Just("a"), 3 => Just("b"), 2 => Just(""), 1 => Just("$s"), 1 => Just("c"), 1 => Just("d"),
        1 => Just("a long name of a level 1"), 1 => Just("a long name of a level 2"),
    ]
}

fn topic() -> impl Strategy<Value = String> {
    proptest::collection::vec(level(), 1..5)
        .prop_map(|levels| levels.join("/"))
        .prop_filter("empty", |t| !t.is_empty())
}

fn filter() -> impl Strategy<Value = PlainFilter> {
    let inner = prop_oneof![5 => level(), 3 => Just("+")];
    (proptest::collection::vec(inner, 0..5), any::<bool>())
        .prop_map(|(mut levels, multi)| {
            levels.extend(multi.then_some("#"));
            levels.join("/")
        })
        .prop_filter("empty", |text| !text.is_empty())
        .prop_map(|text| plain(&text))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn it_finds_what_matches_and_keeps_nothing_else(
        steps in proptest::collection::vec((filter(), 0..3_u32), 1..80),
        topics in proptest::collection::vec(topic(), 1..12),
    ) {
        let mut index = FilterIndex::<Vec<u32>>::new();
        let mut expected = BTreeMap::<PlainFilter, Vec<u32>>::new();
        for (filter, value) in steps {
            if value == 0 {
                index.update(&filter, Vec::clear);
                expected.remove(&filter);
            } else {
                index.update(&filter, |slot| slot.push(value));
                expected.entry(filter.clone()).or_default().push(value);
            }
            prop_assert_eq!(index.get(&filter), expected.get(&filter));
            prop_assert_eq!(index.len(), expected.len());
            prop_assert_eq!(index.nodes.iter().count(), nodes_needed(expected.keys()));
        }
        for topic in &topics {
            let mut found = Vec::new();
            index.for_each_match(topic.as_bytes(), |slot| found.push(slot));
            found.sort();
            let mut wanted: Vec<_> =
                expected.iter().filter(|(filter, _)| matches(filter, topic.as_bytes())).map(|(_, slot)| slot).collect();
            wanted.sort();
            prop_assert_eq!(found, wanted, "{}", topic);
        }
        let listed: BTreeMap<_, _> = index.iter().map(|(filter, slot)| (filter, slot.clone())).collect();
        prop_assert_eq!(&listed, &expected);
        for filter in expected.keys() {
            index.update(filter, Vec::clear);
        }
        prop_assert!(index.is_empty());
        prop_assert_eq!(index.nodes.iter().count(), 1);
    }

    #[test]
    fn the_order_is_that_of_the_set_and_not_of_its_history(
        filters in proptest::collection::btree_set(filter(), 1..30),
        removed in proptest::collection::vec(filter(), 1..30),
        topic in topic(),
    ) {
        let (mut one, mut other) = (FilterIndex::<Vec<u32>>::new(), FilterIndex::<Vec<u32>>::new());
        let number = |filter: &PlainFilter| u32::try_from(filters.iter().position(|f| f == filter).expect("in it")).expect("few");
        for filter in &filters {
            add(&mut one, filter.as_str(), number(filter));
        }
        for filter in removed.iter().filter(|filter| !filters.contains(filter)) {
            add(&mut other, filter.as_str(), 99);
        }
        for filter in filters.iter().rev() {
            add(&mut other, filter.as_str(), number(filter));
        }
        for filter in removed.iter().filter(|filter| !filters.contains(filter)) {
            remove(&mut other, filter.as_str());
        }
        prop_assert_eq!(found(&one, &topic), found(&other, &topic));
    }
}

#[test]
fn a_change_that_leaves_nothing_leaves_nothing() {
    let mut index = FilterIndex::<Vec<u32>>::new();
    assert_eq!(index.update(&plain("a/b/+/#"), |slot| slot.len()), 0);
    assert_eq!((index.len(), index.nodes.iter().count()), (0, 1));
    remove(&mut index, "never/there");
    assert_eq!((index.len(), index.nodes.iter().count()), (0, 1));
}

#[test]
fn wildcards_of_the_first_level_miss_dollar_topics() {
    let mut index = FilterIndex::<Vec<u32>>::new();
    for (value, text) in
        ["#", "+/a", "$SYS/#", "$SYS/+", "+"].iter().zip(1..).map(|(text, value)| (value, text))
    {
        add(&mut index, text, value);
    }
    assert_eq!(found(&index, "$SYS/a"), [3, 4]);
    assert_eq!(found(&index, "$SYS"), [3]);
    assert_eq!(found(&index, "x/a"), [1, 2]);
    assert_eq!(found(&index, "x"), [1, 5]);
    assert_eq!(found(&index, "/a"), [1, 2]);
}

#[test]
fn a_match_visits_each_node_at_most_once() {
    // All 2^12 combinations of `a` and `+`: each of them matches, and none is found twice.
    let mut index = FilterIndex::<Vec<u32>>::new();
    for set in 0..1_u32 << 12 {
        let levels: Vec<_> = (0..12).map(|bit| if set >> bit & 1 == 1 { "+" } else { "a" }).collect();
        add(&mut index, &levels.join("/"), set);
    }
    let mut values = found(&index, "a/a/a/a/a/a/a/a/a/a/a/a");
    assert_eq!(values.len(), 1 << 12);
    values.sort_unstable();
    values.dedup();
    assert_eq!(values.len(), 1 << 12);
    assert_eq!(found(&index, "a/a/a/a/a/a/a/a/a/a/a/b").len(), 1 << 11);
}

#[test]
fn a_node_is_no_larger_than_a_cache_line() {
    assert!(size_of::<Option<super::Node<Vec<u32>>>>() <= 64);
}
