//! Nothing is delivered that nobody sent, or under another topic.

use crate::history::{Facts, Promise};
use crate::run::assert_kept;

pub(crate) fn check(facts: &Facts) -> Result<(), String> {
    for delivery in &facts.deliveries {
        let number = delivery.number;
        let known = match delivery.topic.starts_with("w/") {
            true => facts.wills.contains_key(&number),
            false => facts.sent.get(&number).is_some_and(|sent| sent.topic == delivery.topic),
        };
        if !known {
            return Err(format!("{} got {number} of {}, which nobody sent", delivery.client, delivery.topic));
        }
    }
    Ok(())
}

#[test]
fn nothing_is_delivered_that_nobody_sent() {
    assert_kept(Promise::Phantoms);
}
