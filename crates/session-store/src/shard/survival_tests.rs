//! Tests of what survives: repeated and lost requests, dead nodes, changes of leader, restarts.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::command::PICKS_BYTES_MAX;
use crate::record::Record;

const OTHER: Host = Host { node: NodeId(2), incarnation: Incarnation(7) };

fn qos_1(topic: &str, expires_at: Option<Millis>) -> PublishItem {
    let body = message(topic, b"x", QoS::AtLeastOnce, false).body.clone();
    let message = Arc::new(Message { body, qos: QoS::AtLeastOnce, retain: false, expires_at });
    PublishItem { number: 7, message, sessions: true, store_retained: false, groups: Vec::new() }
}

fn answers(effects: &[Effect]) -> Vec<Answer> {
    let answers = effects.iter().filter_map(|effect| match effect {
        Effect::Answer(answer) => Some(answer.clone()),
        _ => None,
    });
    answers.collect()
}

impl World {
    /// Another host speaks from now on; its requests are numbered from 1.
    fn move_to(&mut self, host: Host) {
        (self.host, self.requests) = (host, 0);
    }

    fn connect_command(&mut self, client: &str, expiry_s: u32) -> Command {
        self.connections += 1;
        let (client, connection) =
            (ClientId::new(client), ConnectionId { host: self.host, number: self.connections });
        let (clean_start, receive_maximum, will) = (false, 2, will(0));
        Command::Connect(Connect { client, connection, clean_start, expiry_s, receive_maximum, will })
    }

    fn again(&mut self, number: u64, command: Command) -> Vec<Effect> {
        let request = self.request(number, command);
        self.input(Input::from(request))
    }
}

#[test]
fn a_request_that_comes_before_another_is_refused_and_changes_nothing() {
    let mut world = World::new();
    let (connect, other) = (world.connect_command("c", 100), world.connect_command("d", 100));
    let effects = world.again(2, other.clone());
    let source = Source::Host(HOST);
    assert!(
        matches!(effects.as_slice(), [Effect::Gap { source: s, last: 0 }] if *s == source),
        "{effects:?}"
    );
    assert!(world.shard.clients.is_empty() && world.shard.streams.is_empty());
    world.again(1, connect);
    assert!(connected(&world.again(2, other)).is_some());
}

#[test]
fn a_source_that_takes_no_answer_is_refused_at_the_bound() {
    let mut world = World::new();
    let acks = Command::Acks(Acks { client: ClientId::new("c"), epoch: Epoch(1), acks: Vec::new() });
    for number in 1..=crate::stream::UNANSWERED_MAX {
        assert_eq!(answers(&world.again(number, acks.clone())).len(), 1);
    }
    let number = crate::stream::UNANSWERED_MAX + 1;
    let mut request = world.request(number, acks);
    let effects = world.input(Input::from(request.clone()));
    assert!(matches!(effects.as_slice(), [Effect::Gap { .. }]));
    request.done_below = 2;
    assert_eq!(answers(&world.input(Input::from(request))).len(), 1);
}

#[test]
fn a_connect_that_is_repeated_neither_takes_over_itself_nor_finds_its_own_session() {
    let mut world = World::new();
    let first = world.connect_command("c", 100);
    let answered = told(&world.again(1, first.clone()));
    assert!(matches!(answered[..], [(_, Reply::Connected(Ok(Connected { session_present: false, .. })))]));
    assert_eq!(told(&world.again(1, first.clone())), answered);
    assert_eq!(told(&world.again(2, first.clone())), answered, "asked anew by the same connection");
    assert!(world.sent().is_empty(), "no will");
    let second = world.connect_command("c", 100);
    assert_eq!(told(&world.again(3, second.clone())).len(), 1, "the first is told to stop");
    let effects = world.again(3, second.clone());
    assert_eq!(told(&effects), [(id(1), Reply::Stop)], "and again, since that may be lost");
    assert!(answers(&effects).iter().all(|answer| answer.reply.is_none()));
    let end = End {
        client: ClientId::new("c"),
        epoch: world.epoch("c"),
        will: WillFate::Keep,
        expiry_s: None,
        unsent: Vec::new(),
    };
    let attached = told(&world.again(4, Command::End(end)));
    let repeated = told(&world.again(3, second));
    assert_eq!(repeated, attached, "the answer that came later");
    let gone = told(&world.again(1, first));
    assert_eq!(gone, [(id(1), Reply::Connected(Err(Refused::TakenOver)))]);
}

