//! Whether a limit refuses a CONNECT: the node has too much to do, who sends it comes too often, or has as many clients as allowed. Called
//! by `connect`, before the session is touched; counts what it refuses.

use mqtt_codec::ReasonCode;
use session_store::ClientId;

use crate::access::{Principal, network_of};
use crate::limits::{Cause, Flapper, Full, Place, Steadiness};
use crate::listener::Peer;
use crate::worker::Worker;

/// Refuses a CONNECT before it is looked at who it is from.
///
/// # Errors
/// What the client is told.
pub(super) fn before_login(worker: &Worker, peer: Peer) -> Result<(), ReasonCode> {
    let counters = &worker.counters;
    match worker.node.overload.cause() {
        None => {}
        Some(cause) => {
            if cause == Cause::Memory { &counters.shed_memory } else { &counters.shed_lag }.add(1);
            return Err(ReasonCode::ServerBusy);
        }
    }
    match peer {
        // Whoever is sent elsewhere, or told to come back, does not flap.
        Peer::Ip(address) if worker.node.entrance.refusal().is_none() => {
            steady(worker, Flapper::Address(network_of(address.ip().to_canonical())))
        }
        Peer::Ip(_) | Peer::Unix => Ok(()),
    }
}

/// Refuses a client who is known; else gives it a place among those of its address and its user, where these are counted.
///
/// # Errors
/// What the client is told.
pub(super) fn after_login(
    worker: &Worker,
    who: &Principal,
    client: &ClientId,
) -> Result<Option<Box<Place>>, ReasonCode> {
    let user = who.user.as_deref();
    if let Some(user) = user {
        steady(worker, Flapper::User(user))?;
    }
    steady(worker, Flapper::Client(user, client.as_str()))?;
    let counters = &worker.counters;
    worker.node.places.take(who, client).map_err(|full| {
        if full == Full::Address { &counters.address_full } else { &counters.user_full }.add(1);
        ReasonCode::QuotaExceeded
    })
}

fn steady(worker: &Worker, who: Flapper<'_>) -> Result<(), ReasonCode> {
    let Some(flapping) = &worker.node.flapping else { return Ok(()) };
    let steadiness = flapping.comes(who);
    if steadiness == Steadiness::Steady {
        return Ok(());
    }
    let counters = &worker.counters;
    counters.flapping_refused.add(1);
    if steadiness == Steadiness::BannedNow {
        counters.flapping_bans.add(1);
    }
    Err(ReasonCode::Banned)
}
