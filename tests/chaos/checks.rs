//! Holds what was recorded in a run against the guarantees that concern more than one session's messages: G8 (no success
//! without a quorum), G12 (shared groups), G13 (how long nothing succeeded, which is printed), and what stayed unknown.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use e2e_tests::checker;
use e2e_tests::history::{History, Message, Reader, Sent};

use crate::deaths::Death;
use crate::excuses::{Published, Stay, excused};
use crate::publisher::Publisher;
use crate::subscriber::{Owed, Subscriber, Wants};
use crate::wills::Life;
use crate::world::{Alone, Kind, Op, Outcome};

/// A node that is cut off has a lease for so long at most, and a margin for whoever is late to be cut off.
const LEASE: Duration = Duration::from_millis(1_700);
/// Of all operations so many may stay unknown, in a hundred.
const UNKNOWN_MAX: usize = 5;

/// What is owed to subscribers, as far as it is known of deaths and of who was where.
pub(crate) fn owed(publishers: &[Publisher], lives: Vec<Life>, (stays, deaths): (&[Stay], &[Death])) -> Owed {
    let with_times = publishers.iter().flat_map(|publisher| publisher.sent.iter().zip(&publisher.times));
    let published = with_times.filter_map(|(sent, (first, acknowledged))| {
        let acknowledged = acknowledged.filter(|_| sent.acknowledged)?;
        Some((sent.message, Published { qos: sent.qos, sent: *first, acknowledged }))
    });
    let messages: HashMap<Message, Published> = published.collect();
    let may_be_gone = messages.iter().filter(|(_, published)| excused(published, stays, deaths));
    let excused = may_be_gone.map(|(message, _)| *message).collect();
    let wills = lives.into_iter().map(|life| life.judged(deaths)).collect();
    Owed { excused, messages, wills }
}

/// G1, G3, G5, phantoms, of all that are no members of groups.
pub(crate) fn histories(publishers: &[Publisher], subscribers: &[Subscriber], owed: &Owed) -> Vec<String> {
    let sent: Vec<Sent> = publishers.iter().flat_map(|publisher| publisher.sent.clone()).collect();
    let plain = subscribers.iter().filter(|subscriber| subscriber.style.wants == Wants::All);
    let readers = plain.clone().flat_map(|subscriber| {
        (1..).zip(&subscriber.parts).map(|(number, part)| Reader {
            name: format!("{} {number}", subscriber.style.name),
            granted: subscriber.style.qos,
            persistent: subscriber.style.persistent,
            received: part.received.clone(),
        })
    });
    let history = History { sent, readers: readers.collect() };
    let mut wrong: Vec<String> = checker::check(&history).iter().map(|fault| format!("{fault:?}")).collect();
    for subscriber in plain.filter(|subscriber| !subscriber.style.persistent) {
        let Some(part) = subscriber.parts.last().filter(|part| part.last) else { continue };
        let came: std::collections::HashSet<_> =
            part.received.iter().filter_map(|received| Message::parse(&received.payload)).collect();
        let missing =
            owed.messages.iter().filter(|(message, at)| at.sent > part.since && !came.contains(message));
        wrong.extend(missing.map(|(message, _)| {
            format!("G1: {} was there, and never got {message:?}", subscriber.style.name)
        }));
    }
    wrong
}