#[test]
fn a_fenced_connection_gives_way_and_its_own_end_comes_too_late() {
    let mut world = World::new();
    let first = world.connect_command("c", 100);
    world.again(1, first);
    let client = ClientId::new("c");
    let old = world.epoch("c");
    assert!(told(&world.input(Input::Fenced(client.clone(), old))).is_empty(), "nobody waits for it");
    let second = world.connect_command("c", 100);
    world.again(2, second);
    let overtaken: Vec<_> = world.shard.overtaken().map(|(id, epoch, at)| (id.clone(), epoch, at)).collect();
    assert_eq!(overtaken, [(client.clone(), old, id(1))]);
    let later = Epoch(old.0 + 1);
    assert!(told(&world.input(Input::Fenced(client.clone(), later))).is_empty(), "another connection");
    let attached = told(&world.input(Input::Fenced(client.clone(), old)));
    let session = Connected { epoch: later, session_present: true, persistent: true };
    assert_eq!(attached, [(id(2), Reply::Connected(Ok(session)))]);
    assert_eq!(world.shard.overtaken().count(), 0);
    let end =
        End { client: client.clone(), epoch: old, will: WillFate::Keep, expiry_s: None, unsent: Vec::new() };
    world.again(3, Command::End(end));
    assert_eq!(world.epoch("c"), later, "the new one stays");
    assert!(told(&world.input(Input::Fenced(client, old))).is_empty(), "a repeat");
}

#[test]
fn an_outbox_is_taken_by_its_positions() {
    let mut world = World::new();
    world.connect("c", false, 100);
    world.subscribe("c", "t", RetainedWanted::Never);
    let mut send = |numbers: &[u64], before: u64| {
        let items =
            numbers.iter().map(|number| PublishItem { number: *number, ..qos_1("t", None) }).collect();
        let publish = Publish { reply_to: None, publisher: ClientId::new("p"), epoch: None, items };
        let (source, number) = (Source::Outbox(ShardId(3)), *numbers.last().unwrap());
        let command = Command::Publish(publish);
        let request = Request { source, number, done_below: before, command };
        let effects = world.input(Input::from(request));
        if let [Effect::Gap { last, .. }] = effects[..] {
            return (0, vec![last]);
        }
        let taken = match answers(&effects).pop().and_then(|answer| answer.reply) {
            Some((None, Reply::Published(results))) => results.iter().map(|result| result.0).collect(),
            other => panic!("{other:?}"),
        };
        (pushed(&effects).len(), taken)
    };
    assert_eq!(send(&[4, 9], 0), (2, vec![4, 9]), "positions have holes");
    assert_eq!(send(&[4, 9], 0), (0, vec![4, 9]), "answered as taken");
    assert_eq!(send(&[13], 12), (0, vec![9]), "12 is missing, and would be left out if 13 were taken");
    assert_eq!(send(&[9, 10, 10], 9), (2, vec![9, 10, 10]), "another leader sends other parts");
}

#[test]
fn the_clients_of_a_dead_node_end_a_part_at_a_time_and_nothing_it_says_counts() {
    let mut world = World::new();
    for number in 0..1_500 {
        let command = world.connect_command(&format!("c{number}"), 0);
        world.apply(command);
    }
    let late = world.connect_command("late", 0);
    let before = world.requests;
    world.move_to(OTHER);
    world.connect("elsewhere", false, 0);
    let (waiting, _) = world.connect("c999", false, 0);
    assert_eq!(world.input(Input::Down(HOST)).len(), 0, "nothing but a note");
    assert_eq!(world.shard.next_due(), Some(world.now));
    assert_eq!(world.shard.streams.len(), 1);
    let (taken, effects) = world.connect("c1498", false, 0);
    assert!(connected(&effects).is_some(), "a dead node needs no time to stop");
    assert_eq!(world.connection("c1498"), taken);
    world.input(Input::Tick);
    assert_eq!(world.sent().len(), 1_001, "a thousand and the one before");
    assert_eq!(world.shard.next_due(), Some(world.now));
    let effects = world.input(Input::Tick);
    assert!(
        told(&effects).iter().any(|(connection, reply)| {
            *connection == waiting && matches!(reply, Reply::Connected(Ok(_)))
        })
    );
    assert_eq!((world.sent().len(), world.shard.clients.len()), (499, 3));
    assert_eq!(world.shard.next_due(), None);
    world.move_to(HOST);
    assert!(world.again(before + 1, late.clone()).is_empty());
    assert!(world.again(1, late).is_empty());
    assert_eq!(world.shard.counters.stale_host, 2);
    world.move_to(Host { incarnation: HOST.incarnation.next(), ..HOST });
    assert!(connected(&world.connect("late", false, 0).1).is_some(), "the node's next run");
    world.input(Input::Down(HOST));
    world.input(Input::Tick);
    assert_eq!(world.shard.clients.len(), 4, "it is dead already, and its next run is not");
}

