//! Takes clients over whose last host does not answer: fences the old connection in the cluster group, and when that is in
//! force everywhere, tells the shard that it has had its last word. One task a shard, at work while this node leads it and
//! has peers; a connection that stops by itself it leaves alone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mqtt_codec::ReasonCode;
use raft_consensus::cluster::{Command, Fence};
use session_store::command::{Command as ShardCommand, FENCES_LEVEL, Input, Publish};
use session_store::{ClientId, ConnectionId, Epoch, Request};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::{ShardGroup, Shards, weight};
use crate::cluster::Among;

/// How long the host of a connection has to say that it stopped.
const PATIENCE: Duration = Duration::from_millis(200);
/// Between two looks at who waits, while somebody does.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Connections that are looked at, and fenced, at a time; the others have their turn then.
const AT_A_TIME: usize = 256;
/// How long a fence may take, before it is looked at again.
const WITHIN: Duration = Duration::from_secs(10);

/// One connection that another one waits for.
type Old = (ClientId, Epoch, ConnectionId);

/// The clients of one shard that are taken over.
pub(super) struct Overtaken {
    pub(super) number: u16,
    pub(super) shards: Shards,
    pub(super) group: ShardGroup,
    pub(super) among: Among,
    /// In which term this node leads.
    pub(super) leads: watch::Receiver<Option<u64>>,
}

impl Overtaken {
    /// Runs until the shard's group ends.
    pub(super) async fn run(mut self) {
        let shards = self.shards.clone();
        let Some(home) = shards.home(self.number) else { return };
        let mut some = home.overtaken.subscribe();
        loop {
            let leading = self.leads.wait_for(Option::is_some).await.is_ok();
            if !leading || some.wait_for(|some| *some).await.is_err() {
                return;
            }
            self.take_over(&mut some).await;
        }
    }

    /// Takes over as long as this node leads and somebody waits.
    async fn take_over(&self, some: &mut watch::Receiver<bool>) {
        let mut since: BTreeMap<Old, Instant> = BTreeMap::new();
        let mut fencing = JoinSet::new();
        while self.leads.borrow().is_some() && *some.borrow_and_update() {
            let Some(waited_for) = self.look().await else { return };
            since.retain(|old, _| waited_for.contains(old));
            for old in waited_for {
                let begun = *since.entry(old.clone()).or_insert_with(Instant::now);
                if begun.elapsed() >= PATIENCE && fencing.len() < AT_A_TIME {
                    // It is looked at again where that led to nothing.
                    since.insert(old.clone(), Instant::now() + WITHIN);
                    let (group, among) = (self.group.clone(), self.among.clone());
                    fencing.spawn(async move { timeout(WITHIN, fence(&group, &among, old)).await });
                }
            }
            while fencing.try_join_next().is_some() {}
            sleep(LOOK_EVERY).await;
        }
    }

    async fn look(&self) -> Option<Vec<Old>> {
        let look = self.group.look_now(|state| {
            let machine = state.machine();
            let knows = machine.apply_level() >= FENCES_LEVEL;
            if knows { machine.overtaken(AT_A_TIME) } else { Vec::new() }
        });
        look.await.ok()
    }
}

/// Fences a connection, and gives its client to whoever waits.
async fn fence(group: &ShardGroup, among: &Among, (client, epoch, connection): Old) -> Option<()> {
    let fence = Fence { client: client.clone(), epoch, host: connection.host, connection: connection.number };
    if let Err(error) = among.asks.ask(&Command::Fence(fence.clone())).await {
        tracing::warn!(target: "quelea", %client, %error, "a client cannot be taken over from a host that does not answer");
        return None;
    }
    // This node's view has the fence by now.
    let view = among.routes.applied();
    among.lease.in_force().wait_for(|index| *index >= view).await.ok()?;
    let gone = Input::Fenced(client, epoch);
    group.room_for(weight::of(&gone).bytes).await.ok()?.propose(gone);
    Some(())
}

impl Shards {
    /// Ends connections of this host that were taken over elsewhere while it was not reached, and has their fences taken
    /// away once nothing of them is left here. Runs as long as the node does.
    pub(super) async fn heed_fences(self, among: Among) {
        loop {
            sleep(PATIENCE).await;
            for fence in among.routes.fences_of(self.inner.host) {
                let mut homes = self.inner.homes.iter();
                let inbox = homes.find_map(|home| home.directory.lock().get(fence.id()).cloned());
                match inbox {
                    Some(inbox) => inbox.end(ReasonCode::SessionTakenOver),
                    // Where that leads to nothing it is looked at again.
                    None => drop(timeout(WITHIN, among.asks.ask(&Command::Unfence(fence))).await),
                }
            }
        }
    }
}

/// A request as it counts by now: what a fenced connection published is nothing any more. Its number is still taken.
pub(super) fn unless_fenced(request: Arc<Request>, among: Option<&Among>) -> Arc<Request> {
    let Some(among) = among else { return request };
    let ShardCommand::Publish(Publish { reply_to: Some(connection), publisher, epoch, items }) =
        &request.command
    else {
        return request;
    };
    if items.is_empty() || among.routes.admits_connection(*connection) {
        return request;
    }
    let (reply_to, publisher, items) = (Some(*connection), publisher.clone(), Vec::new());
    let command = ShardCommand::Publish(Publish { reply_to, publisher, epoch: *epoch, items });
    Arc::new(Request { command, ..Request::clone(&request) })
}
