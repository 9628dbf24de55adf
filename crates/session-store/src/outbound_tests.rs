//! Tests of the sending half of a session: order, packet ids, windows, resends, limits.

use std::sync::Arc;

use bytes::Bytes;
use mqtt_codec::{SharedPublish, Text};
use proptest::prelude::*;

use super::*;
use crate::matching::GroupName;
use crate::message::Message;

fn message(qos: QoS, expires_at: Option<Millis>) -> MessageRef {
    let body = SharedPublish::new(&Text::from_static("t"), &Bytes::new(), &Bytes::from_static(b"p"));
    Arc::new(Message { body, qos, retain: false, expires_at })
}

fn outgoing(qos: QoS) -> Outgoing {
    Outgoing { message: message(qos, None), qos, retain: false, subscription_ids: None, group: None }
}

fn queue(items: &[QoS]) -> Outbound {
    let mut outbound = Outbound::new(true);
    for qos in items {
        outbound.enqueue_unbounded(outgoing(*qos));
    }
    outbound
}

fn id(n: u16) -> PacketId {
    PacketId::new(n).unwrap()
}

/// What is sent: the packet id, and whether it is a PUBLISH with DUP, without, or a PUBREL.
fn send_all(outbound: &mut Outbound, window: u16) -> Vec<(u16, Option<bool>)> {
    let mut counters = QueueCounters::default();
    let mut sent = Vec::new();
    while let Some(send) = outbound.next_to_send(window, Millis(1_000), &mut counters) {
        sent.push(match send {
            NextPacket::Publish { packet_id, dup, .. } | NextPacket::Stored { packet_id, dup, .. } => {
                (packet_id.get(), Some(dup))
            }
            NextPacket::Release(packet_id) => (packet_id.get(), None),
        });
    }
    outbound.validate().unwrap();
    sent
}

#[test]
fn the_window_bounds_what_is_in_flight_and_each_ack_makes_room() {
    let mut outbound = queue(&[QoS::AtLeastOnce; 4]);
    assert_eq!(send_all(&mut outbound, 2), [(1, Some(false)), (2, Some(false))]);
    assert_eq!(outbound.puback(id(2)), Acked::Complete);
    assert_eq!(send_all(&mut outbound, 2), [(3, Some(false))]);
    assert_eq!(outbound.in_flight(), 2);
    assert_eq!(outbound.puback(id(2)), Acked::Unknown);
    assert_eq!(outbound.puback(id(9)), Acked::Unknown);
}

#[test]
fn a_resumed_session_sends_again_from_the_oldest_with_the_same_ids() {
    let mut outbound = queue(&[QoS::AtLeastOnce, QoS::ExactlyOnce, QoS::ExactlyOnce, QoS::AtLeastOnce]);
    assert_eq!(send_all(&mut outbound, 3).len(), 3);
    assert_eq!(outbound.pubrec(id(2), false), Acked::Release);
    outbound.resume();
    let again = [(1, Some(true)), (2, None), (3, Some(true))];
    assert_eq!(send_all(&mut outbound, 3), again, "unacknowledged ones with DUP, a released one as PUBREL");
    assert_eq!(outbound.puback(id(1)), Acked::Complete);
    assert_eq!(send_all(&mut outbound, 3), [(4, Some(false))], "what was never sent has no DUP");
}

#[test]
fn what_never_left_may_expire_and_is_no_repeat() {
    let mut outbound = Outbound::new(true);
    let item = |at| Outgoing { message: message(QoS::AtLeastOnce, at), ..outgoing(QoS::AtLeastOnce) };
    [None, Some(Millis(5_000)), None].into_iter().for_each(|at| outbound.enqueue_unbounded(item(at)));
    assert_eq!(send_all(&mut outbound, 9).len(), 3);
    outbound.not_sent(&[id(2), id(3)]);
    outbound.validate().unwrap();
    outbound.resume();
    let mut counters = QueueCounters::default();
    let mut sent = Vec::new();
    while let Some(NextPacket::Publish { packet_id, dup, .. }) =
        outbound.next_to_send(9, Millis(9_000), &mut counters)
    {
        sent.push((packet_id.get(), dup));
    }
    assert_eq!(sent, [(1, true), (3, false)], "the second expired before it was ever sent");
    outbound.not_sent(&[id(1), id(9)]);
    outbound.validate().unwrap();
}

