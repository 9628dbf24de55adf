//! Tests of a shard: connections, sessions, wills, retained messages, shared groups.

use std::sync::Arc;

use bytes::Bytes;
use mqtt_codec::{PacketId, QoS, SharedPublish, Text};
use topic_index::{Filter, PageBounds};

use super::*;
use crate::command::{
    Ack, Acks, Command, Connected, EXPIRY_NEVER, End, GroupPick, Publish, PublishItem, Push, Receive,
    Refused, Release, Reply, RetainedWanted, RouteChange, Scanned, Subscribe, SubscribeTo, Unsubscribe,
    WillFate,
};
use crate::matching::GroupName;
use crate::message::Message;
use crate::outbox::OutboxKind;
use crate::stream::{Answer, Request};

const ID: PacketId = PacketId::MIN;
const HOST: Host = Host { node: NodeId(1), incarnation: Incarnation(1) };
const ME: ShardNumber = ShardNumber { number: ShardId(0), of: 1 };

fn id(number: u64) -> ConnectionId {
    ConnectionId { host: HOST, number }
}
const PAGE: PageBounds = PageBounds { topics: SCAN_PAGE, steps: SCAN_STEPS };

/// A shard, and the effects of the last command.
struct World {
    shard: Shard,
    now: Millis,
    connections: u64,
    requests: u64,
    /// Where the client's connections are.
    host: Host,
}

impl World {
    fn new() -> Self {
        let shard = Shard::new(ME, ShardLimits::default());
        Self { shard, now: Millis(1_000_000), connections: 0, requests: 0, host: HOST }
    }

    /// Applies the next request of the host.
    fn apply(&mut self, command: Command) -> Vec<Effect> {
        self.requests += 1;
        let done_below = self.requests.saturating_sub(1_000);
        self.input(Input::from(Request { done_below, ..self.request(self.requests, command) }))
    }

    fn request(&self, number: u64, command: Command) -> Request {
        Request { source: Source::Host(self.host), number, done_below: 0, command }
    }

    fn input(&mut self, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.shard.apply(self.now, input, &mut effects);
        self.shard.validate().unwrap();
        effects
    }

    /// What the shard has to send, which is taken from its outbox.
    fn sent(&mut self) -> Vec<OutboxItem> {
        let sent = self.shard.outbox().from(0).map(|(_, item)| item.clone()).collect();
        self.input(Input::Relayed(self.shard.outbox().last()));
        sent
    }

    fn connect(&mut self, client: &str, clean_start: bool, expiry_s: u32) -> (ConnectionId, Vec<Effect>) {
        self.connect_with(client, clean_start, expiry_s, None)
    }

    fn connect_with(
        &mut self,
        client: &str,
        clean_start: bool,
        expiry_s: u32,
        will: Option<Will>,
    ) -> (ConnectionId, Vec<Effect>) {
        self.connections += 1;
        let connection = ConnectionId { host: self.host, number: self.connections };
        let client = ClientId::new(client);
        let connect = Connect { client, connection, clean_start, expiry_s, receive_maximum: 10, will };
        (connection, self.apply(Command::Connect(connect)))
    }

    fn end(&mut self, client: &str, will: WillFate) -> Vec<Effect> {
        let epoch = self.epoch(client);
        self.apply(Command::End(End {
            client: ClientId::new(client),
            epoch,
            will,
            expiry_s: None,
            unsent: Vec::new(),
        }))
    }

    fn connection(&self, client: &str) -> ConnectionId {
        self.shard.clients.get(client).and_then(|client| client.connection).unwrap()
    }

    fn epoch(&self, client: &str) -> Epoch {
        self.shard.clients.get(client).map(|client| client.epoch).unwrap_or_default()
    }

    fn subscribe(&mut self, client: &str, filter: &str, retained: RetainedWanted) -> Vec<Effect> {
        let (epoch, client) = (self.epoch(client), ClientId::new(client));
        let subscribed =
            Subscribed { qos: QoS::ExactlyOnce, no_local: false, retain_as_published: false, id: None };
        let filter = Filter::parse(filter, 9).unwrap();
        let filters = vec![(0, SubscribeTo { filter, subscribed, retained })];
        self.apply(Command::Subscribe(Subscribe { client, epoch, packet_id: ID, filters }))
    }

    fn publish(&mut self, topic: &str, qos: QoS) -> Vec<Effect> {
        self.publish_item(PublishItem {
            number: 7,
            message: message(topic, b"x", qos, false),
            sessions: true,
            store_retained: false,
            groups: Vec::new(),
        })
    }

