//! G3, G4: a message of QoS 2 reaches each session and its client once, however often it is sent.

use crate::history::Promise;
use crate::run::assert_kept;

#[test]
fn a_message_of_qos_2_reaches_a_client_once() {
    assert_kept(Promise::ExactlyOnce);
}