#[test]
fn what_a_smaller_window_has_not_sent_again_is_not_under_way() {
    let mut outbound = queue(&[QoS::AtLeastOnce; 12]);
    assert_eq!(send_all(&mut outbound, 13).len(), 12);
    outbound.resume();
    assert_eq!(send_all(&mut outbound, 2).len(), 2);
    outbound.not_sent(&[id(1)]);
    outbound.validate().unwrap();
    assert_eq!(outbound.in_flight(), 0);
    outbound.resume();
    assert_eq!(send_all(&mut outbound, 13).len(), 12);
    outbound.validate().unwrap();
}

#[test]
fn qos_2_goes_forward_only() {
    let mut outbound = queue(&[QoS::ExactlyOnce]);
    send_all(&mut outbound, 1);
    assert_eq!(outbound.puback(id(1)), Acked::WrongType);
    assert_eq!(outbound.pubcomp(id(1)), Acked::WrongType);
    assert_eq!(outbound.pubrec(id(1), false), Acked::Release);
    assert_eq!(outbound.bytes(), 0, "a released message's body is not needed again");
    assert_eq!(outbound.pubrec(id(1), false), Acked::Release, "a repeated PUBREC is answered again");
    assert_eq!(outbound.pubcomp(id(1)), Acked::Complete);
    assert!(outbound.is_empty());
    assert_eq!(outbound.pubcomp(id(1)), Acked::Unknown);
}

#[test]
fn a_refused_message_is_done_with() {
    let mut outbound = queue(&[QoS::ExactlyOnce]);
    send_all(&mut outbound, 1);
    assert_eq!(outbound.pubrec(id(1), true), Acked::Complete);
    assert!(outbound.is_empty());
}

#[test]
fn an_id_is_not_used_again_while_the_exchange_65535_positions_before_is_open() {
    let mut outbound = Outbound::new(false);
    for _ in 0..=65_535 {
        outbound.enqueue_unbounded(outgoing(QoS::AtLeastOnce));
    }
    assert_eq!(send_all(&mut outbound, u16::MAX).len(), 65_535);
    for n in 2..=u16::MAX {
        assert_eq!(outbound.puback(id(n)), Acked::Complete);
    }
    assert_eq!(send_all(&mut outbound, u16::MAX), [], "id 1 is open");
    assert_eq!(outbound.puback(id(1)), Acked::Complete);
    assert_eq!(send_all(&mut outbound, u16::MAX), [(1, Some(false))]);
}

#[test]
fn expired_messages_are_dropped_unless_they_were_sent() {
    let mut outbound = Outbound::new(true);
    let item =
        |at| Outgoing { message: message(QoS::AtLeastOnce, Some(Millis(at))), ..outgoing(QoS::AtLeastOnce) };
    outbound.enqueue_unbounded(item(5_000));
    outbound.enqueue_unbounded(item(5_000));
    let mut counters = QueueCounters::default();
    assert!(outbound.next_to_send(1, Millis(1_000), &mut counters).is_some());
    outbound.resume();
    let sent = std::iter::from_fn(|| outbound.next_to_send(9, Millis(9_000), &mut counters)).count();
    assert_eq!((sent, counters.dropped_expired), (1, 1));
    outbound.validate().unwrap();
}

#[test]
fn a_full_queue_drops_by_policy() {
    let limits = |policy| QueueLimits { messages_max: 2, bytes_max: 1_000, policy };
    for (policy, result) in [
        (QueuePolicy::DropNewest, Enqueued::Dropped),
        (QueuePolicy::DropOldest, Enqueued::Dropped),
        (QueuePolicy::Disconnect, Enqueued::Disconnect),
    ] {
        let mut outbound = queue(&[QoS::AtLeastOnce, QoS::AtLeastOnce]);
        let mut counters = QueueCounters::default();
        let qos2 = outgoing(QoS::ExactlyOnce);
        assert_eq!(outbound.enqueue(qos2, &limits(policy), &mut counters), result, "{policy:?}");
        assert_eq!((outbound.len(), counters.dropped_queue_full), (2, 1));
        let kept_newest = outbound.items.back().map(|item| item.qos) == Some(QoS::ExactlyOnce);
        assert_eq!(kept_newest, policy == QueuePolicy::DropOldest);
        outbound.validate().unwrap();
    }
}

