//! G5: what a publisher sends on a topic a session first receives in the order in which it was
//! sent, whatever was repeated. Each topic has one publisher.

use std::collections::{BTreeMap, BTreeSet};

use crate::history::{Facts, Promise};
use crate::run::assert_kept;

pub(crate) fn check(facts: &Facts) -> Result<(), String> {
    let mut last: BTreeMap<(&str, u64, &str), u64> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for delivery in &facts.deliveries {
        let (client, session, number) = (delivery.client.as_str(), delivery.session, delivery.number);
        // A group gives each of its members only some, and some later.
        if delivery.topic.starts_with("g/") || !seen.insert((client, session, number)) {
            continue;
        }
        let before = last.insert((client, session, delivery.topic.as_str()), number);
        if before.is_some_and(|before| before > number) {
            return Err(format!("{client} first got {number} after {before:?}"));
        }
    }
    Ok(())
}

#[test]
fn what_a_publisher_sent_first_arrives_in_its_order() {
    assert_kept(Promise::Order);
}
