//! Tests of what a shard says again to a host, and begins anew under a new leader.

use super::*;

const OTHER: Host = Host { node: NodeId(2), incarnation: Incarnation(1) };

impl World {
    fn said_again(&self, host: Host) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.shard.say_again(host, &mut effects);
        effects
    }

    fn ack(&mut self, client: &str, ack: Ack) -> Vec<Effect> {
        let (client, epoch) = (ClientId::new(client), self.epoch(client));
        self.apply(Command::Acks(Acks { client, epoch, acks: vec![ack] }))
    }
}

/// Everything pushed, in a form that can be compared.
fn pushes(effects: &[Effect]) -> Vec<(ConnectionId, String)> {
    let mut all = Vec::new();
    for effect in effects {
        let Effect::Push(connection, pushes) = effect else { continue };
        all.extend(pushes.iter().map(|push| match push {
            Push::Publish { packet_id, position, dup, item } => {
                (*connection, format!("{packet_id:?} {position} {dup} {:?}", item.message.body.payload()))
            }
            other => (*connection, format!("{other:?}")),
        }));
    }
    all
}

#[test]
fn what_is_in_flight_to_a_host_is_said_again_as_it_was() {
    let mut world = World::new();
    for client in ["c", "d"] {
        world.connect(client, false, 100);
        world.subscribe(client, "t", RetainedWanted::Never);
    }
    let mut pushed = pushes(&world.publish("t", QoS::ExactlyOnce));
    pushed.extend(pushes(&world.publish("t", QoS::AtLeastOnce)));
    pushed.sort_by_key(|(connection, _)| connection.number);
    assert_eq!((pushes(&world.said_again(HOST)), pushed.len()), (pushed, 4));
    assert!(world.said_again(OTHER).is_empty());
}

#[test]
fn what_is_acknowledged_is_not_said_again_and_what_is_half_done_goes_on() {
    let mut world = World::new();
    let (connection, _) = world.connect("c", false, 100);
    world.subscribe("c", "t", RetainedWanted::Never);
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce, QoS::ExactlyOnce] {
        world.publish("t", qos);
    }
    let (first, second, third) = (ID, PacketId::new(2).unwrap(), PacketId::new(3).unwrap());
    world.ack("c", Ack::Puback(first));
    world.ack("c", Ack::Pubrec(second, false));
    let said = pushes(&world.said_again(HOST));
    assert_eq!(said.first(), Some(&(connection, format!("{:?}", Push::Release(second)))));
    assert_eq!(said.len(), 2);
    world.ack("c", Ack::Pubcomp(second));
    world.ack("c", Ack::Pubrec(third, true));
    assert!(world.said_again(HOST).is_empty());
}

#[test]
fn a_repeat_is_marked_as_on_the_connection_before_it() {
    let mut world = World::new();
    world.connect("c", false, 100);
    world.subscribe("c", "t", RetainedWanted::Never);
    world.publish("t", QoS::AtLeastOnce);
    world.end("c", WillFate::Keep);
    assert!(world.said_again(HOST).is_empty(), "nobody is there");
    let (_, effects) = world.connect("c", false, 100);
    let said = world.said_again(HOST);
    assert_eq!((pushes(&said), said.len()), (pushes(&effects), 1));
    assert_eq!(super::pushed(&said).first().map(|(_, _, dup)| *dup), Some(true));
}

#[test]
fn a_connection_that_is_to_stop_is_told_again() {
    let mut world = World::new();
    let (old, _) = world.connect("c", false, 100);
    world.connect("c", false, 100);
    assert_eq!(told(&world.said_again(HOST)), [(old, Reply::Stop)]);
}

#[test]
fn a_page_that_was_asked_for_is_asked_for_again_until_it_comes() {
    let mut world = World::new();
    world.retain("t", b"kept");
    world.connect("c", false, 100);
    let effects = world.subscribe("c", "t", RetainedWanted::Always);
    let asked = |effects: &[Effect]| {
        let asks = effects.iter().filter_map(|effect| match effect {
            Effect::Scan(_, ask) => Some(ask.clone()),
            _ => None,
        });
        asks.collect::<Vec<_>>()
    };
    let again = |world: &World| {
        let mut effects = Vec::new();
        world.shard.ask_again(&mut effects);
        asked(&effects)
    };
    let ask = asked(&effects);
    assert_eq!((again(&world), ask.len()), (ask.clone(), 1));
    let messages = vec![message("t", b"kept", QoS::AtLeastOnce, true)];
    let after = Some(topic_index::Cursor::from_bytes(b"t"));
    world.input(Input::Scanned(Scanned { client: ClientId::new("c"), scan: ask[0].scan, messages, after }));
    assert!(again(&world).is_empty());
    let said = pushes(&world.said_again(HOST));
    assert_eq!(said.last().map(|(_, push)| push.as_str()), Some(&*format!("PageEnd({})", ask[0].scan)));
}
