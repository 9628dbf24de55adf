//! Holds a history against the guarantees: G1 (nothing acknowledged is lost), G3 (QoS 2 exactly once), G5 (order, and
//! repeats marked as such), and that nothing comes which nobody published. A pure function, linear in the history.

use std::collections::{HashMap, HashSet};

use crate::history::{History, Message, Reader, Received, Sent};

/// What a history shows to be wrong.
#[allow(missing_docs, reason = "the variants say what their fields are")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// G1: acknowledged, and it never came.
    Lost { reader: String, message: Message },
    /// G3: a QoS 2 message was delivered more than once.
    Twice { reader: String, message: Message },
    /// G5: first received after a later one of its publisher and topic.
    Reordered { reader: String, message: Message, after: Message },
    /// G5: received again without DUP, more often than it was published.
    Unmarked { reader: String, message: Message },
    /// A resend under another packet id.
    OtherId { reader: String, message: Message },
    /// A new QoS 2 message under a packet id that another one still uses: the receiver takes it for a repeat.
    Hidden { reader: String, message: Message },
    /// Nobody published this, to this topic, at this QoS or a higher one.
    Phantom { reader: String, received: Received },
}

/// Everything that is wrong with a history.
pub fn check(history: &History) -> Vec<Fault> {
    let sent: HashMap<Message, &Sent> = history.sent.iter().map(|sent| (sent.message, sent)).collect();
    history.readers.iter().flat_map(|reader| check_reader(reader, &sent)).collect()
}

/// What one session has seen of a message.
#[derive(Default)]
struct Seen {
    delivered: u32,
    unmarked: u32,
    packet_id: u16,
}

fn check_reader(reader: &Reader, sent: &HashMap<Message, &Sent>) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut seen: HashMap<Message, Seen> = HashMap::new();
    let mut newest: HashMap<(u32, u32), Message> = HashMap::new();
    let name = || reader.name.clone();
    for received in &reader.received {
        let Some(original) = original(received, reader, sent) else {
            faults.push(Fault::Phantom { reader: name(), received: received.clone() });
            continue;
        };
        let message = original.message;
        let before = seen.entry(message).or_default();
        if before.packet_id == 0 {
            let last = newest.entry((message.publisher, original.topic)).or_insert(message);
            if last.sequence > message.sequence {
                faults.push(Fault::Reordered { reader: name(), message, after: *last });
            } else {
                *last = message;
            }
            before.packet_id = received.packet_id;
        }
        // What is published again is a new message of QoS 1, with an id of its own.
        let copies = if original.qos == 1 { original.times } else { 1 };
        if copies == 1 && before.packet_id != received.packet_id {
            faults.push(Fault::OtherId { reader: name(), message });
        }
        before.unmarked += u32::from(!received.dup);
        if before.unmarked > copies {
            faults.push(Fault::Unmarked { reader: name(), message });
        }
        if received.repeat && before.delivered == 0 {
            faults.push(Fault::Hidden { reader: name(), message });
        }
        before.delivered += u32::from(!received.repeat);
        if received.qos == 2 && before.delivered > 1 {
            faults.push(Fault::Twice { reader: name(), message });
        }
    }
    if reader.persistent {
        // What is hidden and not sent again was received, and delivered to nobody.
        let came: HashSet<Message> =
            seen.into_iter().filter(|(_, seen)| seen.delivered > 0).map(|(message, _)| message).collect();
        let owed = sent.values().filter(|sent| sent.acknowledged && !came.contains(&sent.message));
        let mut lost: Vec<Message> = owed.map(|sent| sent.message).collect();
        lost.sort_unstable();
        faults.extend(lost.into_iter().map(|message| Fault::Lost { reader: name(), message }));
    }
    faults
}

