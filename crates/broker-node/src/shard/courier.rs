//! Keeps the way from this host to the replica that leads a shard: attaches to each new leader, sends it everything again
//! that is unanswered, and lets requests go straight to it after that. One task a shard; it decides nothing.

use std::sync::Arc;
use std::time::Duration;

use raft_consensus::leadership::LeadershipWatch;
use raft_consensus::types::{NodeId, TokioTypes};
use session_store::Request;
use tokio::time::{sleep, timeout};

use super::Shards;
use super::home::Home;
use super::peers::Word;

/// How long a leader may take to answer a host that attaches, before the host does so again.
const ATTACH_TIMEOUT: Duration = Duration::from_secs(1);
/// How long requests may be on their way to another node without any answer, before they are sent again.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// Requests that are sent again at a time.
const BATCH: usize = 64;

/// The way from this host to one shard.
pub(super) struct Courier {
    pub(super) number: u16,
    pub(super) shards: Shards,
    pub(super) leadership: LeadershipWatch<TokioTypes>,
}

impl Courier {
    /// Runs until the shard's group ends.
    pub(super) async fn run(mut self) {
        let shards = self.shards.clone();
        let Some(home) = shards.home(self.number) else { return };
        let mut seen = self.leadership.now();
        loop {
            let Some(leader) = seen.leader else {
                home.link.attach();
                match self.leadership.changed().await {
                    Ok(now) => seen = now,
                    Err(_) => return,
                }
                continue;
            };
            tokio::select! {
                changed = self.leadership.changed() => match changed {
                    Ok(now) => seen = now,
                    Err(_) => return,
                },
                // Again, from the beginning.
                () = serve(&shards, home, leader) => {}
            }
        }
    }
}

/// Attaches to a leader and keeps the way to it until something on it is missing.
async fn serve(shards: &Shards, home: &Home, leader: NodeId) {
    let attachment = home.link.attach();
    shards.tell(leader, home.number, Word::Attach(shards.host(), attachment));
    if timeout(ATTACH_TIMEOUT, home.link.until_attached(attachment)).await.is_err() {
        return;
    }
    send_again(shards, home, leader).await;
    tokio::select! {
        () = home.link.until_broken() => {}
        () = until_silent(shards, home, leader) => {}
    }
}

/// Sends everything that is unanswered, in its order; then the way is open.
async fn send_again(shards: &Shards, home: &Home, leader: NodeId) {
    for deferred in home.link.deferred() {
        shards.carry(leader, home.number, vec![deferred]).await;
    }
    let mut sent = 0;
    loop {
        let requests: Vec<Arc<Request>> = home.link.unanswered_behind(sent, BATCH, leader);
        let Some(last) = requests.last() else { return };
        sent = last.number;
        shards.carry(leader, home.number, requests).await;
    }
}

/// Waits until another node answers nothing although it was asked: what it was told, or said, may be lost.
async fn until_silent(shards: &Shards, home: &Home, leader: NodeId) {
    let mut before = home.link.progress();
    loop {
        sleep(ANSWER_TIMEOUT).await;
        let now = home.link.progress();
        let silent = before.1 && now.1 && before.0 == now.0;
        if silent && leader != shards.node() && !shards.is_full() {
            return;
        }
        before = now;
    }
}