    fn publish_item(&mut self, item: PublishItem) -> Vec<Effect> {
        let publisher = ClientId::new("publisher");
        let reply_to = Some(id(999));
        self.apply(Command::Publish(Publish { reply_to, publisher, epoch: None, items: vec![item] }))
    }

    fn retain(&mut self, topic: &str, payload: &'static [u8]) {
        let message = message(topic, payload, QoS::AtLeastOnce, true);
        self.publish_item(PublishItem {
            number: 7,
            message,
            sessions: false,
            store_retained: true,
            groups: Vec::new(),
        });
    }
}

fn message(topic: &str, payload: &'static [u8], qos: QoS, retain: bool) -> MessageRef {
    let body = SharedPublish::new(&Text::new(topic).unwrap(), &Bytes::new(), &Bytes::from_static(payload));
    Arc::new(Message { body, qos, retain, expires_at: None })
}

fn will(delay_s: u32) -> Option<Will> {
    let body = message("will", b"gone", QoS::AtLeastOnce, false).body.clone();
    Some(Will { body, qos: QoS::AtLeastOnce, retain: false, delay_s, expiry_s: None })
}

/// What connections are told, by answers and by themselves.
fn told(effects: &[Effect]) -> Vec<(ConnectionId, Reply)> {
    let told = effects.iter().filter_map(|effect| match effect {
        Effect::Reply(connection, reply)
        | Effect::Answer(Answer { reply: Some((Some(connection), reply)), .. }) => Some((*connection, reply)),
        _ => None,
    });
    told.map(|(connection, reply)| (connection, reply.clone())).collect()
}

/// What is done beside answering.
fn done(effects: &[Effect]) -> usize {
    effects.iter().filter(|effect| !matches!(effect, Effect::Answer(_))).count()
}

fn connected(effects: &[Effect]) -> Option<Connected> {
    told(effects).into_iter().find_map(|(_, reply)| match reply {
        Reply::Connected(Ok(connected)) => Some(connected),
        _ => None,
    })
}

fn pushed(effects: &[Effect]) -> Vec<(ConnectionId, Option<u16>, bool)> {
    let mut all = Vec::new();
    for effect in effects {
        let Effect::Push(connection, pushes) = effect else { continue };
        all.extend(pushes.iter().filter_map(|push| match push {
            Push::Publish { packet_id, dup, .. } => Some((*connection, packet_id.map(PacketId::get), *dup)),
            _ => None,
        }));
    }
    all
}

fn routes(effects: &[Effect]) -> Vec<&RouteChange> {
    effects
        .iter()
        .filter_map(|effect| if let Effect::Route(change) = effect { Some(change) } else { None })
        .collect()
}

#[test]
fn a_transient_session_ends_with_its_connection_and_leaves_nothing() {
    let mut world = World::new();
    let (_, effects) = world.connect("c", true, 0);
    assert_eq!(connected(&effects).map(|c| (c.session_present, c.persistent)), Some((false, false)));
    world.end("c", WillFate::Discard);
    assert!(world.shard.clients.is_empty());
}

#[test]
fn a_persistent_session_keeps_messages_and_resumes_with_dup() {
    let mut world = World::new();
    world.connect("c", false, 100);
    assert_eq!(routes(&world.subscribe("c", "a/#", RetainedWanted::Never)).len(), 1);
    assert_eq!(pushed(&world.publish("a/b", QoS::AtLeastOnce)), [(id(1), Some(1), false)]);
    world.end("c", WillFate::Keep);
    assert_eq!(pushed(&world.publish("a/b", QoS::AtLeastOnce)), []);
    let (connection, effects) = world.connect("c", false, 100);
    assert_eq!(connected(&effects).map(|c| c.session_present), Some(true));
    assert_eq!(pushed(&effects), [(connection, Some(1), true), (connection, Some(2), false)]);
    assert!(matches!(effects.first(), Some(Effect::Answer(_))), "CONNACK comes before messages");
    assert_eq!(routes(&effects), Vec::<&RouteChange>::new(), "a reconnect moves no routes");
}

#[test]
fn clean_start_ends_the_old_session_and_its_routes() {
    let mut world = World::new();
    world.connect("c", false, 100);
    world.subscribe("c", "a", RetainedWanted::Never);
    world.end("c", WillFate::Keep);
    let (_, effects) = world.connect("c", true, 100);
    assert_eq!(connected(&effects).map(|c| c.session_present), Some(false));
    assert_eq!(routes(&effects).iter().map(|change| change.qos).collect::<Vec<_>>(), [None]);
    assert_eq!(pushed(&world.publish("a", QoS::AtLeastOnce)), []);
}

