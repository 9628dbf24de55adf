//! Clients with a will that connect, are lost or say goodbye, and come back before or after it is due.

use mqtt_codec::QoS;
use openraft::type_config::TypeConfigExt;
use session_store::command::Will;

use super::{AGAIN, Connected, TICK, Wanted, body, connect};
use crate::history::{Fate, Number};
use crate::replica::SimTypes;
use crate::world::World;

/// The delays that wills have.
const DELAYS_S: [u32; 5] = [0, 0, 0, 1, 4];

/// Until the world stops; then it says goodbye, or stays away.
pub(crate) async fn willed(world: World, client: &'static str, first: Number) {
    let mut number = first;
    let mut before: Option<Number> = None;
    let mut last = None;
    while !world.stops() {
        let delay_s = DELAYS_S[world.chance.below(5) as usize];
        let will = Will {
            body: body(number, &format!("w/{client}")),
            qos: QoS::ExactlyOnce,
            retain: false,
            delay_s,
            expiry_s: None,
        };
        world.history.wills(number, u64::from(delay_s) * 1_000);
        let wanted = Wanted { will: Some(will), ..Wanted::steady(client) };
        if let Some(before) = before {
            world.history.will(before, |will| will.tried = true);
        }
        // A connection that its client gave up may have been accepted.
        if let Ok(at) = connect(&world, &wanted).await {
            let now = world.history.now_ms();
            if let Some(before) = before {
                world.history.will(before, |will| will.back_ms = Some(now));
            }
            world.history.will(number, |will| will.fate = Fate::Open);
            before = Some(number);
            live(&world, &at, number).await;
            last = Some(at);
        }
        SimTypes::sleep(AGAIN).await;
        number += 1;
        if world.chance.one_in(3) {
            SimTypes::sleep(world.chance.millis(0..2_500)).await;
        }
    }
    if let Some(at) = last {
        at.host.close(at.connection);
    }
}

/// What a connection with a will comes to.
async fn live(world: &World, at: &Connected, number: Number) {
    let until = SimTypes::now() + world.chance.millis(50..1_200);
    let lost = |world: &World| Fate::Lost(world.history.now_ms());
    while SimTypes::now() < until {
        SimTypes::sleep(TICK).await;
        if at.host.event(at.connection).is_err() {
            let (fate, died) = (lost(world), at.host.is_dead());
            return world.history.will(number, |will| (will.fate, will.host_died) = (fate, died));
        }
    }
    if world.chance.one_in(3) {
        world.history.will(number, |will| will.fate = Fate::Asked);
        if at.host.disconnect(at.connection, None).await.is_ok() {
            world.history.will(number, |will| will.fate = Fate::Discarded);
        }
        return;
    }
    let fate = lost(world);
    world.history.will(number, |will| will.fate = fate);
    // The connection is lost, or its client takes it over from elsewhere, before anybody has noticed.
    if world.chance.one_in(2) {
        at.host.close(at.connection);
    }
}
