//! G1, G2: a publish that was acknowledged reaches every session that had subscribed before it was
//! sent, whatever stops, lags, loses its power or is cut off.

use crate::history::{Facts, Promise};
use crate::run::assert_kept;

pub(crate) fn check(facts: &Facts) -> Result<(), String> {
    match facts.missing().first() {
        Some((client, number)) => Err(format!("{client} never got {number}, which was acknowledged")),
        None => Ok(()),
    }
}

#[test]
fn what_is_acknowledged_reaches_every_session_that_had_subscribed() {
    assert_kept(Promise::Acknowledged);
}
