//! What a node does for a shard while it leads it: catches up with what others committed, begins anew what died with the
//! leader before it, hears hosts, and tells the shard which runs of nodes are dead, and its bounds and level. One task a shard;
//! where another node leads it only waits.

use std::sync::Arc;
use std::time::Duration;

use raft_consensus::group::{Gone, NoRoom, NotLeading};
use raft_consensus::leadership::LeadershipWatch;
use raft_consensus::types::{NodeId, TokioTypes};
use session_store::command::{Command, Input, Publish};
use session_store::limits::ShardLimits;
use session_store::{ClientId, Host, Incarnation, Request};
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use super::home::Home;
use super::overtaken::unless_fenced;
use super::peers::Word;
use super::{PageWanted, ShardGroup, ShardMachine, Shards, weight};
use crate::cluster::ClusterView;

/// Between two attempts to lead, where the first was refused.
const AGAIN: Duration = Duration::from_millis(20);

/// One shard, for whoever leads it.
pub(super) struct Leader {
    pub(super) shards: Shards,
    pub(super) number: u16,
    pub(super) group: ShardGroup,
    pub(super) limits: ShardLimits,
    pub(super) cluster: ClusterView,
    /// What other nodes say.
    pub(super) words: mpsc::Receiver<Word>,
    /// Told in which term this node leads, once it has begun.
    pub(super) leads: watch::Sender<Option<u64>>,
}

/// Why a node stopped to lead, or did not begin.
enum Over {
    /// Another may lead.
    Deposed,
    /// The group has ended.
    Gone,
}

impl From<Gone> for Over {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

impl From<NotLeading> for Over {
    fn from(_: NotLeading) -> Self {
        Self::Deposed
    }
}

impl Leader {
    /// Runs until the shard's group ends.
    pub(super) async fn run(mut self) {
        let (shards, mut leadership) = (self.shards.clone(), self.group.leadership());
        let Some(home) = shards.home(self.number) else { return };
        loop {
            let now = leadership.now();
            if now.leader != Some(shards.node()) {
                tokio::select! {
                    changed = leadership.changed() => if changed.is_err() { return },
                    // Whoever says it to the wrong node says it again to the right one.
                    word = self.words.recv() => if word.is_none() { return },
                }
                continue;
            }
            let over = self.lead(home, now.term, &mut leadership).await;
            self.leads.send_replace(None);
            if let Err(Over::Gone) = over {
                return;
            }
            sleep(AGAIN).await;
        }
    }

    async fn lead(
        &mut self,
        home: &Home,
        term: u64,
        leadership: &mut LeadershipWatch<TokioTypes>,
    ) -> Result<(), Over> {
        let still = (self.shards.node(), term);
        while_leading(still, leadership, self.group.caught_up()).await??;
        home.relay.begin();
        self.group.pass(0, ShardMachine::lead).await?;
        while_leading(still, leadership, self.take_limits()).await??;
        while_leading(still, leadership, self.raise_level()).await??;
        while_leading(still, leadership, self.end_the_dead()).await??;
        self.leads.send_replace(Some(term));
        loop {
            let group = self.group.clone();
            let next = async {
                tokio::select! {
                    () = changed(&mut self.cluster.lowest_live) => Next::Dead,
                    () = changed(&mut self.cluster.level) => Next::Level,
                    () = home.attach.notified() => Next::Attach,
                    word = self.words.recv() => word.map_or(Next::Over, Next::Word),
                }
            };
            match while_leading(still, leadership, next).await? {
                Next::Over => return Err(Over::Gone),
                Next::Dead => while_leading(still, leadership, self.end_the_dead()).await??,
                Next::Level => while_leading(still, leadership, self.raise_level()).await??,
                Next::Attach => {
                    for (host, number) in home.take_attaching() {
                        group.pass(0, move |machine| machine.attach(host, number)).await?;
                    }
                }
                Next::Word(word) => while_leading(still, leadership, self.hear(word)).await??,
            }
        }
    }

    /// The bounds that are configured become the shard's, from here on in its log.
    async fn take_limits(&self) -> Result<(), Gone> {
        let known = self.group.look_now(|state| *state.machine().limits()).await?;
        if known != self.limits {
            self.group.room().await?.propose(Input::Limits(self.limits));
        }
        Ok(())
    }

    /// Raises the shard to the level of `apply` that the cluster is at: all members know it.
    async fn raise_level(&mut self) -> Result<(), Gone> {
        let level = *self.cluster.level.borrow_and_update();
        if self.group.look_now(|state| state.machine().apply_level()).await? < level {
            self.group.room().await?.propose(Input::RaiseLevel(level));
        }
        Ok(())
    }

