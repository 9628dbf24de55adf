//! D5: QoS 0 takes no position, what expired leaves a hole in the ids, and a client that comes back with a smaller window
//! gets the repeats first, in order.

use mqtt_codec::QoS;
use session_store::command::{Ack, Command, WillFate};

use crate::twins::{FIRST, SECOND, Twins, message, packet, pushed};

#[test]
fn qos_0_takes_no_id_and_a_smaller_window_is_kept_to() {
    let mut twins = Twins::new();
    twins.connect("c", 60);
    twins.subscribe("c", "t");
    let mut got = Vec::new();
    for (payload, qos) in [(b"1", QoS::AtLeastOnce), (b"0", QoS::AtMostOnce), (b"2", QoS::AtLeastOnce)] {
        got.extend(pushed(&twins.publish(message("t", payload, qos))));
    }
    assert_eq!(got.iter().map(|(id, ..)| *id).collect::<Vec<_>>(), [1, 0, 2]);
    twins.end("c", FIRST, WillFate::Keep);
    twins.publish(message("t", b"3", QoS::AtLeastOnce));
    let mut connect = twins.connecting("c", 60);
    connect.receive_maximum = 1;
    assert_eq!(pushed(&twins.ask(Command::Connect(connect))), [(1, true, b"1".to_vec())]);
    let next =
        |twins: &mut Twins, id| pushed(&twins.ask(Twins::acks("c", SECOND, vec![Ack::Puback(packet(id))])));
    assert_eq!(next(&mut twins, 1), [(2, true, b"2".to_vec())]);
    assert_eq!(next(&mut twins, 2), [(3, false, b"3".to_vec())]);
}
