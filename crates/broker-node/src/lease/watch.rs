//! What becomes of a node that has peers and is silent for long, or is taken for dead: its clients go elsewhere, and it
//! begins another run. Awaited by the composition root while the groups start and for as long as the node runs.

use std::time::Duration;

use mqtt_codec::ReasonCode;
use node_routing::lease::Hold;
use raft_consensus::cluster::LowestLive;
use session_store::Host;
use tokio::sync::watch;
use tokio::time::sleep;

use super::Lease;
use crate::shard::Shards;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// The others take this run of the node for dead: nothing that it says counts any more, and it has to begin another one.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the other nodes took this one for dead")]
pub(crate) struct TakenForDead;

/// Returns when another node refuses this run as dead: all that there is to hear of it while the node starts.
pub(crate) async fn refused(mut refused: watch::Receiver<bool>) -> TakenForDead {
    if refused.wait_for(|refused| *refused).await.is_err() {
        // Nobody is left who could say so.
        std::future::pending::<()>().await;
    }
    TakenForDead
}

/// Ends the connections of clients while the node is silent for too long (0x88), and returns when it is taken for dead.
pub(crate) async fn watch(
    lease: &Lease,
    (shards, me): (&Shards, Host),
    mut lowest_live: watch::Receiver<LowestLive>,
) -> TakenForDead {
    let mut silent = false;
    loop {
        let lowest = lowest_live.borrow_and_update().get(&me.node).copied();
        // By the log it hears that only before the others do, which refuse it then.
        if lowest.is_some_and(|lowest| lowest > me.incarnation) || lease.is_refused_as_dead() {
            return TakenForDead;
        }
        let over = lease.hold() == Hold::Over;
        if over && !silent {
            tracing::warn!(target: "quelea", "no majority of the cluster is reached: clients are sent elsewhere");
            // Whoever connects meanwhile is not answered.
            shards.end_present(ReasonCode::ServerUnavailable);
        } else if silent && !over {
            tracing::info!(target: "quelea", "a majority of the cluster is reached again");
        }
        silent = over;
        tokio::select! {
            changed = lowest_live.changed() => if changed.is_err() { std::future::pending().await },
            () = sleep(LOOK_EVERY) => {}
        }
    }
}