    /// Tells the shard which runs of nodes are dead, where it does not know.
    async fn end_the_dead(&mut self) -> Result<(), Gone> {
        let live = self.cluster.lowest_live.borrow_and_update().clone();
        for (node, lowest) in live {
            let known = self.group.look_now(move |state| state.machine().last_run(node)).await?;
            if known < lowest {
                let incarnation = Incarnation(lowest.0.saturating_sub(1));
                self.group.room().await?.propose(Input::Down(Host { node, incarnation }));
            }
        }
        Ok(())
    }

    async fn hear(&self, word: Word) -> Result<(), Gone> {
        match word {
            Word::Requests(requests) => {
                let among = self.cluster.among.as_ref();
                if let Some(among) = among {
                    // Without a lease it is not known which connections are fenced.
                    among.lease.until_allowed().await;
                }
                for request in requests {
                    let request = match self.shards.others() {
                        Some(others) => others.latest.unless_late(request),
                        None => request,
                    };
                    propose(&self.group, unless_fenced(request, among)).await?;
                }
            }
            Word::PassOn(publish)
                if self.shards.others().is_some_and(|others| others.latest.is_late(&publish)) => {}
            Word::PassOn(publish) => {
                let bytes = weight::publish(&publish).bytes;
                self.group.pass(bytes, move |machine| machine.pass_on(&publish)).await?;
            }
            Word::Page(wanted, answer) => {
                let group = self.group.clone();
                // What comes behind it does not wait for the page.
                tokio::spawn(async move {
                    if let Some(page) = page(&group, wanted).await {
                        let _nobody_waits = answer.send(page);
                    }
                });
            }
            Word::Stored(at, of, answer) => {
                let (group, stored) = (self.group.clone(), self.shards.inner.stored.clone());
                tokio::spawn(async move {
                    if let Some(page) = stored.page(&group, at, of).await {
                        let _nobody_waits = answer.send(page);
                    }
                });
            }
            Word::Attach(..) | Word::Told(_) | Word::Taken(..) | Word::ForMembers(..) | Word::Settled(_) => {}
        }
        Ok(())
    }
}

/// What a leader has to do next.
enum Next {
    Dead,
    Level,
    Attach,
    Word(Word),
    Over,
}

/// Waits for news; for ever where there will be none.
async fn changed<T>(told: &mut watch::Receiver<T>) {
    if told.changed().await.is_err() {
        std::future::pending().await
    }
}

/// Does something for as long as this node leads in the same term.
async fn while_leading<T>(
    (node, term): (NodeId, u64),
    leadership: &mut LeadershipWatch<TokioTypes>,
    work: impl Future<Output = T>,
) -> Result<T, Over> {
    let mut work = std::pin::pin!(work);
    loop {
        let now = leadership.now();
        if (now.leader, now.term) != (Some(node), term) {
            return Err(Over::Deposed);
        }
        tokio::select! {
            biased;
            changed = leadership.changed() => { changed?; }
            done = &mut work => return Ok(done),
        }
    }
}

/// Puts a request into the log of a shard. One that no record of it could hold, which no client can make, leaves its
/// number to nothing at all: it was taken over by a node that was started with a higher `mqtt.max_packet_size`.
pub(super) async fn propose(group: &ShardGroup, request: Arc<Request>) -> Result<(), Gone> {
    match group.room_for(weight::command(&request.command).bytes).await {
        Ok(room) => room.propose(Input::Request(request)),
        Err(NoRoom::Gone) => return Err(Gone),
        Err(too_large @ NoRoom::TooLarge { .. }) => {
            tracing::error!(target: "quelea", group = group.id().0, %too_large, "a message is lost");
            let Request { source, number, done_below, .. } = *request;
            let (publisher, items) = (ClientId::new(""), Vec::new());
            let command = Command::Publish(Publish { reply_to: None, publisher, epoch: None, items });
            group.room().await?.propose(Input::from(Request { source, number, done_below, command }));
        }
    }
    Ok(())
}

/// A page of retained messages of a shard that this node leads, as of everything that was committed before; `None` where
/// it does not lead, or does not hear so from the others in time.
pub(super) async fn page(group: &ShardGroup, wanted: PageWanted) -> Option<super::Page> {
    super::pages::caught_up(group).await?;
    group.look(move |machine| machine.page(&wanted)).await.ok()
}
