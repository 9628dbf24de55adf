//! What the indexes take of the heap, and that they give it back.
//! One test alone in its process: what another one allocates at the same time would be counted too.

use std::alloc::System;
use std::fmt::Write;

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use topic_index::{Filter, FilterIndex, PlainFilter, SharedIndex, Slot, TopicIndex};

#[global_allocator]
static HEAP: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[derive(Debug, Default, PartialEq)]
struct Count(u32);

impl Slot for Count {
    fn is_empty(&self) -> bool {
        self.0 == 0
    }
}

/// The bytes of the heap in use.
fn heap() -> usize {
    let stats = HEAP.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}

fn plain(text: &str) -> PlainFilter {
    Filter::parse(text, u16::MAX).expect("a good filter").plain().clone()
}

/// One of a million filters of several shapes, written into `text`.
fn filter(number: u32, text: &mut String) -> PlainFilter {
    text.clear();
    let (site, device) = (number / 1_000, number % 1_000);
    match number % 5 {
        0 => write!(text, "site/{site}/device/{device}/temperature"),
        1 => write!(text, "site/{site}/device/{device}/#"),
        2 => write!(text, "site/{site}/+/a name that is longer than a node/{device}"),
        3 => write!(text, "{number}"),
        _ => write!(text, "+/{number}/+"),
    }
    .expect("a string takes it");
    plain(text)
}

#[test]
fn memory_is_given_back_and_a_match_takes_none() {
    a_million_filters_are_given_back();
    groups_are_given_back();
    topics_are_given_back();
    a_match_allocates_nothing();
}

const MILLION: u32 = 1_000_000;

/// What may be left of hundreds of megabytes: a chunk of nodes and small tables.
const LEFT_MAX: usize = 64 * 1024;

fn a_million_filters_are_given_back() {
    let mut text = String::with_capacity(100);
    let mut index = FilterIndex::<Count>::new();
    let before = heap();
    for number in 0..MILLION {
        index.update(&filter(number, &mut text), |slot| slot.0 += 1);
    }
    assert_eq!(index.len(), 1_000_000);
    let full = heap() - before;
    assert!(full < 250 * 1_000_000, "{full} bytes for a million filters");
    // In another order than they came.
    for number in (0..MILLION).map(|number| (number % 1_000) * 1_000 + number / 1_000) {
        index.update(&filter(number, &mut text), |slot| slot.0 = 0);
    }
    assert!(index.is_empty());
    let left = heap().saturating_sub(before);
    assert!(left < LEFT_MAX, "{left} of {full} bytes are left");
}

fn groups_are_given_back() {
    let mut text = String::with_capacity(100);
    let mut index = SharedIndex::<Count>::new();
    let before = heap();
    for number in 0..MILLION / 4 {
        // Half of them on filters of their own, half on one.
        let own = if number % 2 == 0 { number } else { 1 };
        index.update(&format!("group {number}"), &filter(own, &mut text), |slot| slot.0 += 1);
    }
    assert_eq!(index.len(), 250_000);
    let full = heap() - before;
    for number in 0..MILLION / 4 {
        let own = if number % 2 == 0 { number } else { 1 };
        index.update(&format!("group {number}"), &filter(own, &mut text), |slot| slot.0 = 0);
    }
    assert!(index.is_empty());
    let left = heap().saturating_sub(before);
    assert!(left < LEFT_MAX, "{left} of {full} bytes are left");
}

fn topics_are_given_back() {
    let mut index = TopicIndex::<u32>::new();
    let before = heap();
    for number in 0..MILLION / 4 {
        index.insert(format!("site/{}/device/{number}", number % 1_000).as_bytes(), number);
    }
    let full = heap() - before;
    for number in 0..MILLION / 4 {
        assert_eq!(index.remove(format!("site/{}/device/{number}", number % 1_000).as_bytes()), Some(number));
    }
    let left = heap().saturating_sub(before);
    assert!(left < LEFT_MAX, "{left} of {full} bytes are left");
}

fn a_match_allocates_nothing() {
    let mut text = String::with_capacity(100);
    let mut index = FilterIndex::<Count>::new();
    for number in 0..10_000 {
        index.update(&filter(number, &mut text), |slot| slot.0 += 1);
    }
    let before = HEAP.stats().allocations;
    let mut found = 0;
    for _ in 0..100 {
        index.for_each_match(b"site/3/device/6/temperature", |slot| found += slot.0);
        index.for_each_match(b"site/3/device/5/temperature", |slot| found += slot.0);
        index.for_each_match(b"a/4/b", |slot| found += slot.0);
        index.for_each_match(b"unknown", |slot| found += slot.0);
    }
    assert_eq!((found, HEAP.stats().allocations - before), (300, 0));
}
