//! Streams over a way that loses, repeats and reorders: everything arrives once and in its order, and each is answered once.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use mqtt_codec::{QoS, SharedPublish, Text};
use proptest::prelude::*;
use raft_consensus::cluster::LowestLive;
use session_store::command::{Publish, PublishItem};
use session_store::matching::GroupName;
use session_store::word::{Frame, FramePart, Heard, Nobody};
use session_store::{ClientId, Host, Incarnation, Message, NodeId};
use topic_index::Filter;

use super::*;

const X: Host = Host { node: NodeId(1), incarnation: Incarnation(3) };
const Y: Host = Host { node: NodeId(2), incarnation: Incarnation(5) };

fn part(number: u64, bytes: usize) -> FramePart {
    let body = SharedPublish::new(&Text::new("t").unwrap(), &Bytes::new(), &vec![0; bytes].into());
    let message = Arc::new(Message { body, qos: QoS::AtLeastOnce, retain: false, expires_at: None });
    let item = PublishItem { number, message, sessions: true, store_retained: false, groups: Vec::new() };
    let publish = Publish { reply_to: None, publisher: ClientId::new("p"), epoch: None, items: vec![item] };
    FramePart { outbox: None, publish }
}

fn numbers(frame: &Frame) -> Vec<u64> {
    frame.parts.iter().flat_map(|part| &part.publish.items).map(|item| item.number).collect()
}

fn sending(count: u64) -> Sending<u64> {
    let mut sending = Sending::new(X, Y);
    (1..=count).for_each(|number| sending.push(part(number, 10), number));
    sending
}

fn cut(sending: &mut Sending<u64>) -> Vec<Vec<u64>> {
    std::iter::from_fn(|| sending.cut()).map(|frame| numbers(&frame)).collect()
}

fn heard(up_to: u64) -> Heard {
    Heard { source: X, target: Y, up_to, gap: false, nobody: Vec::new(), members: Vec::new() }
}

#[test]
fn what_comes_while_enough_is_on_its_way_goes_together() {
    let mut sending = sending(0);
    for number in 1..=IN_FLIGHT_MAX as u64 {
        sending.push(part(number, 10), number);
        assert_eq!(cut(&mut sending), [[number]]);
    }
    (100..180).for_each(|number| sending.push(part(number, 10), number));
    assert!(sending.cut().is_none());
    let answered: Vec<u64> = sending.heard(&heard(2)).into_iter().flat_map(|done| done.askers).collect();
    assert_eq!(answered, [1, 2]);
    assert!(sending.heard(&heard(2)).is_empty(), "once");
    assert_eq!(cut(&mut sending), [(100..180).collect::<Vec<u64>>()]);
    assert_eq!(sending.progress(), (2, true));
}

#[test]
fn a_frame_and_all_that_is_on_its_way_are_bounded() {
    let mut sending = sending(0);
    (0..5).for_each(|number| sending.push(part(number, 60 << 10), number));
    sending.push(part(5, 2 * BYTES_MAX), 5);
    assert!(!sending.has_room());
    assert_eq!(cut(&mut sending), [vec![0, 1], vec![2, 3], vec![4], vec![5]]);
    sending.heard(&heard(4));
    assert!(sending.has_room());
    let small: Vec<usize> = {
        (0..1_000).for_each(|number| sending.push(part(number, 0), number));
        cut(&mut sending).iter().map(Vec::len).collect()
    };
    assert_eq!(small, [512, 488]);
}

#[test]
fn a_repeat_is_answered_and_one_before_which_another_is_missing_is_refused_once() {
    let live = LowestLive::new();
    let mut receiving = Receiving::new(Y);
    let mut sending = sending(0);
    let frames: Vec<Arc<Frame>> = (1..=4)
        .map(|number| {
            sending.push(part(number, 1), number);
            sending.cut().unwrap()
        })
        .collect();
    assert_eq!(receiving.arrive(&frames[0], &live), Arrival::New);
    receiving.took(&frames[0], Vec::new());
    assert_eq!(receiving.arrive(&frames[2], &live), Arrival::Gap);
    assert_eq!(receiving.arrive(&frames[3], &live), Arrival::GapAgain);
    assert_eq!(receiving.heard(X, true), Heard { gap: true, ..heard(1) });
    assert_eq!(receiving.arrive(&frames[0], &live), Arrival::Repeat);
    for frame in &frames[1..] {
        assert_eq!(receiving.arrive(frame, &live), Arrival::New);
        receiving.took(frame, Vec::new());
    }
    assert_eq!(receiving.heard(X, false), heard(4));
}

#[test]
fn who_is_dead_or_meant_another_run_is_refused_and_a_later_run_begins_anew() {
    let mut receiving = Receiving::new(Y);
    let frame = |source: Host, target: Host| Frame {
        source,
        target,
        number: 1,
        predecessor: 0,
        done_below: 1,
        parts: Vec::new(),
    };
    let run = |incarnation| Host { incarnation: Incarnation(incarnation), ..X };
    let live = |lowest| LowestLive::from([(X.node, Incarnation(lowest))]);
    let take = |receiving: &mut Receiving, frame: &Frame, lowest| {
        let arrival = receiving.arrive(frame, &live(lowest));
        if arrival == Arrival::New {
            receiving.took(frame, Vec::new());
        }
        arrival
    };
    let other_run = Host { incarnation: Incarnation(4), ..Y };
    assert_eq!(take(&mut receiving, &frame(run(3), other_run), 0), Arrival::Refused);
    assert_eq!(take(&mut receiving, &frame(run(3), Y), 4), Arrival::Refused);
    assert_eq!(take(&mut receiving, &frame(run(4), Y), 4), Arrival::New);
    assert_eq!(take(&mut receiving, &frame(run(5), Y), 4), Arrival::New, "it has numbers of its own");
    assert_eq!(take(&mut receiving, &frame(run(4), Y), 4), Arrival::Refused);
    assert_eq!(receiving.heard(run(4), false).up_to, 0);
}

