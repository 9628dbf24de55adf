//! D4: what was sent does not expire, since its acknowledgement may be on its way; and one for an exchange that is not
//! known is answered.

use std::sync::Arc;

use mqtt_codec::QoS;
use session_store::command::{Ack, Input, Push, WillFate};
use session_store::{Effect, Message};

use crate::twins::{Twins, message, packet, pushed};

#[test]
fn a_message_that_was_sent_is_sent_again_after_its_expiry_and_one_that_was_not_is_dropped() {
    let mut twins = Twins::new();
    twins.connect("c", 60);
    twins.subscribe("c", "t");
    let expires_at = Some(twins.now.plus_s(1));
    let expiring = |payload: &[u8]| {
        let body = message("t", payload, QoS::ExactlyOnce).body.clone();
        Arc::new(Message { body, qos: QoS::ExactlyOnce, retain: false, expires_at })
    };
    twins.publish(expiring(b"sent"));
    twins.end("c", 1, WillFate::Keep);
    twins.publish(expiring(b"not sent"));
    twins.now = twins.now.plus_s(5);
    twins.input(Input::Tick);
    assert_eq!(pushed(&twins.connect("c", 60)), [(1, true, b"sent".to_vec())]);
    let unknown = twins.ask(Twins::acks("c", 2, vec![Ack::Pubrec(packet(9), false)]));
    let released = |push: &Push| matches!(push, Push::ReleaseUnknown(id) if *id == packet(9));
    assert!(
        unknown.iter().any(|effect| matches!(effect, Effect::Push(_, pushes) if pushes.iter().any(released)))
    );
}