#[test]
fn a_connection_that_waits_dies_with_its_host() {
    let mut world = World::new();
    world.connect("c", false, 100);
    let epoch = world.epoch("c");
    world.move_to(OTHER);
    world.connect("c", false, 100);
    world.input(Input::Down(OTHER));
    (world.host, world.requests) = (HOST, 1);
    world.end("c", WillFate::Keep);
    assert_eq!((world.epoch("c"), world.shard.hosted.len()), (epoch, 0));
    assert!(connected(&world.connect("c", false, 100).1).is_some_and(|c| c.session_present));
}

#[test]
fn what_may_have_been_sent_by_a_dead_node_is_a_repeat_and_does_not_expire() {
    let mut world = World::new();
    let connect = world.connect_command("c", 1_000);
    world.apply(connect);
    world.subscribe("c", "t", RetainedWanted::Never);
    let soon = Some(world.now.plus_s(10));
    for expires_at in [soon, None, soon, None] {
        world.publish_item(qos_1("t", expires_at));
    }
    world.input(Input::Down(HOST));
    world.input(Input::Tick);
    world.now = world.now.plus_s(60);
    world.move_to(OTHER);
    let (connection, effects) = world.connect("c", false, 1_000);
    let expected = [(connection, Some(1), true), (connection, Some(2), true), (connection, Some(4), false)];
    assert_eq!(pushed(&effects), expected, "two were within the window; the third expired unsent");
}

#[test]
fn qos_0_messages_pass_by_the_log() {
    let mut world = World::new();
    let (connection, _) = world.connect("c", false, 100);
    world.subscribe("c", "t", RetainedWanted::Never);
    world.connect("away", false, 100);
    world.subscribe("away", "t", RetainedWanted::Never);
    world.end("away", WillFate::Keep);
    let before = world.shard.digest();
    let zero = PublishItem { message: message("t", b"x", QoS::AtMostOnce, false), ..qos_1("t", None) };
    let retained = PublishItem { message: message("t", b"x", QoS::AtMostOnce, true), ..qos_1("t", None) };
    assert!(!zero.is_logged() && retained.is_logged());
    let (reply_to, publisher) = (None, ClientId::new("p"));
    let publish = Publish { reply_to, publisher, epoch: None, items: vec![zero, qos_1("t", None), retained] };
    let mut effects = Vec::new();
    world.shard.pass_on(&publish, &mut effects);
    assert_eq!(pushed(&effects), [(connection, None, false)]);
    assert_eq!(world.shard.digest(), before);
    assert_eq!(world.shard.queue_counters.dropped_offline_qos0, 1);
}

#[test]
fn the_apply_level_only_rises() {
    let mut world = World::new();
    assert_eq!(world.shard.apply_level(), 1);
    world.input(Input::RaiseLevel(3));
    world.input(Input::RaiseLevel(2));
    assert_eq!(world.shard.apply_level(), 3);
}

/// One step of a random history: what happens, to which of a few clients, and a number to choose by.
type Step = (u8, u8, u16);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    vec((0..16_u8, 0..4_u8, 0..6_u16), 1..120)
}

/// Makes inputs of steps, as a host, an outbox and the leader would, and applies them.
struct History {
    world: World,
    /// With the times of the log.
    inputs: Vec<(Millis, Input)>,
    effects: Vec<Vec<Effect>>,
    positions: u64,
}

