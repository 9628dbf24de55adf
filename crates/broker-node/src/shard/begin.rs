//! The beginning of a run of the node in the log of a shard, which shows whether log, checkpoints and `node.json` are of
//! one time. Called at start, for each shard; it never mends what does not fit.

use anyhow::bail;
use session_store::{Host, Incarnation};

use super::Replica;
use crate::lease::TakenForDead;

/// The parts of the data directory are of different times. What a run asks for would be taken for what another one
/// asked for, or something acknowledged is missing.
#[derive(Debug, thiserror::Error)]
enum Mixture {
    /// The identity is an older copy.
    #[error(
        "node.json is older than wal/ and sessions/: it would begin run {next}, but they know of run {last}; restore the \
         whole data directory from one backup"
    )]
    OldIdentity { next: u32, last: u32 },
    /// Log and checkpoints are older copies, or gone.
    #[error(
        "wal/ and sessions/ are older than node.json: shard {shard} knows of run {last} of this node, but run {logged} \
         was written down there; restore the whole data directory from one backup"
    )]
    OldData { shard: u32, last: u32, logged: u32 },
}

impl Replica {
    /// Whether the log fits to a run of this node that begins. Where other nodes have replicas too, they may have heard
    /// of the run already, and have taken it for dead since.
    pub(super) async fn check_run(
        &self,
        (host, alone): (Host, bool),
        logged: Incarnation,
    ) -> anyhow::Result<()> {
        let last = self.group.look_now(move |state| state.machine().last_run(host.node)).await?;
        if !alone && last > host.incarnation {
            // The cluster has let it begin, behind all runs that there were.
            bail!(TakenForDead);
        }
        if alone && last >= host.incarnation {
            bail!(Mixture::OldIdentity { next: host.incarnation.0, last: last.0 });
        }
        if last < logged {
            let shard = self.group.id().0.saturating_sub(1);
            bail!(Mixture::OldData { shard, last: last.0, logged: logged.0 });
        }
        Ok(())
    }
}
