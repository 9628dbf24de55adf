//! C7: who in a group gets a message is decided by the log alone: by who is connected there, and by the number that came
//! with the message. Replicas choose alike, also one that was just restored. QoS 2 in doubt is given up, never sent to another.

use mqtt_codec::QoS;
use session_store::command::{GroupPick, RetainedWanted, WillFate};
use session_store::outbox::OutboxKind;

use crate::twins::{FIRST, Twins, group, message, pushed};

const GROUP: &str = "$share/g/t";

fn publish(twins: &mut Twins, choice: u64, qos: QoS) -> Vec<u8> {
    let groups = vec![GroupPick { group: group(GROUP), choice }];
    let effects = twins.ask(Twins::publishing(message("t", &[choice as u8], qos), groups));
    pushed(&effects).into_iter().map(|(_, _, payload)| payload[0]).collect()
}

#[test]
fn members_that_are_away_get_nothing_while_one_is_connected() {
    let mut twins = Twins::new();
    for name in ["a", "b", "c"] {
        twins.connect(name, 60);
        twins.ask(Twins::subscribing(name, GROUP, RetainedWanted::Never));
    }
    twins.end("a", FIRST, WillFate::Keep);
    twins.end("c", FIRST, WillFate::Keep);
    twins.restart_second();
    for choice in 0..6 {
        assert_eq!(publish(&mut twins, choice, QoS::AtLeastOnce), [choice as u8], "b is there");
    }
    twins.end("b", FIRST, WillFate::Keep);
    for choice in 0..3 {
        assert!(publish(&mut twins, choice, QoS::AtLeastOnce).is_empty());
    }
    let waiting = ["a", "b", "c"].map(|name| twins.first.session(name).unwrap().outbound().len());
    assert_eq!(waiting, [1, 7, 1], "in turn, while nobody is");
}

#[test]
fn what_was_not_acknowledged_is_handed_on_at_qos_1_and_given_up_at_qos_2() {
    let mut twins = Twins::new();
    twins.connect("a", 60);
    twins.ask(Twins::subscribing("a", GROUP, RetainedWanted::Never));
    publish(&mut twins, 1, QoS::AtLeastOnce);
    publish(&mut twins, 2, QoS::ExactlyOnce);
    twins.end("a", FIRST, WillFate::Keep);
    twins.now = twins.now.plus_s(60);
    twins.input(session_store::command::Input::Tick);
    let back: Vec<_> = twins.first.outbox().from(0).map(|(_, item)| (&item.kind, item.message.qos)).collect();
    assert!(matches!(back.as_slice(), [(OutboxKind::Redispatch(_), QoS::AtLeastOnce)]), "{back:?}");
    assert_eq!(twins.first.take_counters().1.qos2_in_doubt, 1);
}
