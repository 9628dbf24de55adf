//! Publishers that repeat what is not acknowledged: some messages at a time at QoS 1, or one after the other at QoS 2.

use mqtt_codec::{PacketId, QoS};
use openraft::type_config::TypeConfigExt;
use session_store::Millis;
use session_store::command::{Command, Receive, Release, Reply};

use super::{AGAIN, Connected, Outbound, Wanted, connect, message};
use crate::history::Number;
use crate::hosts::Dead;
use crate::replica::SimTypes;
use crate::world::World;

/// Messages under way at QoS 1 at most.
const TOGETHER: u64 = 4;

/// Publishes on a topic until the world stops; its messages have numbers from `first` on.
pub(crate) async fn publisher(world: World, name: &'static str, topic: &'static str, first: Number) {
    let qos2 = name.starts_with("exact");
    let mut next = Publishing {
        topic,
        number: first,
        packet_id: PacketId::MIN,
        received: false,
        open: Vec::new(),
        expires_at: None,
    };
    while !world.stops() || !next.open.is_empty() {
        let Ok(connected) = connect(&world, &Wanted::steady(name)).await else {
            SimTypes::sleep(AGAIN).await;
            continue;
        };
        while !world.stops() || !next.open.is_empty() {
            SimTypes::sleep(world.chance.millis(5..60)).await;
            if next.go_on(&world, &connected, qos2).await.is_err() {
                break;
            }
            if world.chance.one_in(30) {
                connected.host.close(connected.connection);
                break;
            }
        }
    }
}

/// What a publisher is at.
struct Publishing {
    topic: &'static str,
    number: Number,
    packet_id: PacketId,
    received: bool,
    open: Vec<Outbound>,
    expires_at: Option<Millis>,
}

impl Publishing {
    async fn go_on(&mut self, world: &World, at: &Connected, qos2: bool) -> Result<(), Dead> {
        if self.open.is_empty() {
            self.begin(world, qos2);
        }
        for Outbound { number, .. } in &self.open {
            world.history.sends(*number, self.topic, (qos2, self.expires_at.is_some()));
        }
        if qos2 {
            self.qos2(world, at).await?;
        } else {
            at.publish(world, &self.open).await?;
            self.open.iter().for_each(|sent| world.history.acknowledged(sent.number));
        }
        self.number += self.open.len() as u64;
        self.open.clear();
        self.received = false;
        Ok(())
    }

    fn begin(&mut self, world: &World, qos2: bool) {
        let (count, qos) = match qos2 {
            true => (1, QoS::ExactlyOnce),
            false => (1 + world.chance.below(TOGETHER), QoS::AtLeastOnce),
        };
        let lasts = Millis(world.wall().0 + world.chance.below(600));
        self.expires_at = world.chance.one_in(8).then_some(lasts);
        let numbers = self.number..self.number + count;
        let outbound =
            |number| Outbound { number, message: message(number, self.topic, qos, self.expires_at) };
        self.open = numbers.map(outbound).collect();
    }

    async fn qos2(&mut self, world: &World, at: &Connected) -> Result<(), Dead> {
        let (client, epoch, packet_id) = (at.client.clone(), at.epoch, self.packet_id);
        let Some(Outbound { number, message }) = self.open.first().cloned() else { return Ok(()) };
        world.qos2(true);
        let asked = async {
            if !self.received {
                let receive = Receive { client: client.clone(), epoch, packet_id, message };
                match at.ask(Command::Receive(receive)).await? {
                    Some(Reply::Received(_)) => world.history.acknowledged(number),
                    _ => return Err(Dead),
                }
                self.received = true;
            }
            match at.ask(Command::Release(Release { client, epoch, packet_id })).await? {
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
