//! Clients that subscribe, come and go, take over their own sessions, lose what was on its way, and acknowledge as the
//! standard says, or not for a while.

use std::collections::{BTreeMap, BTreeSet};

use mqtt_codec::{PacketId, QoS};
use openraft::type_config::TypeConfigExt;
use openraft::type_config::alias::InstantOf;
use session_store::command::{Ack, Acks, Command, Push, RetainedWanted};

use super::{AGAIN, Connected, TICK, WINDOW, Wanted, connect, number};
use crate::history::{Delivery, Number, Promise, Sometimes};
use crate::hosts::{Dead, Event};
use crate::replica::SimTypes;
use crate::world::World;

/// The receiving half of a client.
pub(crate) struct Consumer {
    pub(crate) world: World,
    pub(crate) client: &'static str,
    /// Which of its sessions it is.
    pub(crate) session: u64,
    /// QoS 2 messages that were delivered and not released yet.
    received: BTreeMap<PacketId, Number>,
    /// Packet ids of exchanges that are not complete on this connection.
    in_flight: BTreeMap<PacketId, Number>,
    seen: BTreeSet<Number>,
    /// QoS 2 messages of which PUBREL came.
    released: BTreeSet<Number>,
    /// What it got of each topic at last, and whether with RETAIN.
    pub(crate) newest: BTreeMap<String, (Number, bool)>,
    /// It reads and acknowledges nothing.
    pub(crate) silent: bool,
}

impl Consumer {
    pub(crate) fn new(world: World, client: &'static str) -> Self {
        Self {
            world,
            client,
            session: 0,
            received: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            seen: BTreeSet::new(),
            released: BTreeSet::new(),
            newest: BTreeMap::new(),
            silent: false,
        }
    }

    /// A session that knows nothing of the one before it.
    pub(crate) fn anew(&mut self) {
        let next = Self::new(self.world.clone(), self.client);
        *self = Self { session: self.session + 1, ..next };
    }

    /// It is on a new connection.
    pub(crate) fn resumes(&mut self) {
        self.in_flight.clear();
    }

    /// Takes what comes on a connection for as long as it `wants` more and the same node leads; an error where the connection
    /// is gone.
    pub(crate) async fn stay(
        &mut self,
        at: &Connected,
        mut wants: impl FnMut(&Self) -> bool,
    ) -> Result<(), Dead> {
        while wants(self) {
            SimTypes::sleep(TICK).await;
            let now = self.world.leader(at.home()).map(|(view, _)| view);
            if now.is_some() && now != at.view {
                // What the old leader had on its way may be lost: as when a host has no other way to know.
                if self.world.qos2_open() {
                    self.world.history.saw(Sometimes::LeaderChangeDuringQos2);
                }
                return Ok(());
            }
            self.take_all(at)?;
        }
        Ok(())
    }

    /// Takes what comes until then, and to the end of the run where the world has stopped.
    pub(crate) async fn stay_until(
        &mut self,
        at: &Connected,
        until: InstantOf<SimTypes>,
    ) -> Result<(), Dead> {
        let wants = |me: &Self| SimTypes::now() < until || (me.world.stops() && !me.silent);
        self.stay(at, wants).await
    }

    fn take_all(&mut self, at: &Connected) -> Result<(), Dead> {
        while let Some(event) = at.host.event(at.connection)? {
            if let Event::Push(push) = event {
                self.take(push, at);
            }
        }
        Ok(())
    }

    fn take(&mut self, push: Push, at: &Connected) {
        let ack = match push {
            Push::Publish { packet_id: Some(packet_id), position, dup, item } => {
                let topic = String::from_utf8_lossy(item.message.body.topic()).into_owned();
                let Some(number) = number(&item.message) else {
                    self.newest.remove(&topic);
                    return self.acknowledge(completes(packet_id, item.qos), at);
                };
                self.newest.insert(topic.clone(), (number, item.retain));
                self.publish(packet_id, (number, topic), (position, item.qos, dup))
            }
            Push::Release(packet_id) => {
                self.released.extend(self.received.remove(&packet_id));
                self.in_flight.remove(&packet_id);
                Ack::Pubcomp(packet_id)
            }
            Push::PageEnd(page) => Ack::PageTaken(page),
            _ => return,
        };
        self.acknowledge(ack, at);
    }

