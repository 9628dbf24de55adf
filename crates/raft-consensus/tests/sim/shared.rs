//! G12: a message of a shared group is one member's at a time. Another gets it only once the
//! session of the one before has been told to end, and somebody gets it in the end.

use std::collections::{BTreeMap, BTreeSet};

use crate::history::{Facts, Promise};
use crate::run::assert_kept;

pub(crate) fn check(facts: &Facts) -> Result<(), String> {
    let mut holders: BTreeMap<u64, (&str, u64)> = BTreeMap::new();
    for delivery in facts.deliveries.iter().filter(|delivery| delivery.topic.starts_with("g/")) {
        let member = (delivery.client.as_str(), delivery.session);
        // What its publisher sent again is another message to the group.
        if facts.sent.get(&delivery.number).is_some_and(|sent| sent.times > 1) {
            holders.insert(delivery.number, member);
            continue;
        }
        let Some(before) = holders.insert(delivery.number, member).filter(|before| *before != member) else {
            continue;
        };
        let ended = facts.ended.get(&(before.0.to_owned(), before.1));
        if ended.is_none_or(|at| *at > delivery.at_ms) {
            return Err(format!("{} went to {member:?} while {before:?} had it", delivery.number));
        }
    }
    let got: BTreeSet<u64> = holders.into_keys().collect();
    let mut sent = facts.sent.iter().filter(|(_, sent)| sent.acknowledged && sent.topic.starts_with("g/"));
    match sent.find(|(number, _)| !got.contains(number)) {
        Some((number, _)) => Err(format!("no member got {number}")),
        None => Ok(()),
    }
}

#[test]
fn a_message_of_a_group_has_one_holder_and_is_handed_on_when_that_ends() {
    assert_kept(Promise::Shared);
}
