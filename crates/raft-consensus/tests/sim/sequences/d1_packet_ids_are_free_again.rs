//! D1: a packet id stands for its message until the end of its exchange is in the log, however many messages follow.

use mqtt_codec::QoS;
use session_store::command::{Ack, Command};

use crate::twins::{FIRST, Twins, message, packet, pushed};

#[test]
fn an_id_is_not_used_again_before_its_exchange_is_known_to_be_complete() {
    let mut twins = Twins::new();
    let mut connect = twins.connecting("c", 60);
    connect.receive_maximum = u16::MAX;
    twins.ask(Command::Connect(connect));
    twins.subscribe("c", "t");
    twins.publish(message("t", b"first", QoS::ExactlyOnce));
    twins.ask(Twins::acks("c", FIRST, vec![Ack::Pubrec(packet(1), false)]));
    let body = message("t", b"more", QoS::AtLeastOnce);
    let mut given = 0;
    // Many at a time: each step looks at the whole queue.
    let rest: Vec<u16> = (2..=u16::MAX).collect();
    for ids in rest.chunks(4_096) {
        let Command::Publish(mut publish) = Twins::publishing(body.clone(), Vec::new()) else {
            panic!("a publish")
        };
        publish.items = vec![publish.items[0].clone(); ids.len()];
        given += pushed(&twins.ask(Command::Publish(publish))).len();
        let acks = ids.iter().map(|id| Ack::Puback(packet(*id))).collect();
        twins.ask(Twins::acks("c", FIRST, acks));
    }
    assert_eq!(given, usize::from(u16::MAX) - 1);
    // PUBCOMP of the first one is not in the log, and the next message has its id.
    assert!(pushed(&twins.publish(body)).is_empty());
    let after = twins.ask(Twins::acks("c", FIRST, vec![Ack::Pubcomp(packet(1))]));
    assert_eq!(pushed(&after), [(1, false, b"more".to_vec())]);
}