    fn acknowledge(&mut self, ack: Ack, at: &Connected) {
        if self.silent {
            return;
        }
        if let Ack::Puback(packet_id) = ack {
            self.in_flight.remove(&packet_id);
        }
        at.tell(Command::Acks(Acks { client: at.client.clone(), epoch: at.epoch, acks: vec![ack] }));
    }

    fn publish(
        &mut self,
        packet_id: PacketId,
        (number, topic): (Number, String),
        (position, qos, dup): (u64, QoS, bool),
    ) -> Ack {
        let (history, client) = (self.world.history.clone(), self.client);
        if dup && self.seen.contains(&number) {
            history.saw(Sometimes::Redelivered);
        }
        self.seen.insert(number);
        let open = self.received.get(&packet_id).or(self.in_flight.get(&packet_id)).copied();
        if open.is_some_and(|open| open != number) {
            let how = format!("{client} gets {number} as packet {}, which {open:?} has", packet_id.get());
            history.broken(Promise::PacketIds, how);
        }
        if qos == QoS::ExactlyOnce && self.released.contains(&number) {
            history.broken(Promise::Qos2States, format!("{client} gets {number}, of which it had PUBREL"));
        }
        self.in_flight.insert(packet_id, number);
        if self.in_flight.len() == usize::from(WINDOW) {
            history.saw(Sometimes::QuotaZero);
        }
        if self.in_flight.len() > usize::from(WINDOW) {
            history.broken(Promise::PacketIds, format!("{client} has more in flight than it allowed"));
        }
        let repeat = qos == QoS::ExactlyOnce && self.received.insert(packet_id, number).is_some();
        let (session, at_ms) = (self.session, history.now_ms());
        let client = client.to_owned();
        history.delivered(Delivery { client, session, number, topic, position, qos, at_ms, repeat });
        completes(packet_id, qos)
    }
}

fn completes(packet_id: PacketId, qos: QoS) -> Ack {
    match qos {
        QoS::ExactlyOnce => Ack::Pubrec(packet_id, false),
        _ => Ack::Puback(packet_id),
    }
}

/// A client with a session that never ends, which subscribes once and gets all from then on.
pub(crate) async fn subscriber(world: World, client: &'static str, qos: QoS) {
    let mut consumer = Consumer::new(world.clone(), client);
    let mut subscribed = false;
    let mut before: Option<Connected> = None;
    loop {
        let Ok(at) = connect(&world, &Wanted::steady(client)).await else {
            SimTypes::sleep(AGAIN).await;
            continue;
        };
        consumer.resumes();
        if let Some(old) = before.take() {
            if old.host.host.node != at.host.host.node {
                world.history.saw(Sometimes::Takeover);
            }
            speak_from_the_grave(&world, &old, &at);
        }
        if !subscribed {
            subscribed = at.subscribe(&["t/#", "w/#"], qos, RetainedWanted::Never).await.is_ok();
            if !subscribed {
                SimTypes::sleep(AGAIN).await;
                continue;
            }
            world.history.subscribed(client);
        }
        // Some connections are lost before anything is read, and some clients read for a while and acknowledge nothing.
        let lost = !world.stops() && world.chance.one_in(4);
        consumer.silent = !world.stops() && world.chance.one_in(4);
        let until = SimTypes::now() + world.chance.millis(100..1_200);
        if !lost && consumer.stay_until(&at, until).await.is_err() {
            SimTypes::sleep(AGAIN).await;
            continue;
        }
        if world.chance.one_in(2) {
            before = Some(at);
        } else {
            at.host.close(at.connection);
            // Some stay away for longer than some messages last.
            if !world.stops() && world.chance.one_in(3) {
                SimTypes::sleep(world.chance.millis(200..1_500)).await;
            }
        }
    }
}

/// What an older connection says must not count.
fn speak_from_the_grave(world: &World, old: &Connected, new: &Connected) {
    if old.epoch == new.epoch {
        return;
    }
    world.history.saw(Sometimes::StaleAck);
    for id in 1..=64 {
        let acks = vec![Ack::Puback(PacketId::new(id).unwrap())];
        old.tell(Command::Acks(Acks { client: old.client.clone(), epoch: old.epoch, acks }));
    }
}
