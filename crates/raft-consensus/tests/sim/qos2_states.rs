//! G4: a QoS 2 exchange goes from PUBLISH to PUBREL and never back. The clients themselves look for a
//! PUBLISH of which they had PUBREL.

use crate::history::Promise;
use crate::run::assert_kept;

#[test]
fn a_message_that_was_released_is_not_sent_again() {
    assert_kept(Promise::Qos2States);
}