#[test]
fn a_take_over_waits_for_the_last_word_of_the_old_connection() {
    let mut world = World::new();
    world.connect("c", false, 100);
    let old = world.epoch("c");
    let (second, effects) = world.connect("c", false, 100);
    assert_eq!(told(&effects), [(id(1), Reply::Stop)]);
    let (third, effects) = world.connect("c", false, 100);
    assert_eq!(told(&effects), [(second, Reply::Connected(Err(Refused::TakenOver)))]);
    let effects = world.end("c", WillFate::Keep);
    assert!(matches!(effects.first(), Some(Effect::Reply(connection, _)) if *connection == third));
    assert!(world.epoch("c") > old);
    let client = ClientId::new("c");
    let late = Acks { client, epoch: old, acks: vec![Ack::Puback(ID)] };
    assert_eq!(done(&world.apply(Command::Acks(late))), 0, "what an older connection says has no effect");
    assert_eq!(world.shard.counters.stale_epoch, 1);
}

#[test]
fn a_will_is_published_once_unless_the_client_says_goodbye_or_comes_back() {
    let mut world = World::new();
    world.connect_with("c", true, 0, will(0));
    world.end("c", WillFate::Keep);
    assert_eq!(world.sent().len(), 1);
    world.connect_with("c", true, 0, will(0));
    world.end("c", WillFate::Discard);
    assert_eq!(world.sent().len(), 0);
    world.connect_with("c", false, 100, will(10));
    world.end("c", WillFate::Keep);
    assert_eq!(world.sent().len(), 0);
    assert_eq!(world.shard.next_due(), Some(world.now.plus_s(10)));
    world.connect("c", false, 100);
    world.now = world.now.plus_s(60);
    world.input(Input::Tick);
    assert_eq!(world.sent().len(), 0, "the client came back in time");
    world.end("c", WillFate::Keep);
    world.connect_with("c", false, 100, will(10));
    world.end("c", WillFate::Keep);
    world.now = world.now.plus_s(10);
    world.input(Input::Tick);
    assert_eq!(world.sent().len(), 1);
    world.input(Input::Tick);
    assert_eq!(world.sent().len(), 0);
}

#[test]
fn a_delayed_will_is_published_when_its_session_ends_first() {
    let mut world = World::new();
    world.connect_with("c", false, 5, will(100));
    world.end("c", WillFate::Keep);
    world.now = world.now.plus_s(5);
    world.input(Input::Tick);
    assert_eq!(world.sent().len(), 1);
    assert!(world.shard.clients.is_empty(), "the session has expired");
    world.connect_with("c", false, 100, will(50));
    world.end("c", WillFate::Keep);
    let (_, effects) = world.connect("c", true, 100);
    assert_eq!(world.sent().len(), 1, "Clean Start ends the session");
    assert_eq!(connected(&effects).map(|c| c.session_present), Some(false));
}

#[test]
fn sessions_expire_at_their_time_and_not_before() {
    let mut world = World::new();
    world.connect("c", false, 10);
    world.subscribe("c", "a", RetainedWanted::Never);
    world.end("c", WillFate::Keep);
    world.now = Millis(world.now.0 + 9_999);
    assert!(world.input(Input::Tick).is_empty());
    world.now = Millis(world.now.0 + 1);
    assert_eq!(routes(&world.input(Input::Tick)).len(), 1);
    assert_eq!(world.shard.counters.sessions_expired, 1);
    world.connect("forever", false, EXPIRY_NEVER);
    world.end("forever", WillFate::Keep);
    assert_eq!(world.shard.next_due(), None);
}

#[test]
fn who_is_back_before_a_tick_says_that_the_time_ran_out_is_back_too_late() {
    let mut world = World::new();
    world.connect_with("c", false, 10, will(5));
    world.end("c", WillFate::Keep);
    world.now = Millis(1_004_999);
    assert!(connected(&world.connect_with("c", false, 10, will(5)).1).unwrap().session_present);
    assert!(world.sent().is_empty(), "it was back before its will was due");
    world.end("c", WillFate::Keep);
    world.now = Millis(1_009_999);
    assert!(connected(&world.connect("c", false, 10).1).unwrap().session_present);
    assert_eq!(world.sent().len(), 1, "its will was due, and its session was not");
    world.end("c", WillFate::Keep);
    world.now = Millis(1_019_999);
    assert!(!connected(&world.connect("c", false, 10).1).unwrap().session_present);
}

