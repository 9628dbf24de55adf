//! G9: a will is published once where its connection was lost, also with its host; never after an
//! accepted DISCONNECT, and never where the client was back before its delay had passed.

use crate::history::{Facts, Fate, Promise, Willed};
use crate::run::assert_kept;

/// The log's time may be so far from a right clock.
const SLACK_MS: u64 = 1_200;

/// How often a will has to be published, at least and at most.
fn due(will: &Willed) -> (usize, usize) {
    let back_in_time = |lost: u64| will.back_ms.is_some_and(|back| back + SLACK_MS < lost + will.delay_ms);
    match will.fate {
        Fate::Open | Fate::Discarded => (0, 0),
        Fate::Lost(lost) if back_in_time(lost) => (0, 0),
        Fate::Lost(_) if will.delay_ms == 0 || !will.tried => (1, 1),
        Fate::Lost(_) | Fate::Unknown | Fate::Asked => (0, 1),
    }
}

pub(crate) fn check(facts: &Facts) -> Result<(), String> {
    for (number, will) in &facts.wills {
        let (least, most) = due(will);
        for client in &will.due {
            let times = facts.positions(client, *number);
            if times < least || times > most {
                return Err(format!("{client} got the will {number} {times} times: {will:?}"));
            }
        }
    }
    Ok(())
}

/// Whether a will was published since its host had died.
pub(crate) fn seen_after_host_death(facts: &Facts) -> bool {
    let died = facts.wills.iter().filter(|(_, will)| will.host_died);
    let mut times =
        died.flat_map(|(number, will)| will.due.iter().map(|client| facts.positions(client, *number)));
    times.any(|times| times > 0)
}

#[test]
fn a_will_is_published_once_and_never_of_one_who_said_goodbye_or_is_back() {
    assert_kept(Promise::Wills);
}
