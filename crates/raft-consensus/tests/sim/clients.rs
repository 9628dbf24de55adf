//! A model of clients: publishers of QoS 1 and 2 that repeat what is not acknowledged, and subscribers that come and go,
//! take over their own sessions, lose what was on its way, and acknowledge as the standard says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mqtt_codec::{PacketId, QoS, SharedPublish, Text};
use openraft::type_config::TypeConfigExt;
use session_store::command::{
    Ack, Acks, Command, Connect, EXPIRY_NEVER, Publish, PublishItem, Push, Receive, Release, Reply,
    RetainedWanted, Subscribe, SubscribeTo,
};
use session_store::matching::Subscribed;
use session_store::{ClientId, ConnectionId, Epoch, Message, MessageRef};
use topic_index::Filter;

use crate::history::{Number, Promise, Sometimes};
use crate::hosts::{Dead, Event, HostRun};
use crate::replica::SimTypes;
use crate::world::{View, World};

const WINDOW: u16 = 6;
const TICK: Duration = Duration::from_millis(5);

/// A connection that its home has accepted.
#[derive(Clone)]
struct Connected {
    host: HostRun,
    connection: ConnectionId,
    epoch: Epoch,
}

/// Its number is its payload, and its number says how long that is: many take several sectors of a disk, so that a
/// write of them can be torn.
fn message(number: Number, qos: QoS) -> MessageRef {
    let mut payload = number.to_be_bytes().to_vec();
    payload.resize(8 + (number * 977 % 2_048) as usize, 0);
    let body = SharedPublish::new(&Text::new("t").unwrap(), &Bytes::new(), &payload.into());
    Arc::new(Message { body, qos, retain: false, expires_at: None })
}

fn number(message: &MessageRef) -> Number {
    let payload = message.body.payload();
    Number::from_be_bytes(payload[..8].try_into().unwrap())
}

async fn connect(world: &World, client: &ClientId) -> Result<Connected, Dead> {
    let host = world.any_host();
    let connection = host.accept(client);
    let connect = Connect {
        client: client.clone(),
        connection,
        clean_start: false,
        expiry_s: EXPIRY_NEVER,
        receive_maximum: WINDOW,
        will: None,
    };
    let mut reply = host.ask(Command::Connect(connect)).await?;
    while reply.is_none() {
        // It waits for the connection before it, which may not have heard that it is to stop.
        SimTypes::sleep(TICK).await;
        if let Some(Event::Reply(told)) = host.event(connection)? {
            reply = Some(told);
        }
    }
    match reply {
        Some(Reply::Connected(Ok(told))) => {
            world.history.connected(client.as_str(), told.epoch.0, told.session_present);
            Ok(Connected { host, connection, epoch: told.epoch })
        }
        _ => Err(Dead),
    }
}

/// Publishes until the world stops, at QoS 1 or at QoS 2.
pub(crate) async fn publisher(world: World, name: String, qos2: bool, first: Number) {
    let client = ClientId::new(&name);
    let mut next = Publishing { number: first, packet_id: PacketId::MIN, qos2, received: false, open: false };
    while !world.stops() || next.open {
        let Ok(connected) = connect(&world, &client).await else {
            SimTypes::sleep(TICK).await;
            continue;
        };
        while !world.stops() || next.open {
            SimTypes::sleep(world.chance.millis(2..40)).await;
            if next.go_on(&world, &client, &connected).await.is_err() {
                break;
            }
            if world.chance.one_in(40) {
                connected.host.close(connected.connection);
                break;
            }
        }
    }
}

/// What a publisher is at.
struct Publishing {
    number: Number,
    packet_id: PacketId,
    qos2: bool,
    received: bool,
    open: bool,
}

impl Publishing {
    async fn go_on(&mut self, world: &World, client: &ClientId, at: &Connected) -> Result<(), Dead> {
        if !self.open {
            self.open = true;
            world.history.sends(self.number, self.qos2);
        }
        if self.qos2 {
            self.qos2(world, client, at).await?
        } else {
            self.qos1(world, client, at).await?
        }
        self.number += 1;
        self.received = false;
        self.open = false;
        Ok(())
    }

    async fn qos1(&self, world: &World, client: &ClientId, at: &Connected) -> Result<(), Dead> {
        let item = PublishItem {
            number: self.number,
            message: message(self.number, QoS::AtLeastOnce),
            sessions: true,
            store_retained: false,
            groups: Vec::new(),
        };
        let publish = Publish { reply_to: Some(at.connection), publisher: client.clone(), items: vec![item] };
        match at.host.ask(Command::Publish(publish)).await? {
            Some(Reply::Published(_)) => world.history.acknowledged(self.number),
            _ => return Err(Dead),
        }
        Ok(())
    }

    async fn qos2(&mut self, world: &World, client: &ClientId, at: &Connected) -> Result<(), Dead> {
        let (client, epoch, packet_id) = (client.clone(), at.epoch, self.packet_id);
        world.qos2(true);
        let asked = async {
            if !self.received {
                let message = message(self.number, QoS::ExactlyOnce);
                let receive = Receive { client: client.clone(), epoch, packet_id, message };
                match at.host.ask(Command::Receive(receive)).await? {
                    Some(Reply::Received(_)) => world.history.acknowledged(self.number),
                    _ => return Err(Dead),
                }
                self.received = true;
            }
            match at.host.ask(Command::Release(Release { client, epoch, packet_id })).await? {
                Some(Reply::Released(..)) => Ok(()),
                _ => Err(Dead),
            }
        };
        let asked = asked.await;
        world.qos2(false);
        if asked.is_ok() {
            self.packet_id = PacketId::new(packet_id.get() % 16 + 1).unwrap();
        }
        asked
    }
}

