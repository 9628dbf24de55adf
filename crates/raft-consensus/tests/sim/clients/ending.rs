//! Clients whose sessions end by their expiry, and one that unsubscribes: what has ended stays ended.

use mqtt_codec::{PacketId, QoS};
use openraft::type_config::TypeConfigExt;
use session_store::ClientId;
use session_store::command::{Command, Reply, RetainedWanted, Unsubscribe};
use topic_index::Filter;

use super::consumer::Consumer;
use super::{AGAIN, Connected, Wanted, connect};
use crate::history::Promise;
use crate::hosts::Dead;
use crate::replica::SimTypes;
use crate::world::World;

/// Seconds that the session of a client that is away lasts.
const EXPIRY_S: u32 = 2;
/// The log's time may be so far from a right clock.
const SLACK_MS: u64 = 1_100;

/// A client that is away for less, or for more, than its session lasts.
pub(crate) async fn fleeting(world: World) {
    let expiry_ms = u64::from(EXPIRY_S) * 1_000;
    let wanted =
        Wanted { client: ClientId::new("fleeting"), clean_start: false, expiry_s: EXPIRY_S, will: None };
    // Since when it is away, at the earliest and at the latest.
    let mut away: Option<(u64, u64)> = None;
    while !world.stops() {
        let asked = world.history.now_ms();
        let Ok(at) = connect(&world, &wanted).await else {
            // Whether it was accepted, and since when that has ended, is not known.
            away = None;
            SimTypes::sleep(AGAIN).await;
            continue;
        };
        let now = world.history.now_ms();
        if let Some((from, to)) = away.take() {
            let must = now < from + expiry_ms - SLACK_MS;
            let must_not = asked > to + expiry_ms + SLACK_MS;
            if (must && !at.present) || (must_not && at.present) {
                let how = format!("away from {from} to {now} ms, present {}", at.present);
                world.history.broken(Promise::Ended, how);
            }
        }
        SimTypes::sleep(world.chance.millis(10..300)).await;
        let from = world.history.now_ms();
        if at.host.disconnect(at.connection, None).await.is_ok() {
            away = Some((from, world.history.now_ms()));
        }
        let pause = if world.chance.one_in(2) { 50..700 } else { 3_300..4_000 };
        SimTypes::sleep(world.chance.millis(pause)).await;
    }
}

/// A client that subscribes and unsubscribes: what is sent after UNSUBACK does not reach it.
pub(crate) async fn fickle(world: World) {
    let mut consumer = Consumer::new(world.clone(), "fickle");
    // Since when it is not subscribed, if that is known.
    let mut without: Option<u64> = None;
    loop {
        let Ok(at) = connect(&world, &Wanted::steady("fickle")).await else {
            SimTypes::sleep(AGAIN).await;
            continue;
        };
        consumer.resumes();
        if !world.stops() && (without.is_none() || world.chance.one_in(2)) {
            if let Some(from) = without.take() {
                world.history.is_without("fickle", from, world.history.now_ms());
            }
            if at.subscribe(&["t/#"], QoS::AtLeastOnce, RetainedWanted::Never).await.is_err() {
                continue;
            }
            let until = SimTypes::now() + world.chance.millis(50..400);
            let subscribed = consumer.stay(&at, |_| SimTypes::now() < until).await;
            if subscribed.is_ok() && unsubscribe(&at).await.is_ok() {
                without = Some(world.history.now_ms());
            }
        }
        let until = SimTypes::now() + world.chance.millis(50..400);
        if consumer.stay_until(&at, until).await.is_ok() {
            at.host.close(at.connection);
        }
        if let Some(from) = without {
            world.history.is_without("fickle", from, world.history.now_ms());
        }
    }
}

async fn unsubscribe(at: &Connected) -> Result<(), Dead> {
    let filters = vec![(0, Filter::parse("t/#", 9).unwrap())];
    let (client, epoch, packet_id) = (at.client.clone(), at.epoch, PacketId::MIN);
    match at.ask(Command::Unsubscribe(Unsubscribe { client, epoch, packet_id, filters })).await? {
        Some(Reply::Unsubscribed(..)) => Ok(()),
        _ => Err(Dead),
    }
}
