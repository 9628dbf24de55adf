//! The beginning of a run of the node in the log of a shard, which shows whether log, checkpoints and `node.json` are of
//! one time. Called at start, for each shard; it never mends what does not fit.

use anyhow::bail;
use session_store::command::Input;
use session_store::{Host, Incarnation};

use super::Running;

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

impl Running {
    /// Begins a run of this node, if the log fits to it: what earlier runs hosted is gone with them.
    pub(super) async fn begin_run(&self, host: Host, logged: Incarnation) -> anyhow::Result<()> {
        let last = self.group.look_now(move |state| state.machine().last_run(host.node)).await?;
        if last >= host.incarnation {
            bail!(Mixture::OldIdentity { next: host.incarnation.0, last: last.0 });
        }
        if last < logged {
            let shard = self.group.id().0.saturating_sub(1);
            bail!(Mixture::OldData { shard, last: last.0, logged: logged.0 });
        }
        let before = Incarnation(host.incarnation.0.saturating_sub(1));
        self.group.room().await?.propose(Input::Down(Host { incarnation: before, ..host }));
        Ok(())
    }
}
