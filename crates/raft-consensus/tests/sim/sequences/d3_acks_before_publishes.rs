//! D3: acknowledgements are in the log before the publishes that would go beyond a queue's limit, so that a client that
//! keeps up loses nothing.

use mqtt_codec::QoS;
use session_store::command::Ack;
use session_store::limits::{QueueLimits, ShardLimits};

use crate::twins::{FIRST, Twins, message, packet, pushed};

#[test]
fn a_client_that_acknowledges_loses_nothing_to_a_short_queue_and_one_that_does_not_is_counted() {
    let queue = QueueLimits { messages_max: 10, ..QueueLimits::default() };
    let mut twins = Twins::with(ShardLimits { queue, ..ShardLimits::default() });
    twins.connect("c", 60);
    twins.subscribe("c", "t");
    let mut got = 0;
    for number in 1..=100 {
        got += pushed(&twins.publish(message("t", &[number as u8], QoS::AtLeastOnce))).len();
        if number % 10 == 0 {
            let acks = (number - 9..=number).map(|number| Ack::Puback(packet(number)));
            twins.ask(Twins::acks("c", FIRST, acks.collect()));
        }
    }
    assert_eq!((got, twins.first.take_counters().1.dropped_queue_full), (100, 0));
    for number in 0..25 {
        twins.publish(message("t", &[number], QoS::AtLeastOnce));
    }
    assert_eq!(twins.first.take_counters().1.dropped_queue_full, 15);
    assert_eq!(twins.first.session("c").unwrap().outbound().len(), 10);
}