impl History {
    fn of(steps: &[Step]) -> Self {
        let mut world = World::new();
        world.shard = Shard::new(ME, ShardLimits { sessions_max: 3, ..ShardLimits::default() });
        let mut history = Self { world, inputs: Vec::new(), effects: Vec::new(), positions: 0 };
        steps.iter().for_each(|step| history.step(*step));
        history
    }

    fn take(&mut self, input: Input) {
        self.inputs.push((self.world.now, input.clone()));
        let effects = self.world.input(input);
        self.effects.push(effects);
    }

    fn ask(&mut self, command: Command) {
        self.world.requests += 1;
        let request = self.world.request(self.world.requests, command);
        self.take(Input::from(request));
    }

    fn step(&mut self, (what, who, number): Step) {
        let name = format!("c{who}");
        let (client, epoch) = (ClientId::new(&name), self.world.epoch(&name));
        let packet_id = PacketId::new(number + 1).unwrap();
        let filter = Filter::parse(["t", "t/#", "$share/g/t"][usize::from(number % 3)], 9).unwrap();
        match what {
            0..=2 => {
                let mut command = self.world.connect_command(&name, u32::from(number) * 20);
                if let Command::Connect(connect) = &mut command {
                    connect.clean_start = number == 5;
                }
                self.ask(command);
            }
            3 | 4 => {
                let unsent = (number == 0).then_some(packet_id).into_iter().collect();
                let fate = if number > 2 { WillFate::Keep } else { WillFate::KeepAtLeast(5) };
                self.ask(Command::End(End { client, epoch, will: fate, expiry_s: None, unsent }));
            }
            5 | 6 => {
                let qos = QoS::try_from(u8::try_from(number % 3).unwrap()).unwrap();
                let subscribed = Subscribed { qos, no_local: false, retain_as_published: false, id: None };
                let filters = vec![(0, SubscribeTo { filter, subscribed, retained: RetainedWanted::Always })];
                self.ask(Command::Subscribe(Subscribe { client, epoch, packet_id, filters }));
            }
            7 => {
                let filters = vec![(0, filter)];
                self.ask(Command::Unsubscribe(Unsubscribe { client, epoch, packet_id, filters }));
            }
            8..=10 => self.publish(client, number),
            11 => {
                let acks = [Ack::Puback(packet_id), Ack::Pubrec(packet_id, number == 3)];
                self.ask(Command::Acks(Acks { client, epoch, acks: acks[usize::from(who % 2)..].to_vec() }));
            }
            12 => {
                let message = message("t", b"2", QoS::ExactlyOnce, false);
                self.ask(Command::Receive(Receive { client, epoch, packet_id, message }));
            }
            13 => self.ask(Command::Release(Release { client, epoch, packet_id })),
            14 => {
                self.world.now = self.world.now.plus_s(u32::from(number) * 3);
                self.take(Input::Tick);
            }
            _ => self.leader(who, number),
        }
    }

    fn publish(&mut self, publisher: ClientId, number: u16) {
        let qos = if number.is_multiple_of(2) { QoS::AtLeastOnce } else { QoS::ExactlyOnce };
        let group = Filter::parse("$share/g/t", 9).unwrap();
        let Filter::Shared { group, filter } = group else { return };
        let pick = GroupPick { group: Arc::new(GroupName { group, filter }), choice: number.into() };
        self.positions += 1;
        let item = PublishItem {
            number: self.positions,
            message: message("t", b"m", qos, number == 1),
            sessions: number != 4,
            store_retained: number == 1,
            groups: if number > 3 { vec![pick] } else { Vec::new() },
        };
        let command =
            Command::Publish(Publish { reply_to: Some(id(99)), publisher, epoch: None, items: vec![item] });
        if number == 2 {
            let (source, number) = (Source::Outbox(ShardId(1)), self.positions);
            self.take(Input::from(Request { source, number, done_below: 0, command }));
        } else {
            self.ask(command);
        }
    }

    fn leader(&mut self, who: u8, number: u16) {
        match who {
            0 => self.take(Input::Relayed(number.into())),
            1 if number == 0 => {
                let dead = self.world.host;
                self.take(Input::Down(dead));
                self.world.move_to(Host { incarnation: dead.incarnation.next(), ..dead });
            }
            _ => {
                let asked = self.effects.iter().flatten().rev().find_map(|effect| match effect {
                    Effect::Scan(client, ask) => Some((client.clone(), ask.scan)),
                    _ => None,
                });
                if let Some((client, scan)) = asked {
                    let messages = vec![message("t", b"r", QoS::AtLeastOnce, true)];
                    self.take(Input::Scanned(Scanned { client, scan, messages, after: None }));
                }
            }
        }
    }
}

