//! C9: a client resumes its stored session with an expiry of 0. The session stays where it is until its connection ends.

use mqtt_codec::QoS;
use session_store::command::{EXPIRY_NEVER, Reply, WillFate};

use crate::twins::{FIRST, SECOND, Twins, message, pushed, replies};

#[test]
fn a_stored_session_that_is_resumed_with_expiry_0_keeps_its_queue_until_its_connection_ends() {
    let mut twins = Twins::new();
    twins.connect("c", EXPIRY_NEVER);
    twins.subscribe("c", "t");
    twins.end("c", FIRST, WillFate::Keep);
    twins.publish(message("t", b"1", QoS::AtLeastOnce));
    let back = twins.connect("c", 0);
    let told = replies(&back);
    assert!(
        matches!(told.as_slice(), [Reply::Connected(Ok(told))] if told.persistent && told.session_present)
    );
    assert_eq!(pushed(&back), [(1, false, b"1".to_vec())]);
    assert_eq!(pushed(&twins.publish(message("t", b"2", QoS::AtLeastOnce))), [(2, false, b"2".to_vec())]);
    twins.end("c", SECOND, WillFate::Keep);
    assert!(twins.first.session("c").is_none());
}