#[test]
fn qos_2_of_a_persistent_client_is_passed_on_once() {
    let mut world = World::new();
    world.connect("c", false, 100);
    let receive = |world: &World| {
        let (client, epoch) = (ClientId::new("c"), world.epoch("c"));
        Command::Receive(Receive {
            client,
            epoch,
            packet_id: ID,
            message: message("t", b"x", QoS::ExactlyOnce, false),
        })
    };
    let command = receive(&world);
    world.apply(command);
    assert_eq!(world.sent().len(), 1);
    world.end("c", WillFate::Keep);
    world.connect("c", false, 100);
    let command = receive(&world);
    world.apply(command);
    assert_eq!(world.sent().len(), 0, "a repeat on another connection");
    let (client, epoch) = (ClientId::new("c"), world.epoch("c"));
    let release = |client| Command::Release(Release { client, epoch, packet_id: ID });
    let effects = world.apply(release(client.clone()));
    assert_eq!(told(&effects), [(world.connection("c"), Reply::Released(ID, true))]);
    let effects = world.apply(release(client));
    assert_eq!(told(&effects), [(world.connection("c"), Reply::Released(ID, false))]);
    let command = receive(&world);
    world.apply(command);
    assert_eq!(world.sent().len(), 1, "after the release the id is new");
}

#[test]
fn retained_messages_come_page_by_page_and_never_older_than_live_ones() {
    let mut world = World::new();
    for topic in ["r/1", "r/2", "r/3"] {
        world.retain(topic, b"old");
    }
    world.retain("r/3", b"");
    world.connect("c", false, 100);
    let effects = world.subscribe("c", "r/#", RetainedWanted::Always);
    let Some(Effect::Scan(client, ask)) = effects.last() else { panic!("{effects:?}") };
    let mut messages = Vec::new();
    let query = PageQuery { filter: &ask.filter, from: None, bounds: PAGE, now: world.now };
    assert_eq!(world.shard.retained_page(&query, &mut messages).next, None);
    assert_eq!(messages.len(), 2, "an empty payload removed one");
    let scanned = Scanned { client: client.clone(), scan: ask.scan, messages, after: None };
    let live = message("r/1", b"new", QoS::AtLeastOnce, true);
    world.publish_item(PublishItem {
        number: 7,
        message: live,
        sessions: true,
        store_retained: true,
        groups: Vec::new(),
    });
    world.publish("r/2", QoS::AtLeastOnce);
    let effects = world.input(Input::Scanned(scanned));
    assert_eq!(
        pushed(&effects).len(),
        1,
        "r/1 was replaced and delivered live meanwhile; r/2 was not replaced"
    );
}

#[test]
fn a_scan_that_finds_nothing_goes_on_in_bounded_pages_without_the_client() {
    const TOPICS: usize = 3 * SCAN_STEPS + 1;
    let mut world = World::new();
    for number in 0..TOPICS {
        world.retain(&format!("{number:05}/x"), b"x");
    }
    world.connect("c", false, 100);
    let mut effects = world.subscribe("c", "+/nothing", RetainedWanted::Always);
    let (mut pages, mut steps) = (0, 0);
    let asked = |effect| if let Effect::Scan(client, ask) = effect { Some((client, ask)) } else { None };
    while let Some((client, ask)) = std::mem::take(&mut effects).into_iter().find_map(asked) {
        let mut messages = Vec::new();
        let query = PageQuery { filter: &ask.filter, from: ask.from.as_ref(), bounds: PAGE, now: world.now };
        let end = world.shard.retained_page(&query, &mut messages);
        assert!(messages.is_empty() && end.steps <= SCAN_STEPS, "{end:?}");
        (pages, steps) = (pages + 1, steps + end.steps);
        let after = end.next;
        effects = world.input(Input::Scanned(Scanned { client, scan: ask.scan, messages, after }));
        assert!(effects.len() <= 1, "nothing but the next page: {effects:?}");
    }
    assert!(steps >= TOPICS, "{steps} steps");
    assert_eq!(pages, steps.div_ceil(SCAN_STEPS));
    assert!(world.shard.session("c").is_some_and(|session| !session.scans.ready()), "the scan has ended");
}