#[test]
fn that_nobody_was_there_is_said_until_the_source_has_it() {
    let live = LowestLive::new();
    let Ok(Filter::Shared { group, filter }) = Filter::parse("$share/g/t", 9) else { panic!("not shared") };
    let group = Arc::new(GroupName { group, filter });
    let nobody = |frame| Nobody { frame, part: 0, item: 0, group: Arc::clone(&group) };
    let (mut receiving, mut sending) = (Receiving::new(Y), sending(1));
    let first = sending.cut().unwrap();
    assert_eq!(receiving.arrive(&first, &live), Arrival::New);
    receiving.took(&first, vec![nobody(1)]);
    let lost = receiving.heard(X, false);
    assert_eq!(lost.nobody, [nobody(1)]);
    assert_eq!(receiving.arrive(&first, &live), Arrival::Repeat);
    let answered = sending.heard(&receiving.heard(X, false));
    assert_eq!(answered[0].nobody, [nobody(1)]);
    sending.push(part(2, 1), 2);
    let second = sending.cut().unwrap();
    assert_eq!(receiving.arrive(&second, &live), Arrival::New);
    receiving.took(&second, Vec::new());
    assert_eq!(receiving.heard(X, false), heard(2), "it is forgotten then");
}

#[test]
fn what_was_said_to_a_dead_target_and_what_was_not_are_told_apart() {
    let mut sending = sending(1);
    cut(&mut sending);
    sending.push(part(2, 1), 2);
    let (said, unsaid) = sending.give_up();
    let said: Vec<u64> = said.into_iter().flat_map(|done| done.askers).collect();
    assert_eq!((said, unsaid.into_iter().map(|(_, asker)| asker).collect()), (vec![1], vec![2]));
}

/// What the way does with the next word.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Arrives,
    Lost,
    Twice,
    Late,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        6 => Just(Fate::Arrives),
        2 => Just(Fate::Lost),
        1 => Just(Fate::Twice),
        1 => Just(Fate::Late),
    ]
}

/// A way that does with words what it was told, and then lets all pass.
struct Way<T> {
    words: VecDeque<T>,
    late: Vec<T>,
}

impl<T: Clone> Way<T> {
    fn say(&mut self, word: T, fate: Fate) {
        match fate {
            Fate::Arrives => self.words.push_back(word),
            Fate::Lost => {}
            Fate::Twice => self.words.extend([word.clone(), word]),
            Fate::Late => self.late.push(word),
        }
        if self.late.len() > 2 {
            self.words.extend(self.late.drain(..));
        }
    }
}

proptest! {
    #[test]
    fn everything_arrives_once_in_its_order_and_is_answered_once(
        fates in proptest::collection::vec(fate(), 0..200),
        sizes in proptest::collection::vec(0_usize..(80 << 10), 1..60),
    ) {
        let (mut sending, mut receiving) = (Sending::new(X, Y), Receiving::new(Y));
        let (mut there, mut back) = (
            Way { words: VecDeque::new(), late: Vec::new() },
            Way { words: VecDeque::new(), late: Vec::new() },
        );
        let mut fates = fates.into_iter();
        let mut fate = move || fates.next().unwrap_or(Fate::Arrives);
        let (mut delivered, mut answered) = (Vec::new(), Vec::new());
        let count = sizes.len() as u64;
        for (number, size) in (1..).zip(&sizes) {
            sending.push(part(number, *size), number);
            while let Some(frame) = sending.cut() {
                there.say(frame, fate());
            }
            // Every third time nothing moves, so that much is on its way.
            if number % 3 == 0 {
                continue;
            }
            settle(&mut sending, &mut receiving, (&mut there, &mut back), &mut fate, (&mut delivered, &mut answered));
        }
        for _ in 0..1_000 {
            if answered.len() as u64 == count {
                break;
            }
            // Silence: all that is unanswered is said again.
            sending.again().into_iter().for_each(|frame| there.say(frame, fate()));
            settle(&mut sending, &mut receiving, (&mut there, &mut back), &mut fate, (&mut delivered, &mut answered));
        }
        let all: Vec<u64> = (1..=count).collect();
        prop_assert_eq!(&delivered, &all);
        prop_assert_eq!(&answered, &all);
    }
}

type Ways<'a> = (&'a mut Way<Arc<Frame>>, &'a mut Way<Heard>);

/// Lets everything arrive that is on its way.
fn settle(
    sending: &mut Sending<u64>,
    receiving: &mut Receiving,
    (there, back): Ways<'_>,
    fate: &mut impl FnMut() -> Fate,
    (delivered, answered): (&mut Vec<u64>, &mut Vec<u64>),
) {
    let live = LowestLive::new();
    loop {
        if let Some(frame) = there.words.pop_front() {
            let arrival = receiving.arrive(&frame, &live);
            if arrival == Arrival::New {
                delivered.extend(numbers(&frame));
                receiving.took(&frame, Vec::new());
            }
            if arrival != Arrival::GapAgain {
                back.say(receiving.heard(frame.source, arrival == Arrival::Gap), fate());
            }
        } else if let Some(heard) = back.words.pop_front() {
            answered.extend(sending.heard(&heard).into_iter().flat_map(|done| done.askers));
            let again = if heard.gap { sending.again() } else { Vec::new() };
            again.into_iter().for_each(|frame| there.say(frame, fate()));
            while let Some(frame) = sending.cut() {
                there.say(frame, fate());
            }
        } else {
            return;
        }
    }
}
