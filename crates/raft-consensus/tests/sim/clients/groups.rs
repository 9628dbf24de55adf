//! Members of a shared group: one that stays, and others whose sessions end with messages that they did not acknowledge.

use mqtt_codec::QoS;
use openraft::type_config::TypeConfigExt;
use session_store::ClientId;
use session_store::command::RetainedWanted;

use super::consumer::Consumer;
use super::{AGAIN, Outbound, Wanted, connect, message};
use crate::history::Number;
use crate::replica::SimTypes;
use crate::world::World;

const FILTER: &str = "$share/group/g/#";
const EXPIRY_S: u32 = 3_600;

/// The member whose session never ends.
pub(crate) const STAYS: &str = "stays";

/// A member: it ends its session and begins a new one again and again, unless it is the one that stays.
pub(crate) async fn member(world: World, client: &'static str) {
    let mut consumer = Consumer::new(world.clone(), client);
    let mut subscribed = false;
    loop {
        // A session that was told to end is never taken up again, whether or not that was heard.
        let wanted = Wanted {
            client: ClientId::new(client),
            clean_start: !subscribed,
            expiry_s: EXPIRY_S,
            will: None,
        };
        let Ok(at) = connect(&world, &wanted).await else {
            SimTypes::sleep(AGAIN).await;
            continue;
        };
        consumer.resumes();
        if !subscribed {
            subscribed = at.subscribe(&[FILTER], QoS::AtLeastOnce, RetainedWanted::Never).await.is_ok();
            if !subscribed {
                SimTypes::sleep(AGAIN).await;
                continue;
            }
            world.joins(client);
        }
        consumer.silent = !world.stops() && world.chance.one_in(2);
        let until = SimTypes::now() + world.chance.millis(50..700);
        if consumer.stay_until(&at, until).await.is_err() {
            SimTypes::sleep(AGAIN).await;
            continue;
        }
        if client == STAYS || world.stops() {
            at.host.close(at.connection);
            continue;
        }
        world.history.ends(client, consumer.session);
        let _unheard = at.host.disconnect(at.connection, Some(0)).await;
        consumer.anew();
        subscribed = false;
    }
}

/// Publishes to the group once it has a member that stays, until the world stops.
pub(crate) async fn publisher(world: World, first: Number) {
    let (mut number, mut open) = (first, None);
    while !world.stops() || open.is_some() {
        let Ok(at) = connect(&world, &Wanted::steady("sharer")).await else {
            SimTypes::sleep(AGAIN).await;
            continue;
        };
        while !world.stops() || open.is_some() {
            SimTypes::sleep(world.chance.millis(5..60)).await;
            if !world.has_joined(STAYS) {
                continue;
            }
            let next = || Outbound { number, message: message(number, "g/x", QoS::AtLeastOnce, None) };
            let sent: &Outbound = open.get_or_insert_with(next);
            world.history.sends(number, "g/x", (false, false));
            if at.publish(&world, std::slice::from_ref(sent)).await.is_err() {
                break;
            }
            world.history.acknowledged(number);
            (number, open) = (number + 1, None);
        }
    }
}