#[test]
fn retained_messages_are_bounded_and_expire() {
    let limits = ShardLimits { retained_messages_max: 1, ..ShardLimits::default() };
    let mut world = World::new();
    world.shard = Shard::new(ME, limits);
    world.retain("a", b"x");
    world.retain("b", b"x");
    world.retain("a", b"y");
    assert_eq!((world.shard.sizes().retained_messages, world.shard.counters.retained_refused), (1, 1));
    let body = message("a", b"z", QoS::AtLeastOnce, true).body.clone();
    let expires_at = Some(world.now.plus_s(5));
    let message = Arc::new(Message { body, qos: QoS::AtLeastOnce, retain: true, expires_at });
    world.publish_item(PublishItem {
        number: 1,
        message,
        sessions: false,
        store_retained: true,
        groups: vec![],
    });
    assert_eq!(world.shard.next_due(), expires_at);
    world.now = world.now.plus_s(5);
    world.input(Input::Tick);
    assert_eq!((world.shard.sizes().retained_messages, world.shard.sizes().retained_bytes), (0, 0));
}

#[test]
fn a_group_message_goes_to_one_connected_member_and_moves_when_its_session_ends() {
    let mut world = World::new();
    for client in ["m1", "m2", "m3"] {
        world.connect(client, false, 100);
        world.subscribe(client, "$share/g/t", RetainedWanted::Always);
    }
    world.end("m1", WillFate::Keep);
    let group =
        Arc::new(GroupName { group: "g".into(), filter: Filter::parse("t", 9).unwrap().plain().clone() });
    let item = |choice| PublishItem {
        number: 1,
        message: message("t", b"x", QoS::AtLeastOnce, false),
        sessions: false,
        store_retained: false,
        groups: vec![GroupPick { group: Arc::clone(&group), choice }],
    };
    let to: Vec<ConnectionId> =
        (0..4).flat_map(|choice| pushed(&world.publish_item(item(choice)))).map(|push| push.0).collect();
    assert_eq!(to, [id(2), id(3), id(2), id(3)]);
    let client = ClientId::new("m2");
    let end =
        End { client, epoch: world.epoch("m2"), will: WillFate::Keep, expiry_s: Some(0), unsent: Vec::new() };
    let effects = world.apply(Command::End(end));
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Outbox(2))), "{effects:?}");
    let moved = world.sent();
    assert!(moved.iter().all(|item| item.kind == OutboxKind::Redispatch(Arc::clone(&group))));
    assert_eq!(moved.len(), 2, "its unacknowledged messages go to others");
}

#[test]
fn unsubscribe_is_exact_and_keeps_what_is_queued() {
    let mut world = World::new();
    world.connect("c", false, 100);
    world.subscribe("c", "a", RetainedWanted::Never);
    world.end("c", WillFate::Keep);
    world.publish("a", QoS::AtLeastOnce);
    let (_, effects) = world.connect("c", false, 100);
    assert_eq!(pushed(&effects).len(), 1);
    let filters = ["a", "b"].iter().enumerate().map(|(place, text)| (place, Filter::parse(text, 9).unwrap()));
    let (client, epoch, filters) = (ClientId::new("c"), world.epoch("c"), filters.collect());
    let unsubscribe = Unsubscribe { client, epoch, packet_id: ID, filters };
    let effects = world.apply(Command::Unsubscribe(unsubscribe));
    let answer = Reply::Unsubscribed(ID, vec![(0, true), (1, false)]);
    assert_eq!(told(&effects), [(world.connection("c"), answer)]);
    assert_eq!(pushed(&world.publish("a", QoS::AtLeastOnce)), []);
    assert_eq!(world.shard.session("c").map(|session| session.outbound().len()), Some(1));
}

#[test]
fn the_limits_of_sessions_and_subscriptions_hold() {
    let limits = ShardLimits { sessions_max: 1, subscriptions_max: 1, ..ShardLimits::default() };
    let mut world = World::new();
    world.shard = Shard::new(ME, limits);
    world.connect("c", false, 100);
    let (_, effects) = world.connect("d", false, 100);
    assert!(matches!(told(&effects)[..], [(_, Reply::Connected(Err(Refused::Quota)))]));
    let (_, effects) = world.connect("transient", true, 0);
    assert!(connected(&effects).is_some(), "transient sessions are not counted");
    world.subscribe("c", "a", RetainedWanted::Never);
    let effects = world.subscribe("c", "b", RetainedWanted::Never);
    assert_eq!(told(&effects), [(world.connection("c"), Reply::Subscribed(ID, vec![(0, None)]))]);
}

#[path = "survival_tests.rs"]
mod survival;

#[path = "attach_tests.rs"]
mod attach;

#[path = "picked_tests.rs"]
mod picked;

#[path = "listing_tests.rs"]
mod listing_tests;
