//! D2: what may have been sent is known to every replica. After a failover it is marked as a repeat on the next connection,
//! and what was never sent is not.

use mqtt_codec::QoS;
use session_store::Effect;
use session_store::command::{Command, WillFate};

use crate::twins::{FIRST, HOST, Twins, message, pushed};

#[test]
fn a_new_leader_marks_what_was_sent_and_nothing_else() {
    let mut twins = Twins::new();
    let mut connect = twins.connecting("c", 60);
    connect.receive_maximum = 2;
    twins.ask(Command::Connect(connect));
    twins.subscribe("c", "t");
    for payload in [b"1", b"2", b"3"] {
        twins.publish(message("t", payload, QoS::AtLeastOnce));
    }
    let mut told: Vec<Effect> = Vec::new();
    twins.second.say_again(HOST, &mut told);
    let in_flight = [(1, false, b"1".to_vec()), (2, false, b"2".to_vec())];
    assert_eq!(pushed(&told), in_flight, "to the same connection, as it was said");
    twins.end("c", FIRST, WillFate::Keep);
    let connect = twins.connecting("c", 60);
    let request = twins.request(7, Command::Connect(connect));
    let (_, second) = twins.both(request);
    let again = [(1, true, b"1".to_vec()), (2, true, b"2".to_vec()), (3, false, b"3".to_vec())];
    assert_eq!(pushed(&second), again);
}
