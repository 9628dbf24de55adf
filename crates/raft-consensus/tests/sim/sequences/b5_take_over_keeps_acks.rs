//! B5: acknowledgements that the old host has read and not recorded come before its last word, and the new connection is
//! told nothing before that.

use mqtt_codec::QoS;
use session_store::command::{Ack, Reply, WillFate};

use crate::twins::{FIRST, Twins, message, packet, pushed, replies};

#[test]
fn what_the_old_connection_acknowledged_is_not_sent_to_the_new_one() {
    let mut twins = Twins::new();
    twins.connect("c", 60);
    twins.subscribe("c", "t");
    for payload in [b"1", b"2"] {
        twins.publish(message("t", payload, QoS::ExactlyOnce));
    }
    let told = replies(&twins.connect("c", 60));
    assert_eq!(told, [Reply::Stop], "no CONNACK yet");
    twins.ask(Twins::acks("c", FIRST, vec![Ack::Pubrec(packet(1), false)]));
    let end = twins.end("c", FIRST, WillFate::Keep);
    assert!(matches!(replies(&end).as_slice(), [Reply::Connected(Ok(told))] if told.session_present));
    let again = pushed(&end);
    assert_eq!(again, [(1, false, vec![]), (2, true, b"2".to_vec())], "PUBREL, and what nobody acknowledged");
}