/// The message that was received, if it was published like this.
fn original<'a>(received: &Received, reader: &Reader, sent: &HashMap<Message, &'a Sent>) -> Option<&'a Sent> {
    let original = *sent.get(&Message::parse(&received.payload)?)?;
    let as_published =
        received.topic == original.topic_name() && received.qos == original.qos.min(reader.granted);
    as_published.then_some(original)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(sequence: u32) -> Message {
        Message { publisher: 3, sequence }
    }

    /// Six messages of one publisher at a QoS, on two topics by turns, all acknowledged but the last.
    fn sent(qos: u8) -> Vec<Sent> {
        let one = |sequence: u32| Sent {
            message: message(sequence),
            topic: sequence % 2,
            qos,
            times: 1,
            acknowledged: sequence < 6,
        };
        (1..=6).map(one).collect()
    }

    /// How a session gets them: each once, in order.
    fn good(qos: u8) -> History {
        let sent = sent(qos);
        let receive = |sent: &Sent| Received {
            topic: sent.topic_name(),
            payload: sent.message.payload().into_bytes(),
            qos,
            dup: false,
            packet_id: sent.message.sequence as u16,
            repeat: false,
        };
        let received = sent.iter().map(receive).collect();
        let reader = Reader { name: "r".to_owned(), granted: 2, persistent: true, received };
        History { sent, readers: vec![reader] }
    }

    /// The faults of a history that was changed.
    fn faults(qos: u8, change: impl FnOnce(&mut History)) -> Vec<Fault> {
        let mut history = good(qos);
        change(&mut history);
        check(&history)
    }

    fn name() -> String {
        "r".to_owned()
    }

    #[test]
    fn a_good_history_has_no_fault() {
        for qos in [1, 2] {
            assert_eq!(check(&good(qos)), []);
            assert_eq!(faults(qos, |h| drop(h.readers[0].received.pop())), [], "what was not acknowledged");
        }
    }

    #[test]
    fn a_lost_message_is_found() {
        for qos in [1, 2] {
            let lost = faults(qos, |h| drop(h.readers[0].received.remove(3)));
            assert_eq!(lost, [Fault::Lost { reader: name(), message: message(4) }]);
            let all = faults(qos, |h| h.readers[0].received.clear());
            assert_eq!(all.len(), 5);
            let transient = faults(qos, |h| {
                h.readers[0].persistent = false;
                h.readers[0].received.clear();
            });
            assert_eq!(transient, []);
        }
    }

    #[test]
    fn a_message_under_a_packet_id_that_is_in_use_is_lost() {
        let hidden = faults(2, |h| h.readers[0].received[3].repeat = true);
        let of_4 = (name(), message(4));
        let expected = [
            Fault::Hidden { reader: of_4.0.clone(), message: of_4.1 },
            Fault::Lost { reader: of_4.0, message: of_4.1 },
        ];
        assert_eq!(hidden, expected);
    }

    #[test]
    fn a_second_delivery_at_qos_2_is_found_whatever_its_marks() {
        for (dup, packet_id) in [(false, 1), (true, 1), (true, 9)] {
            let twice = faults(2, |h| {
                let again = Received { dup, packet_id, ..h.readers[0].received[0].clone() };
                h.readers[0].received.push(again);
            });
            assert!(twice.contains(&Fault::Twice { reader: name(), message: message(1) }), "{twice:?}");
        }
        let repeated = faults(2, |h| {
            let again = Received { dup: true, repeat: true, ..h.readers[0].received[0].clone() };
            h.readers[0].received.push(again);
        });
        assert_eq!(repeated, [], "a resend within the exchange is no second delivery");
    }

    #[test]
    fn a_repeat_must_say_so_unless_it_was_published_again() {
        let again = |h: &mut History, dup, packet_id| {
            let again = Received { dup, packet_id, ..h.readers[0].received[5].clone() };
            h.readers[0].received.push(again);
        };
        assert_eq!(faults(1, |h| again(h, true, 6)), []);
        let unmarked = faults(1, |h| again(h, false, 6));
        assert_eq!(unmarked, [Fault::Unmarked { reader: name(), message: message(6) }]);
        let other = faults(1, |h| again(h, true, 7));
        assert_eq!(other, [Fault::OtherId { reader: name(), message: message(6) }]);
        let republished = faults(1, |h| {
            h.sent[5].times = 2;
            again(h, false, 7);
        });
        assert_eq!(republished, []);
        let thrice = faults(1, |h| {
            h.sent[5].times = 2;
            again(h, false, 7);
            again(h, false, 8);
        });
        assert_eq!(thrice, [Fault::Unmarked { reader: name(), message: message(6) }]);
    }

    #[test]
    fn a_change_of_order_within_a_topic_is_found_and_between_topics_is_none() {
        for qos in [1, 2] {
            let swapped = faults(qos, |h| h.readers[0].received.swap(1, 3));
            let expected = Fault::Reordered { reader: name(), message: message(2), after: message(4) };
            assert_eq!(swapped, [expected]);
            assert_eq!(faults(qos, |h| h.readers[0].received.swap(1, 2)), []);
        }
    }

    #[test]
    fn what_nobody_published_is_found() {
        let changes: [fn(&mut Received); 4] = [
            |r| r.payload = Message { publisher: 3, sequence: 7 }.payload().into_bytes(),
            |r| r.payload.truncate(4),
            |r| r.topic = "load/3/0".to_owned(),
            |r| r.qos = 1,
        ];
        for change in changes {
            let found = faults(2, |h| change(&mut h.readers[0].received[0]));
            assert!(matches!(found[0], Fault::Phantom { .. }), "{found:?}");
            assert_eq!(found[1], Fault::Lost { reader: name(), message: message(1) });
        }
    }
}