#[test]
fn drop_oldest_behind_an_open_exchange_keeps_the_queue_small() {
    let limits = QueueLimits { messages_max: 3, bytes_max: 1_000, policy: QueuePolicy::DropOldest };
    let mut outbound = queue(&[QoS::AtLeastOnce]);
    send_all(&mut outbound, 1);
    let mut counters = QueueCounters::default();
    for _ in 0..10_000 {
        outbound.enqueue(outgoing(QoS::AtLeastOnce), &limits, &mut counters);
    }
    assert_eq!((outbound.items.len(), counters.dropped_queue_full), (3, 9_998));
    outbound.resume();
    assert_eq!(send_all(&mut outbound, 9), [(1, Some(true)), (2, Some(false)), (3, Some(false))]);
}

#[test]
fn drop_oldest_never_drops_what_was_sent() {
    let limits = QueueLimits { messages_max: 1, bytes_max: 1_000, policy: QueuePolicy::DropOldest };
    let mut outbound = queue(&[QoS::AtLeastOnce]);
    send_all(&mut outbound, 1);
    let mut counters = QueueCounters::default();
    assert_eq!(outbound.enqueue(outgoing(QoS::AtLeastOnce), &limits, &mut counters), Enqueued::Dropped);
    assert_eq!(outbound.puback(id(1)), Acked::Complete);
}

#[test]
fn the_end_gives_back_what_a_shared_group_may_give_to_others() {
    let group: GroupRef = Arc::new(GroupName {
        group: "g".into(),
        filter: match topic_index::Filter::parse("t", 9) {
            Ok(topic_index::Filter::Plain(filter)) => filter,
            other => panic!("{other:?}"),
        },
    });
    let mut outbound = Outbound::new(false);
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce, QoS::ExactlyOnce] {
        outbound.enqueue_unbounded(Outgoing { group: Some(group.clone()), ..outgoing(qos) });
    }
    outbound.enqueue_unbounded(outgoing(QoS::AtLeastOnce));
    send_all(&mut outbound, 2);
    let (back, in_doubt) = outbound.into_unacknowledged();
    let qos: Vec<QoS> = back.iter().map(|(_, message)| message.qos).collect();
    assert_eq!(qos, [QoS::AtLeastOnce, QoS::ExactlyOnce], "sent QoS 1, and QoS 2 that was never sent");
    assert_eq!(in_doubt, 1);
}

#[derive(Clone, Debug)]
enum Step {
    Enqueue(bool),
    Send(u16),
    Ack(u16),
    Resume,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => any::<bool>().prop_map(Step::Enqueue),
        3 => (1_u16..5).prop_map(Step::Send),
        4 => (1_u16..40).prop_map(Step::Ack),
        1 => Just(Step::Resume),
    ]
}

proptest! {
    /// Whatever a client does: ids in flight are unique, the window holds, first sends are in order, and
    /// the counts agree with the items.
    #[test]
    fn invariants_hold_after_each_step(steps in proptest::collection::vec(step(), 0..200)) {
        let mut outbound = Outbound::new(true);
        let mut counters = QueueCounters::default();
        let mut first_sends = Vec::new();
        for step in steps {
            match step {
                Step::Enqueue(two) => {
                    outbound.enqueue_unbounded(outgoing(if two { QoS::ExactlyOnce } else { QoS::AtLeastOnce }));
                }
                Step::Send(window) => {
                    let mut in_flight = outbound.in_flight();
                    while let Some(send) = outbound.next_to_send(window, Millis(0), &mut counters) {
                        if let NextPacket::Publish { packet_id, dup, .. } = send {
                            prop_assert!(in_flight < u32::from(window));
                            if !dup {
                                first_sends.push(packet_id.get());
                            }
                        }
                        in_flight = outbound.in_flight();
                    }
                }
                Step::Ack(n) => {
                    let known = outbound.puback(id(n));
                    if known == Acked::WrongType && outbound.pubrec(id(n), false) == Acked::Release && n % 2 == 0 {
                        prop_assert_eq!(outbound.pubcomp(id(n)), Acked::Complete);
                    }
                }
                Step::Resume => outbound.resume(),
            }
            prop_assert_eq!(outbound.validate(), Ok(()));
        }
        prop_assert!(first_sends.is_sorted());
    }
}
