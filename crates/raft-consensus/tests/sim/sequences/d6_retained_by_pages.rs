//! D6: very many retained messages for a persistent session come by pages, as its queue drains: no queue limit is reached,
//! and items and cursor are one step, so that a replica that takes over goes on where it was.
//! D8: what was published on a topic meanwhile is not followed by the retained message before it.

use std::sync::Arc;

use mqtt_codec::QoS;
use session_store::command::{Command, Input, Publish, PublishItem, RetainedWanted, Scanned};
use session_store::retained::PageQuery;
use session_store::scan::Ask;
use session_store::shard::{SCAN_PAGE, SCAN_STEPS};
use session_store::{ClientId, Effect, Message, Shard};
use topic_index::PageBounds;

use crate::twins::{FIRST, Twins, message, packet, pushed};

fn retain(twins: &mut Twins, topic: &str, payload: &[u8]) -> Vec<Effect> {
    let body = message(topic, payload, QoS::AtLeastOnce).body.clone();
    let message = Arc::new(Message { body, qos: QoS::AtLeastOnce, retain: true, expires_at: None });
    let item = PublishItem { number: 1, message, sessions: true, store_retained: true, groups: Vec::new() };
    let publisher = ClientId::new("p");
    twins.ask(Command::Publish(Publish { reply_to: None, publisher, epoch: None, items: vec![item] }))
}

fn asked(effects: &[Effect]) -> Option<Ask> {
    effects.iter().find_map(|effect| match effect {
        Effect::Scan(_, ask) => Some(ask.clone()),
        _ => None,
    })
}

/// The page that was asked for; the other shard has nothing.
fn page(shard: &Shard, ask: &Ask) -> Input {
    let bounds = PageBounds { topics: SCAN_PAGE, steps: SCAN_STEPS };
    let query = PageQuery { filter: &ask.filter, from: ask.from.as_ref(), bounds, now: shard.now() };
    let mut messages = Vec::new();
    let after = match ask.shard {
        0 => shard.retained_page(&query, &mut messages).next,
        _ => None,
    };
    Input::Scanned(Scanned { client: ClientId::new("c"), scan: ask.scan, messages, after })
}

fn topics(count: usize) -> (Twins, Vec<Effect>) {
    let mut twins = Twins::new();
    for number in 0..count {
        retain(&mut twins, &format!("r/{number:03}"), b"old");
    }
    twins.connect("c", 60);
    let effects = twins.ask(Twins::subscribing("c", "r/#", RetainedWanted::Always));
    (twins, effects)
}

#[test]
fn a_scan_goes_on_page_by_page_with_whoever_leads() {
    let (mut twins, mut effects) = topics(200);
    let (mut got, mut id, mut longest) = (0, 0, 0);
    while let Some(ask) = asked(&effects) {
        let input = page(&twins.first, &ask);
        // A page that comes twice is one page.
        let came = pushed(&twins.input(input.clone())).len();
        effects = twins.input(input);
        assert!(pushed(&effects).is_empty());
        got += came;
        longest = longest.max(twins.first.session("c").unwrap().outbound().len());
        twins.restart_second();
        let mut acks: Vec<_> = Vec::new();
        for _ in 0..came {
            id += 1;
            acks.push(session_store::command::Ack::Puback(packet(id)));
        }
        acks.push(session_store::command::Ack::PageTaken(ask.scan));
        effects.extend(twins.ask(Twins::acks("c", FIRST, acks)));
    }
    assert_eq!((got, longest), (200, SCAN_PAGE));
}

#[test]
fn what_was_delivered_meanwhile_is_not_followed_by_something_older() {
    let (mut twins, effects) = topics(3);
    let ask = asked(&effects).unwrap();
    let found = page(&twins.first, &ask);
    assert_eq!(pushed(&retain(&mut twins, "r/001", b"new")).len(), 1);
    let came: Vec<_> = pushed(&twins.input(found)).into_iter().map(|(_, _, payload)| payload).collect();
    assert_eq!(came, [b"old", b"old"], "of the two other topics");
}
