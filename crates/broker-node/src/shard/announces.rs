//! Announces the routes of a shard while this node leads it: first what differs from what the cluster group has, then each
//! change. One task a shard; where another node leads it only waits.

use std::sync::Arc;
use std::time::Duration;

use raft_consensus::cluster::{AskError, Command, Owner, Refusal, Routes};
use session_store::ShardId;
use tokio::sync::watch;
use tokio::time::sleep;

use super::{ShardGroup, Shards};
use crate::routes::{AsksCluster, as_of_entry, commands};

/// Before it is looked again what the cluster group has, where that was not what this node had applied.
const AGAIN: Duration = Duration::from_millis(50);
/// The same where it takes nothing more.
const REFUSED: Duration = Duration::from_secs(1);

/// The announcing of one shard's routes.
pub(super) struct Announces {
    pub(super) number: u16,
    pub(super) shards: Shards,
    pub(super) group: ShardGroup,
    pub(super) cluster: Arc<dyn AsksCluster>,
    /// In which term this node leads the shard, if it does.
    pub(super) leads: watch::Receiver<Option<u64>>,
}

impl Announces {
    /// Runs until the shard's group ends, or the cluster group.
    pub(super) async fn run(mut self) {
        let shards = self.shards.clone();
        let Some(home) = shards.home(self.number) else { return };
        loop {
            let Ok(term) = self.leads.wait_for(Option::is_some).await.map(|term| *term) else { return };
            let mut leads = self.leads.clone();
            tokio::select! {
                deposed = leads.wait_for(|now| *now != term) => if deposed.is_err() { return },
                ended = self.announce() => if ended.is_none() { return },
            }
            home.routes.end();
        }
    }

    fn owner(&self) -> Owner {
        Owner::Shard(ShardId(self.number))
    }

    /// Ends with `None` when a group does.
    async fn announce(&self) -> Option<()> {
        let routes = &self.shards.home(self.number)?.routes;
        loop {
            // Before all that there is by now is looked at.
            routes.begin();
            let Some(mut announced) = self.announce_all().await? else { continue };
            while let Some(recorded) = routes.recorded().await {
                if recorded.as_of <= announced {
                    continue;
                }
                let of = (recorded.changes, recorded.as_of);
                if !self.ask(commands(self.owner(), as_of_entry(announced), of)).await? {
                    break;
                }
                announced = recorded.as_of;
            }
        }
    }

    /// Announces what differs from what the cluster group has; gives the entry of the shard's log that the routes there are
    /// as of then. `Some(None)` where that is to be looked at again.
    async fn announce_all(&self) -> Option<Option<u64>> {
        let known = self.cluster.known(self.owner()).await.ok()?;
        // Behind: what is announced there is committed in the shard, and this node leads it as of all of that.
        let (as_of, now) = self.group.look_now(|state| state.machine().routes()).await.ok()?;
        let changes = known.changes_to(&now);
        if known.last >= as_of_entry(as_of) && changes.is_empty() {
            return Some(Some(as_of));
        }
        let mut commands = commands(self.owner(), known.last, (changes, as_of));
        if commands.len() > 1 {
            // Parts of two leaders may have the same numbers: only what is looked at again says how far it is.
            commands.pop();
            self.ask(commands).await?;
            return Some(None);
        }
        Some(self.ask(commands).await?.then_some(as_of))
    }

    /// Asks for commands one after the other; `false` where the cluster group has another one before them.
    async fn ask(&self, commands: Vec<Routes>) -> Option<bool> {
        for routes in commands {
            match self.cluster.ask(Command::Routes(routes)).await {
                Ok(()) => {}
                Err(AskError::Gone(_)) => return None,
                Err(AskError::Refused(Refusal::Gap(_))) => {
                    sleep(AGAIN).await;
                    return Some(false);
                }
                Err(AskError::Refused(refusal)) => {
                    let shard = self.number;
                    tracing::warn!(target: "quelea", shard, %refusal, "routes of a shard are not known to the others yet");
                    sleep(REFUSED).await;
                    return Some(false);
                }
            }
        }
        Some(true)
    }
}
