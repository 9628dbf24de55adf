//! G11: what has ended stays ended. Nothing that is sent after UNSUBACK reaches a session, and a session lasts as long as
//! its expiry says, on the log's time.

use crate::history::{Facts, Promise};
use crate::run::assert_kept;

pub(crate) fn check(facts: &Facts) -> Result<(), String> {
    for (client, from, to) in &facts.without {
        let mine = facts.deliveries.iter().filter(|delivery| delivery.client == *client);
        for delivery in mine {
            let sent = facts.sent.get(&delivery.number).map_or(0, |sent| sent.at_ms);
            if sent > *from && sent < *to && delivery.at_ms < *to {
                return Err(format!(
                    "{client} got {} of {sent} ms, without subscription from {from} to {to} ms",
                    delivery.number
                ));
            }
        }
    }
    Ok(())
}

#[test]
fn nothing_comes_after_unsuback_and_sessions_end_when_their_expiry_says() {
    assert_kept(Promise::Ended);
}
