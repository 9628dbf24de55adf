//! Words as bytes: what is said is heard, many together too, and no bytes do harm.

use std::collections::VecDeque;

use bytes::BytesMut;
use mqtt_codec::{PacketId, QoS, SharedPublish, Text};
use proptest::prelude::*;
use topic_index::{Cursor, Filter, PageBounds};

use super::*;
use crate::command::{Connected, GroupPick, Input, PublishItem, Push, Refused, Reply};
use crate::ids::{ClientId, ConnectionId, Epoch, Incarnation, NodeId, SessionKey};
use crate::matching::{GroupName, GroupRef};
use crate::message::{Message, MessageRef};
use crate::outbound::Outgoing;
use crate::picks::InGroup;
use crate::record::arbitrary;
use crate::shard::{StoredAt, StoredPage};
use crate::stream::{Answer, Source};
use crate::word::{
    ForMember, Found, FramePart, Given, GroupMembers, Nobody, Page, PageWanted, Question, Settled,
};

const HOST: Host = Host { node: NodeId(2), incarnation: Incarnation(7) };
const AT: StoredAt = StoredAt { session: SessionKey(3), serial: 12 };

fn connection() -> ConnectionId {
    ConnectionId { host: HOST, number: 4 }
}

fn id(id: u16) -> PacketId {
    PacketId::new(id).unwrap()
}

fn message(topic: &'static str) -> MessageRef {
    let body = SharedPublish::new(&Text::from_static(topic), &Bytes::new(), &Bytes::from_static(b"payload"));
    Arc::new(Message { body, qos: QoS::AtLeastOnce, retain: true, expires_at: None })
}

fn outgoing(ids: &[u32]) -> Outgoing {
    let subscription_ids = (!ids.is_empty()).then(|| ids.into());
    Outgoing { message: message("a/b"), qos: QoS::ExactlyOnce, retain: false, subscription_ids, group: None }
}

fn effects() -> Vec<Effect> {
    let source = Source::Host(HOST);
    let connected = Connected { epoch: Epoch(5), session_present: true, persistent: true };
    let pushes = vec![
        Push::Publish { packet_id: None, position: 0, dup: false, item: outgoing(&[]) },
        Push::Publish { packet_id: Some(id(9)), position: 8, dup: true, item: outgoing(&[1, 2]) },
        Push::Stored { packet_id: id(10), position: 9, dup: true, at: AT },
        Push::Release(id(11)),
        Push::ReleaseUnknown(id(12)),
        Push::PageEnd(13),
    ];
    vec![
        Effect::Answer(Answer { source, number: 1, reply: None }),
        Effect::Answer(Answer { source, number: 2, reply: Some((None, Reply::Received(id(1)))) }),
        Effect::Answer(Answer {
            source,
            number: 3,
            reply: Some((Some(connection()), Reply::Connected(Ok(connected)))),
        }),
        Effect::Gap { source, last: 6 },
        Effect::Reply(connection(), Reply::Connected(Err(Refused::TakenOver))),
        Effect::Reply(connection(), Reply::Stop),
        Effect::Push(connection(), pushes),
    ]
}

fn words() -> Vec<Word> {
    let Ok(Filter::Plain(filter)) = Filter::parse("a/+/#", 8) else { panic!("it is plain") };
    let group = Arc::new(GroupName { group: "g".into(), filter: filter.clone() });
    let of = |position| InGroup { position, group: Arc::clone(&group) };
    let member = connection();
    let bounds = PageBounds { topics: 5, steps: 6 };
    let wanted = PageWanted { filter, from: Some(Cursor::at(b"a/x")), bounds };
    let all = PageWanted { from: None, ..wanted.clone() };
    let items: VecDeque<_> = [(11, outgoing(&[])), (14, outgoing(&[3]))].into();
    let stored = StoredPage { session: AT.session, serials: 10..20, items };
    vec![
        Word::Attach(HOST, 3),
        Word::Taken(ShardId(5), 1 << 40),
        Word::Told(Told {
            attachment: 1,
            number: 2,
            outbox_full: true,
            routes: 7 << 16,
            more: true,
            effects: effects(),
        }),
        Word::Told(Told {
            attachment: 0,
            number: 0,
            outbox_full: false,
            routes: 0,
            more: false,
            effects: Vec::new(),
        }),
        Word::Question(1, Question::Page(wanted)),
        Word::Question(2, Question::Page(all)),
        Word::Question(3, Question::Stored(AT, connection())),
        Word::Question(
            4,
            Question::ForMembers(HOST, vec![ForMember { of: of(7), member, message: message("m") }]),
        ),
        Word::Question(5, Question::Settled),
        Word::Found(7, Found::Settled(Settled { all: true, outboxes: vec![ShardId(0), ShardId(5)] })),
        Word::Found(8, Found::Settled(Settled::default())),
        Word::Found(5, Found::Given(Given { up_to: Some(of(7)), gone: Some(of(8)) })),
        Word::Found(6, Found::Given(Given::default())),
        Word::Found(1, Found::Page(Page { messages: vec![message("a"), message("b")], next: None })),
        Word::Found(2, Found::Page(Page { messages: Vec::new(), next: Some(Cursor::at(b"c")) })),
        Word::Found(3, Found::Stored(Some(stored))),
        Word::Found(4, Found::Stored(None)),
        Word::Requests(Vec::new()),
        Word::Frame(Arc::new(frame(vec![
            FramePart { outbox: None, publish: publish(&group) },
            FramePart { outbox: Some(ShardId(0)), publish: publish(&group) },
        ]))),
        Word::Frame(Arc::new(frame(Vec::new()))),
        Word::Heard(Heard {
            source: HOST,
            target: HOST,
            up_to: 9,
            gap: true,
            nobody: vec![Nobody { frame: 8, part: 1, item: 2, group: Arc::clone(&group) }],
            members: vec![GroupMembers { group: Arc::clone(&group), members: 4, full: 1 }],
        }),
    ]
}

