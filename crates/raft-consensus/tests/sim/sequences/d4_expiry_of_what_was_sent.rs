//! D4: what was sent does not expire, since its acknowledgement may be on its way; and one for an exchange that is not
//! known is answered.

use std::sync::Arc;

use mqtt_codec::{PacketId, QoS};
use session_store::command::{Ack, Input, Push, WillFate};
use session_store::{Effect, Epoch, Message};

use crate::twins::{FIRST, Twins, message, packet, pushed, replies};

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
    twins.end("c", FIRST, WillFate::Keep);
    twins.publish(expiring(b"not sent"));
    twins.now = twins.now.plus_s(5);
    twins.input(Input::Tick);
    assert_eq!(pushed(&twins.connect("c", 60)), [(1, true, b"sent".to_vec())]);
    let unknown = twins.ask(Twins::acks("c", Epoch(twins.now.0), vec![Ack::Pubrec(packet(9), false)]));
    assert_eq!(unknown_releases(&unknown), [packet(9)]);
}

fn unknown_releases(effects: &[Effect]) -> Vec<PacketId> {
    let pushes = effects.iter().filter_map(|effect| match effect {
        Effect::Push(_, pushes) => Some(pushes),
        _ => None,
    });
    let unknown = |push: &Push| match push {
        Push::ReleaseUnknown(id) => Some(*id),
        _ => None,
    };
    pushes.flatten().filter_map(unknown).collect()
}

/// What is said to the client is in no state: its leader may die between the commit and the telling.
#[test]
fn a_repeat_is_told_again_what_is_unknown_and_nothing_of_exchanges_that_are_under_way() {
    let mut twins = Twins::new();
    twins.connect("c", 60);
    twins.subscribe("c", "t");
    assert_eq!(pushed(&twins.publish(message("t", b"once", QoS::ExactlyOnce))).len(), 1);
    let acks = vec![
        Ack::Pubrec(packet(1), false),
        Ack::Pubrec(packet(9), false),
        Ack::Pubrec(packet(8), true),
        Ack::Puback(packet(7)),
    ];
    let request = twins.request(4, Twins::acks("c", FIRST, acks.clone()));
    let first = twins.ask(Twins::acks("c", FIRST, acks));
    assert_eq!((pushed(&first).len(), unknown_releases(&first)), (1, vec![packet(9)]));
    twins.restart_second();
    let (_, second) = twins.both(request.clone());
    assert_eq!((pushed(&second).len(), unknown_releases(&second)), (0, vec![packet(9)]));
    assert_eq!(replies(&second), replies(&first));
    twins.end("c", FIRST, WillFate::Keep);
    twins.connect("c", 60);
    let (_, stale) = twins.both(request);
    assert_eq!(unknown_releases(&stale), [], "it is not for the next connection");
}