/// Subscribes to everything, and takes what comes.
pub(crate) struct Subscriber {
    world: World,
    client: ClientId,
    subscribed: bool,
    /// QoS 2 messages that were delivered and not released yet.
    received: BTreeMap<PacketId, Number>,
    /// Packet ids of exchanges that are not complete on this connection.
    in_flight: BTreeMap<PacketId, Number>,
    seen: BTreeSet<Number>,
}

impl Subscriber {
    pub(crate) fn new(world: World, name: &str) -> Self {
        let (received, in_flight, seen) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        Self { world, client: ClientId::new(name), subscribed: false, received, in_flight, seen }
    }

    pub(crate) async fn run(mut self) {
        let mut before: Option<Connected> = None;
        loop {
            let view = self.world.leader().map(|(view, _)| view);
            let Ok(connected) = connect(&self.world, &self.client).await else {
                SimTypes::sleep(TICK).await;
                continue;
            };
            self.in_flight.clear();
            if let Some(old) = before.take() {
                self.speak_from_the_grave(old, &connected);
            }
            // Some connections are lost before anything is read.
            let lost = !self.world.stops() && self.world.chance.one_in(4);
            if !lost && self.stay(&connected, view).await.is_err() {
                continue;
            }
            if self.world.chance.one_in(2) {
                self.world.history.saw(Sometimes::Takeover);
                before = Some(connected);
            } else {
                connected.host.close(connected.connection);
            }
        }
    }

    /// What an older connection says must not count.
    fn speak_from_the_grave(&self, old: Connected, new: &Connected) {
        if old.epoch == new.epoch {
            return;
        }
        self.world.history.saw(Sometimes::StaleAck);
        for id in 1..=64 {
            let acks = vec![Ack::Puback(PacketId::new(id).unwrap())];
            old.host.tell(Command::Acks(Acks { client: self.client.clone(), epoch: old.epoch, acks }));
        }
    }

    async fn stay(&mut self, at: &Connected, view: Option<View>) -> Result<(), Dead> {
        if !self.subscribed {
            self.subscribe(at).await?;
        }
        let until = SimTypes::now() + self.world.chance.millis(100..1_500);
        // Some read for a while and acknowledge nothing.
        let silent = !self.world.stops() && self.world.chance.one_in(3);
        while SimTypes::now() < until || self.world.stops() {
            SimTypes::sleep(TICK).await;
            let now = self.world.leader().map(|(view, _)| view);
            if now.is_some() && now != view {
                // What the old leader had on its way may be lost: as when a host has no other way to know.
                if self.world.qos2_open() {
                    self.world.history.saw(Sometimes::LeaderChangeDuringQos2);
                }
                return Ok(());
            }
            if silent && self.world.stops() {
                return Ok(());
            }
            while let Some(event) = at.host.event(at.connection)? {
                if let Event::Push(push) = event {
                    self.take(push, at, silent);
                }
            }
        }
        Ok(())
    }

    async fn subscribe(&mut self, at: &Connected) -> Result<(), Dead> {
        let filter = Filter::parse("t", 9).unwrap();
        let subscribed =
            Subscribed { qos: QoS::ExactlyOnce, no_local: false, retain_as_published: false, id: None };
        let filters = vec![(0, SubscribeTo { filter, subscribed, retained: RetainedWanted::Never })];
        let (client, epoch) = (self.client.clone(), at.epoch);
        let subscribe = Subscribe { client, epoch, packet_id: PacketId::MIN, filters };
        if let Some(Reply::Subscribed(..)) = at.host.ask(Command::Subscribe(subscribe)).await? {
            self.subscribed = true;
            self.world.history.subscribed(self.client.as_str());
        }
        Ok(())
    }

    fn take(&mut self, push: Push, at: &Connected, silent: bool) {
        let ack = match push {
            Push::Publish { packet_id: Some(packet_id), item, dup, .. } => {
                self.publish(packet_id, number(&item.message), (item.qos, dup))
            }
            Push::Release(packet_id) => {
                self.received.remove(&packet_id);
                self.in_flight.remove(&packet_id);
                Ack::Pubcomp(packet_id)
            }
            _ => return,
        };
        if silent {
            return;
        }
        if let Ack::Puback(packet_id) = ack {
            self.in_flight.remove(&packet_id);
        }
        let acks = Acks { client: self.client.clone(), epoch: at.epoch, acks: vec![ack] };
        at.host.tell(Command::Acks(acks));
    }

    fn publish(&mut self, packet_id: PacketId, number: Number, (qos, dup): (QoS, bool)) -> Ack {
        if dup && self.seen.contains(&number) {
            self.world.history.saw(Sometimes::Redelivered);
        }
        self.seen.insert(number);
        let open = self.received.get(&packet_id).or(self.in_flight.get(&packet_id)).copied();
        if open.is_some_and(|open| open != number) {
            let (client, id) = (&self.client, packet_id.get());
            let how = format!("{client} gets {number} as packet {id}, which {open:?} has");
            self.world.history.broken(Promise::PacketIds, how);
        }
        self.in_flight.insert(packet_id, number);
        if self.in_flight.len() == usize::from(WINDOW) {
            self.world.history.saw(Sometimes::QuotaZero);
        }
        if self.in_flight.len() > usize::from(WINDOW) {
            let how = format!("{} has more in flight than it allowed", self.client);
            self.world.history.broken(Promise::PacketIds, how);
        }
        if qos == QoS::AtLeastOnce {
            self.world.history.delivered(self.client.as_str(), number);
            return Ack::Puback(packet_id);
        }
        if self.received.insert(packet_id, number).is_none() {
            self.world.history.delivered(self.client.as_str(), number);
        }
        Ack::Pubrec(packet_id, false)
    }
}
