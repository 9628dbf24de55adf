//! Each request is applied once and only after the one before it. A message is in a session's
//! queue as often as its client sent it at most, however often hosts and outboxes repeat it.

use crate::history::{Facts, Promise};
use crate::run::assert_kept;

pub(crate) fn check(facts: &Facts) -> Result<(), String> {
    for (number, sent) in &facts.sent {
        // What a group's member did not acknowledge is given to another.
        if sent.topic.starts_with("g/") {
            continue;
        }
        let most = if sent.qos2 { 1 } else { sent.times as usize };
        for client in &sent.due {
            let positions = facts.positions(client, *number);
            if positions > most {
                return Err(format!(
                    "{number}, sent {most} times, is {positions} times in the queue of {client}"
                ));
            }
        }
    }
    Ok(())
}

#[test]
fn no_request_is_applied_twice() {
    assert_kept(Promise::Streams);
}
