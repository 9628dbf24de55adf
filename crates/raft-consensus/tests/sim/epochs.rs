//! G6, G7: every connection of a client has a higher epoch than the one before, and finds the session that there is.

use crate::history::Promise;
use crate::run::assert_kept;

#[test]
fn epochs_grow_and_a_session_is_present_exactly_if_it_was_made() {
    assert_kept(Promise::Epochs);
}