/// G12: a message comes to one of a group; to another one too only as often as it was published again, or, at QoS 1, where
/// a member may be gone; to nobody only where it may have ended with a transient member.
pub(crate) fn groups(
    publishers: &[Publisher],
    subscribers: &[Subscriber],
    (owed, began): (&Owed, Instant),
) -> Vec<String> {
    let sent: HashMap<Message, &Sent> =
        publishers.iter().flat_map(|publisher| &publisher.sent).map(|sent| (sent.message, sent)).collect();
    let mut wrong = Vec::new();
    for (group, strict) in [(Wants::InGroup(0), true), (Wants::InMixedGroup(1), false)] {
        let mut members: HashMap<Message, Vec<usize>> = HashMap::new();
        let of_group = subscribers.iter().filter(|subscriber| subscriber.style.wants == group);
        for (member, subscriber) in of_group.enumerate() {
            let received = subscriber.parts.iter().flat_map(|part| &part.received);
            for received in received.filter(|received| !received.repeat) {
                let Some(message) = Message::parse(&received.payload) else { continue };
                let by = members.entry(message).or_default();
                if received.qos == 2 || !by.contains(&member) {
                    by.push(member);
                }
            }
        }
        for (message, by) in &members {
            let Some(sent) = sent.get(message) else {
                wrong.push(format!("G12: {message:?} was never published"));
                continue;
            };
            let most = if sent.qos == 1 { sent.times as usize } else { 1 };
            if by.len() > most && (strict || sent.qos != 1) {
                wrong.push(format!(
                    "G12: {message:?} at QoS {} came to members {by:?} of {group:?}",
                    sent.qos
                ));
            }
        }
        let missing = owed.messages.iter().filter(|(message, _)| !members.contains_key(message));
        let (gone, lost): (Vec<_>, Vec<_>) =
            missing.partition(|(message, _)| !strict && owed.excused.contains(message));
        println!("{group:?}: {} messages ended with a transient member", gone.len());
        wrong.extend(lost.into_iter().map(|(message, published)| {
            let [sent, acknowledged] = [published.sent, published.acknowledged].map(|at| seconds(began, at));
            format!(
                "G12: {message:?} of QoS {}, sent at {sent}, acknowledged at {acknowledged}, came to nobody in {group:?}",
                published.qos
            )
        }));
    }
    wrong
}

/// G8: nothing succeeded at a node that was cut off.
pub(crate) fn quorum(ops: &[Op], alone: &[Alone]) -> Vec<String> {
    let against = |alone: &Alone| {
        let inside = |op: &&Op| op.node == alone.node && op.began > alone.from + LEASE && op.ended < alone.to;
        let wrong = ops.iter().filter(inside).filter(|op| op.outcome == Outcome::Ok);
        wrong
            .map(|op| format!("G8: {:?} succeeded at node {} without a quorum", op.kind, op.node))
            .collect::<Vec<_>>()
    };
    alone.iter().flat_map(against).collect()
}

/// When something was, from the first fault on.
fn seconds(began: Instant, at: Instant) -> String {
    match at.checked_duration_since(began) {
        Some(since) => format!("{:.1} s", since.as_secs_f64()),
        None => format!("-{:.1} s", began.duration_since(at).as_secs_f64()),
    }
}

/// Prints where transient members of groups were, and when nodes lost what they had in memory.
pub(crate) fn print_whereabouts(began: Instant, stays: &[Stay], deaths: &[Death]) {
    for stay in stays {
        let to = stay.to.map_or_else(|| "the end".to_owned(), |to| seconds(began, to));
        println!("a transient member was on node {} from {} to {to}", stay.node, seconds(began, stay.from));
    }
    for death in deaths {
        println!("node {} died at {}", death.node, seconds(began, death.at));
    }
}

/// G13: prints how long nothing of each kind succeeded behind each fault, in steps of 100 ms.
pub(crate) fn print_pauses(ops: &[Op], began: Instant, faults: &[(String, Instant)]) {
    for (at, (name, from)) in faults.iter().enumerate() {
        let to = faults.get(at + 1).map(|(_, to)| *to);
        let longest = |kind: Kind| {
            let ok = ops.iter().filter(|op| op.kind == kind && op.outcome == Outcome::Ok);
            let mut ends: Vec<Instant> =
                ok.map(|op| op.ended).filter(|end| end > from && to.is_none_or(|to| *end < to)).collect();
            ends.sort_unstable();
            let firsts = std::iter::once(*from).chain(ends.iter().copied());
            let pause = firsts.zip(&ends).map(|(one, next)| next.duration_since(one)).max();
            pause.map_or("-".to_owned(), |pause| format!("{}", pause.as_millis() / 100 * 100))
        };
        println!(
            "{:6.1} s {name}: longest pause in ms: CONNECT {}, SUBSCRIBE {}, QoS 1 {}, QoS 2 {}",
            from.duration_since(began).as_secs_f64(),
            longest(Kind::Connect),
            longest(Kind::Subscribe),
            longest(Kind::Publish1),
            longest(Kind::Publish2),
        );
    }
}

