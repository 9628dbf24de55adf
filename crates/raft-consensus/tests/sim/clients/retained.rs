//! One who publishes retained messages, and one who subscribes to them anew again and again.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use mqtt_codec::{QoS, SharedPublish, Text};
use openraft::type_config::TypeConfigExt;
use session_store::command::RetainedWanted;
use session_store::{ClientId, Message};

use super::consumer::Consumer;
use super::{AGAIN, Connected, Outbound, Wanted, body, connect};
use crate::history::{Number, Promise, Sometimes};
use crate::hosts::Dead;
use crate::replica::SimTypes;
use crate::world::World;

pub(crate) const TOPICS: [&str; 4] = ["r/0", "r/1", "r/2", "r/3"];
const EXPIRY_S: u32 = 3_600;

/// What was done with a topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Register {
    /// Number of the last change that was acknowledged, and whether it removed the message.
    pub(crate) acknowledged: (Number, bool),
    /// Number of the last change that was asked for, and whether it removes the message.
    pub(crate) asked: (Number, bool),
}

pub(crate) type Registers = BTreeMap<&'static str, Register>;

/// Sets and removes retained messages until the world stops.
pub(crate) async fn writer(world: World, first: Number) {
    let (mut number, mut open) = (first, None);
    while !world.stops() || open.is_some() {
        let Ok(at) = connect(&world, &Wanted::steady("register")).await else {
            SimTypes::sleep(AGAIN).await;
            continue;
        };
        while !world.stops() || open.is_some() {
            SimTypes::sleep(world.chance.millis(10..120)).await;
            let (topic, removes) = *open.get_or_insert_with(|| {
                (TOPICS[world.chance.below(TOPICS.len() as u64) as usize], world.chance.one_in(3))
            });
            if write(&world, &at, (topic, number, removes)).await.is_err() {
                break;
            }
            (number, open) = (number + 1, None);
        }
    }
}

async fn write(
    world: &World,
    at: &Connected,
    (topic, number, removes): (&'static str, Number, bool),
) -> Result<(), Dead> {
    let body = match removes {
        true => SharedPublish::new(&Text::new(topic).unwrap(), &Bytes::new(), &Bytes::new()),
        false => body(number, topic),
    };
    world.registers(|all| all.entry(topic).or_default().asked = (number, removes));
    world.history.sends(number, topic, (false, true));
    let message = Arc::new(Message { body, qos: QoS::AtLeastOnce, retain: true, expires_at: None });
    at.publish(world, &[Outbound { number, message }]).await?;
    world.registers(|all| all.entry(topic).or_default().acknowledged = (number, removes));
    world.history.acknowledged(number);
    Ok(())
}

/// Subscribes with a new session, again and again, until the world stops.
pub(crate) async fn reader(world: World) {
    let mut consumer = Consumer::new(world.clone(), "reader");
    while !world.stops() {
        SimTypes::sleep(world.chance.millis(20..400)).await;
        consumer.anew();
        let before = world.registers(|all| all.clone());
        look(&world, &mut consumer, &before).await;
        for topic in TOPICS {
            let now = world.registers(|all| all.get(topic).copied().unwrap_or_default());
            let known = before.get(topic).copied().unwrap_or_default();
            let (newest, got) = (known.acknowledged.0, consumer.newest.get(topic));
            if got.is_some_and(|(_, retain)| *retain) {
                world.history.saw(Sometimes::RetainedScanned);
            }
            let gone_by = |number: Number| number < newest || (known.acknowledged.1 && number == newest);
            if let Some((number, _)) = got.filter(|(number, _)| gone_by(*number)) {
                let how = format!("{topic} was {number} for one who subscribed after {known:?}, now {now:?}");
                world.history.broken(Promise::Retained, how);
            }
        }
    }
}

/// Stays subscribed until it has of each topic what there was before, or something newer.
async fn look(world: &World, consumer: &mut Consumer, before: &Registers) {
    let mut subscribed = false;
    // For a look at what should not come.
    let until = SimTypes::now() + world.chance.millis(50..300);
    loop {
        let wanted = Wanted {
            client: ClientId::new("reader"),
            clean_start: !subscribed,
            expiry_s: EXPIRY_S,
            will: None,
        };
        let Ok(at) = connect(world, &wanted).await else {
            SimTypes::sleep(AGAIN).await;
            continue;
        };
        consumer.resumes();
        if !subscribed {
            subscribed = at.subscribe(&["r/#"], QoS::AtLeastOnce, RetainedWanted::Always).await.is_ok();
            if !subscribed {
                continue;
            }
        }
        let mut done = false;
        let wants = |consumer: &Consumer| {
            done = SimTypes::now() >= until && has_all(world, consumer, before);
            !done
        };
        let _lost = consumer.stay(&at, wants).await;
        if done {
            // It ends; where that is not heard, the next one begins with a new session.
            let _unheard = at.host.disconnect(at.connection, Some(0)).await;
            return;
        }
    }
}

fn has_all(world: &World, consumer: &Consumer, before: &Registers) -> bool {
    before.iter().all(|(topic, known)| {
        let (number, removed) = known.acknowledged;
        // Whatever was asked for since may have come first.
        let changed = world.registers(|all| all[topic].asked.0 > number);
        number == 0
            || removed
            || changed
            || consumer.newest.get(*topic).is_some_and(|(got, _)| *got >= number)
    })
}
