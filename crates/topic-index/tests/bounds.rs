//! What the indexes take of stack and time: a small stack at any depth, and a scan that is not quadratic.
//! It never counts memory; that needs a process of its own (`memory.rs`).

use std::thread;

use topic_index::{Filter, FilterIndex, PageBounds, PlainFilter, SharedIndex, Slot, TopicIndex, matches};

#[derive(Debug, Default, PartialEq)]
struct Count(u32);

impl Slot for Count {
    fn is_empty(&self) -> bool {
        self.0 == 0
    }
}

fn plain(text: &str) -> PlainFilter {
    Filter::parse(text, u16::MAX).expect("a good filter").plain().clone()
}

/// As many slashes as fit into a string of the protocol, on a stack that one recursion by depth would leave.
#[test]
fn depth_takes_no_stack() {
    thread::Builder::new()
        .stack_size(64 * 1024)
        .spawn(deepest)
        .expect("a thread")
        .join()
        .expect("it ends well");
}

fn deepest() {
    let slashes = "/".repeat(65_535);
    assert!(Filter::parse(&slashes, u16::MAX).is_err(), "65,536 levels");
    let (deep, less_deep) = (&slashes[1..], &slashes[2..]);
    let mut index = FilterIndex::<Count>::new();
    for last in ["", "+", "#", "a"] {
        index.update(&plain(&format!("{less_deep}{last}")), |slot| slot.0 += 1);
    }
    let singles = "+/".repeat(32_767);
    index.update(&plain(&singles), |slot| slot.0 += 1);
    let mut found = 0;
    index.for_each_match(slashes.as_bytes(), |slot| found += slot.0);
    index.for_each_match(less_deep.as_bytes(), |slot| found += slot.0);
    assert_eq!(found, 4, "`#` for both, and `+` and the empty level for the second");
    assert!(matches(&plain(deep), deep.as_bytes()));
    assert_eq!(index.iter().count(), 5);
    index.update(&plain(less_deep), |slot| slot.0 = 0);
    assert_eq!(index.len(), 4);
    let mut shared = SharedIndex::<Count>::new();
    shared.update("g", &plain(deep), |slot| slot.0 += 1);
    shared.update("g", &plain(deep), |slot| slot.0 = 0);
    shared.update("g", &plain(deep), |slot| slot.0 += 1);

    let mut topics = TopicIndex::new();
    topics.insert(slashes.as_bytes(), 1);
    topics.insert(deep.as_bytes(), 2);
    let mut values = Vec::new();
    for filter in ["#", "+/#", deep, "+", &singles] {
        topics.scan(&plain(filter), None, PageBounds::ALL, |_, value| values.push(*value));
    }
    assert_eq!(values, [2, 1, 2, 1, 2]);
    drop((index, shared, topics));
}

/// A scan of all in small pages costs about what it costs in one: not what the pages before it cost again.
#[test]
fn pages_are_not_quadratic() {
    let mut index = TopicIndex::new();
    for number in 0..200_000_u32 {
        index.insert(format!("site/{}/device/{number}/a", number % 100).as_bytes(), number);
        index.insert(format!("site/{}/device/{number}/b", number % 100).as_bytes(), number);
    }
    for (text, count) in [("#", 400_000), ("site/+/device/+/b", 200_000), ("+/7/#", 4_000), ("+/+/+/+", 0)] {
        let (filter, mut from, mut found, mut steps) = (plain(text), None, 0, 0);
        loop {
            let bounds = PageBounds { topics: 64, steps: 256 };
            let end = index.scan(&filter, from.as_ref(), bounds, |_, _| found += 1);
            assert!(end.steps <= bounds.steps, "{text}: {end:?}");
            steps += end.steps;
            from = end.next;
            if from.is_none() {
                break;
            }
        }
        assert_eq!(found, count, "{text}");
        assert!(steps <= 2 * index.len(), "{text}: {steps} steps");
    }
}