fn publish(group: &GroupRef) -> Publish {
    let groups = vec![GroupPick { group: Arc::clone(group), choice: 5 }];
    let item =
        PublishItem { number: 3, message: message("t"), sessions: true, store_retained: false, groups };
    Publish {
        reply_to: Some(connection()),
        publisher: ClientId::new("p"),
        epoch: Some(Epoch(7)),
        items: vec![item],
    }
}

fn frame(parts: Vec<FramePart>) -> Frame {
    Frame { source: HOST, target: HOST, number: 8, predecessor: 7, done_below: 5, parts }
}

fn shown(words: &[(ShardId, Word)]) -> String {
    format!("{words:?}")
}

#[test]
fn every_word_is_heard_as_it_was_said_and_all_of_them_together() {
    let mut together = BytesMut::new();
    let mut said = Vec::new();
    for (shard, word) in (0..).map(ShardId).zip(words()) {
        let bytes = encode_word(shard, &word);
        together.extend_from_slice(&bytes);
        let one = [(shard, word)];
        assert_eq!(shown(&decode_words(bytes).unwrap()), shown(&one));
        said.extend(one);
    }
    assert_eq!(shown(&decode_words(together.freeze()).unwrap()), shown(&said));
}

#[test]
fn what_is_for_no_host_is_not_told() {
    let outbox = Effect::Answer(Answer { source: Source::Outbox(ShardId(1)), number: 1, reply: None });
    let effects = vec![Effect::Outbox(3), outbox, Effect::Push(connection(), Vec::new())];
    let told =
        Word::Told(Told { attachment: 1, number: 1, outbox_full: false, routes: 1, more: false, effects });
    let heard = decode_words(encode_word(ShardId(0), &told)).unwrap();
    let [(_, Word::Told(told))] = heard.as_slice() else { panic!("{heard:?}") };
    assert!(matches!(told.effects.as_slice(), [Effect::Push(..)]), "{told:?}");
}

#[test]
fn a_frame_that_comes_before_its_predecessor_is_refused() {
    let word = Word::Frame(Arc::new(Frame { predecessor: 8, ..frame(Vec::new()) }));
    assert!(decode_words(encode_word(ShardId(0), &word)).is_err());
}

#[test]
fn items_of_a_page_that_are_not_in_order_are_refused() {
    let items: VecDeque<_> = [(14, outgoing(&[])), (11, outgoing(&[]))].into();
    let stored = StoredPage { session: AT.session, serials: 10..20, items };
    let word = Word::Found(1, Found::Stored(Some(stored)));
    assert!(decode_words(encode_word(ShardId(0), &word)).is_err());
}

proptest! {
    #[test]
    fn any_request_is_heard_as_it_was_said(inputs in proptest::collection::vec(arbitrary::input(), 0..4)) {
        let requests = inputs.into_iter().filter_map(|input| match input {
            Input::Request(request) => Some(request),
            _ => None,
        });
        let word = Word::Requests(requests.collect());
        let bytes = encode_word(ShardId(9), &word);
        prop_assert_eq!(shown(&decode_words(bytes).unwrap()), shown(&[(ShardId(9), word)]));
    }

    #[test]
    fn no_bytes_do_harm(at in 0_usize..4_000, with in any::<u8>(), cut in 0_usize..4_000) {
        let mut all = BytesMut::new();
        words().iter().for_each(|word| all.extend_from_slice(&encode_word(ShardId(1), word)));
        let (length, place) = (all.len(), at % all.len());
        all[place] = with;
        all.truncate(length - cut % length);
        let _refused_or_not = decode_words(all.freeze());
    }
}