fn empty() -> World {
    let mut world = World::new();
    world.shard = Shard::new(ME, ShardLimits { sessions_max: 3, ..ShardLimits::default() });
    world
}

fn request_of(input: &Input) -> Option<&Request> {
    if let Input::Request(request) = input { Some(request) } else { None }
}

/// Whether a PUBREC that a request brought is said to be for no exchange, and nothing else.
fn says_unknown(effect: &Effect, input: &Input) -> bool {
    let Some(Command::Acks(acks)) = request_of(input).map(|request| &request.command) else { return false };
    let known = |push: &Push| match push {
        Push::ReleaseUnknown(id) => acks.acks.contains(&Ack::Pubrec(*id, false)),
        _ => false,
    };
    matches!(effect, Effect::Push(_, pushes) if pushes.iter().all(known))
}

/// Delivers a request that was applied before: it is answered as it was, and nothing else happens but that what is in no
/// state is said again.
fn repeat(world: &mut World, input: &Input, first: &[Effect]) {
    let effects = world.input(input.clone());
    let again = |effect: &Effect| match effect {
        Effect::Answer(_) | Effect::Reply(_, Reply::Stop) => true,
        effect => says_unknown(effect, input),
    };
    assert!(effects.iter().all(again), "{effects:?}");
    let connects = request_of(input).is_some_and(|request| matches!(request.command, Command::Connect(_)));
    if !connects && !effects.is_empty() {
        assert_eq!(format!("{:?}", answers(&effects)), format!("{:?}", answers(first)));
    }
}

proptest! {
    #[test]
    fn a_restart_comes_to_the_same_state(steps in steps()) {
        let history = History::of(&steps);
        let mut again = empty();
        for (now, input) in &history.inputs {
            again.now = *now;
            let _dropped = again.input(input.clone());
        }
        prop_assert_eq!(again.shard.digest(), history.world.shard.digest());
        prop_assert_eq!(again.shard.routes(), history.world.shard.routes());
        let items = |world: &World| world.shard.outbox().len();
        prop_assert_eq!(items(&again), items(&history.world));
    }

    #[test]
    fn routes_are_what_was_announced(steps in steps()) {
        let history = History::of(&steps);
        let mut announced = std::collections::BTreeMap::new();
        for change in history.effects.iter().flat_map(|effects| routes(effects)) {
            announced.insert(change.filter.clone(), change.clone());
        }
        announced.retain(|_, change| change.qos.is_some());
        prop_assert_eq!(history.world.shard.routes(), announced.into_values().collect::<Vec<_>>());
    }

    #[test]
    fn what_comes_again_or_too_early_changes_nothing(
        steps in steps(),
        mishaps in vec((0..4_u8, any::<prop::sample::Index>()), 120),
    ) {
        let history = History::of(&steps);
        let mut world = empty();
        for (index, ((now, input), (mishap, other))) in history.inputs.iter().zip(mishaps).enumerate() {
            world.now = *now;
            let source = request_of(input).map(|request| request.source);
            let other = other.index(history.inputs.len());
            let same = request_of(&history.inputs[other].1).is_some_and(|request| Some(request.source) == source);
            if mishap == 1 && other > index && same && matches!(source, Some(Source::Host(_))) {
                let effects = world.input(history.inputs[other].1.clone());
                let refused = matches!(effects.as_slice(), [Effect::Gap { .. }]);
                prop_assert!(refused);
            }
            let first = world.input(input.clone());
            prop_assert_eq!(format!("{first:?}"), format!("{:?}", history.effects[index]));
            if mishap == 2 && source.is_some() {
                repeat(&mut world, input, &first);
            }
            if mishap == 3 && other < index && request_of(&history.inputs[other].1).is_some() {
                repeat(&mut world, &history.inputs[other].1, &history.effects[other]);
            }
        }
        prop_assert_eq!(world.shard.digest(), history.world.shard.digest());
    }
}

#[path = "parts_tests.rs"]
mod parts;