/// Prints what came of the operations; says whether too much stayed unknown.
pub(crate) fn unknown(ops: &[Op]) -> Vec<String> {
    let mut counts: std::collections::BTreeMap<Kind, [usize; 3]> = Default::default();
    for op in ops {
        counts.entry(op.kind).or_default()[op.outcome as usize] += 1;
    }
    for (kind, [ok, refused, unknown]) in &counts {
        println!("{kind:?}: {ok} ok, {refused} refused, {unknown} unknown");
    }
    let unknown = ops.iter().filter(|op| op.outcome == Outcome::Unknown).count();
    println!("{} operations, {unknown} of them unknown", ops.len());
    let too_many = unknown * 100 > ops.len() * UNKNOWN_MAX;
    too_many.then(|| format!("{unknown} of {} operations stayed unknown", ops.len())).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use e2e_tests::Version;
    use e2e_tests::history::Received;

    use super::*;
    use crate::{publisher, subscriber};

    const MESSAGE: Message = Message { publisher: 1, sequence: 1 };

    /// What is wrong when one message at a QoS, published once and acknowledged, came to members of a group so often.
    fn wrong(qos: u8, came: &[usize], wants: Wants, excused: bool) -> Vec<String> {
        let now = Instant::now();
        let style = publisher::Style { number: 1, version: Version::V5, qos, persistent: true };
        let mut publishers = [Publisher::new(style)];
        let sent = Sent { message: MESSAGE, topic: 0, qos, times: 1, acknowledged: true };
        let (topic, payload) = (sent.topic_name(), MESSAGE.payload().into_bytes());
        publishers[0].sent.push(sent);
        publishers[0].times.push((now, Some(now)));
        let style = |name| subscriber::Style {
            name,
            version: Version::V5,
            filter: "",
            qos: 2,
            persistent: true,
            moves_after: None,
            absent: false,
            wants,
        };
        let received = Received { topic, payload, qos, dup: false, packet_id: 1, repeat: false };
        let members = ["one", "other"].into_iter().zip(came).map(|(name, count)| {
            let mut member = Subscriber::new(style(name));
            let received = vec![received.clone(); *count];
            member.parts.push(subscriber::Part { received, since: now, last: true });
            member
        });
        let members: Vec<Subscriber> = members.collect();
        let mut owed = owed(&publishers, Vec::new(), (&[], &[]));
        owed.excused.extend(excused.then_some(MESSAGE));
        groups(&publishers, &members, (&owed, now))
    }

    #[test]
    fn a_message_of_a_group_that_came_to_nobody_or_to_two_is_found() {
        let (strict, mixed) = (Wants::InGroup(0), Wants::InMixedGroup(1));
        for qos in [1, 2] {
            for wants in [strict, mixed] {
                assert_eq!(wrong(qos, &[1, 0], wants, false).len(), 1, "the other group got nothing");
                assert_eq!(wrong(qos, &[0, 0], wants, false).len(), 2);
            }
            assert_eq!(wrong(qos, &[0, 0], strict, true).len(), 1);
            assert_eq!(wrong(qos, &[1, 1], strict, true).len(), 1);
        }
        assert_eq!(wrong(2, &[2, 0], strict, true).len(), 1);
        assert_eq!(wrong(2, &[1, 1], mixed, false).len(), 2);
    }

    #[test]
    fn a_success_behind_the_lease_of_a_node_that_is_cut_off_is_found() {
        let zero = Instant::now();
        let at = |ms: u64| zero + Duration::from_millis(ms);
        let alone = [Alone { node: 2, from: at(0), to: at(4_000) }];
        let op = |node, began, ended, outcome| Op {
            kind: Kind::Publish1,
            node,
            began: at(began),
            ended: at(ended),
            outcome,
        };
        assert_eq!(quorum(&[op(2, 2_000, 2_100, Outcome::Ok)], &alone).len(), 1);
        let fine = [
            op(2, 1_000, 1_100, Outcome::Ok),
            op(2, 2_000, 2_100, Outcome::Unknown),
            op(2, 2_000, 4_100, Outcome::Ok),
            op(1, 2_000, 2_100, Outcome::Ok),
        ];
        assert!(quorum(&fine, &alone).is_empty());
    }
}
