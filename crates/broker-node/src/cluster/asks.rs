//! Commands to the cluster group from any node: proposed where this node leads it, else carried to whoever does, and asked
//! again where nothing came back. An answer is given as of this node's own state, which has the command by then.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use node_routing::asking::{AnswersAsking, Asker};
use raft_consensus::cluster::{
    AskError, Asked, Cluster, ClusterMachine, Command, Standing, decode_asking, encode_asking,
};
use raft_consensus::group::{Gone, Group};
use raft_consensus::network::Refusal;
use raft_consensus::types::{NodeId, TokioTypes};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// How long another node has to answer, before it is asked again: others may lead by then.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// Before something is asked again that led to nothing.
const AGAIN: Duration = Duration::from_millis(50);

/// Asks the cluster group. Clones are the same.
#[derive(Clone)]
pub(crate) struct Asks {
    me: NodeId,
    group: Group<TokioTypes, ClusterMachine>,
    /// The entry that this node has applied.
    applied: watch::Receiver<u64>,
    /// The way to other nodes, where there are any.
    asker: Option<Asker>,
}

impl Asks {
    /// Of a node.
    pub(crate) fn new(
        me: NodeId,
        group: Group<TokioTypes, ClusterMachine>,
        applied: watch::Receiver<u64>,
        asker: Option<Asker>,
    ) -> Self {
        Self { me, group, applied, asker }
    }

    /// The way to other nodes; nothing on a node without peers.
    pub(crate) fn asker(&self) -> Option<&Asker> {
        self.asker.as_ref()
    }

    /// Waits until it is as a command says, in this node's state too; whoever leads.
    ///
    /// # Errors
    /// The command was refused, or the group has ended.
    pub(crate) async fn ask(&self, command: &Command) -> Result<(), AskError> {
        let bytes = encode_asking(command);
        let mut leadership = self.group.leadership();
        loop {
            match (leadership.now().leader, &self.asker) {
                (Some(leader), _) if leader == self.me => {
                    // As long as nobody else leads.
                    tokio::select! {
                        asked = self.group.ask(command) => return asked,
                        changed = leadership.changed() => { changed?; }
                    }
                }
                (Some(leader), Some(asker)) => {
                    if self.decided_at(asker, leader, bytes.clone()).await?
                        && let Some(result) = self.stands(command).await?
                    {
                        return result.map_err(AskError::from);
                    }
                    sleep(AGAIN).await;
                }
                // It is no member yet, or nobody leads: whoever does answers.
                (None, Some(asker)) => {
                    if let Some(result) = self.ask_around(asker, command, &bytes).await? {
                        return result.map_err(AskError::from);
                    }
                    let _news = timeout(AGAIN, leadership.changed()).await;
                }
                _ => {
                    leadership.changed().await?;
                }
            }
        }
    }

    /// Asks everybody who is known, one after the other, as long as this node knows of no leader.
    async fn ask_around(
        &self,
        asker: &Asker,
        command: &Command,
        bytes: &Bytes,
    ) -> Result<Option<Result<(), raft_consensus::cluster::Refusal>>, Gone> {
        for node in asker.others() {
            if self.decided_at(asker, node, bytes.clone()).await? {
                return self.stands(command).await;
            }
        }
        Ok(None)
    }

    /// The entry that this node has applied by now, or a later one: what was decided before is in it.
    ///
    /// # Errors
    /// The group has ended.
    pub(crate) async fn decided(&self) -> Result<u64, Gone> {
        let index = |state: &mut raft_consensus::state_machine::StateMachine<_>| {
            state.applied().last_log_id.map_or(0, |id| id.index)
        };
        self.group.look_now(index).await
    }

    /// Looks at the state as this node has applied it by now.
    ///
    /// # Errors
    /// The group has ended.
    pub(crate) async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Cluster) -> T + Send + 'static,
    ) -> Result<T, Gone> {
        self.group.look_now(move |state| look(state.machine().state())).await
    }

    /// The level of `apply` that all members know and the cluster is not at.
    ///
    /// # Errors
    /// The group has ended.
    pub(super) async fn level_to_raise(&self) -> Result<Option<u32>, Gone> {
        self.group.look(|machine| machine.state().level_to_raise()).await
    }

    /// Whether the leader has decided on it, and this node knows how.
    async fn decided_at(&self, asker: &Asker, leader: NodeId, command: Bytes) -> Result<bool, Gone> {
        let answer = match asker.ask(leader, command, ANSWER_WITHIN).await {
            Ok(answer) => answer,
            Err(error) => {
                tracing::debug!(leader, %error, "the leader of the cluster group did not answer");
                return Ok(false);
            }
        };
        let Ok(Asked::Decided(index)) = Asked::decode(answer) else { return Ok(false) };
        let mut applied = self.applied.clone();
        let applied = timeout(ANSWER_WITHIN, applied.wait_for(|applied| *applied >= index)).await;
        applied.map_or(Ok(false), |applied| applied.map(|_| true).map_err(|_| Gone))
    }

    async fn stands(
        &self,
        command: &Command,
    ) -> Result<Option<Result<(), raft_consensus::cluster::Refusal>>, Gone> {
        let command = command.clone();
        let standing = self.group.look_now(move |state| state.machine().state().standing(&command)).await?;
        Ok(match standing {
            Standing::InForce => Some(Ok(())),
            Standing::Refused(refusal) => Some(Err(refusal)),
            Standing::Open => None,
        })
    }
}

impl AnswersAsking for Asks {
    fn asked(&self, command: Bytes) -> BoxFuture<'static, Result<Bytes, Refusal>> {
        let this = self.clone();
        Box::pin(async move {
            let command = decode_asking(command).map_err(|error| Refusal::Malformed(error.to_string()))?;
            let asked = this.answer(&command).await.map_err(|_gone| Refusal::Ended)?;
            Ok(asked.encode())
        })
    }
}

impl Asks {
    async fn answer(&self, command: &Command) -> Result<Asked, Gone> {
        let mut leadership = self.group.leadership();
        if leadership.now().leader != Some(self.me) {
            return Ok(Asked::NotLeading);
        }
        let asked = tokio::select! {
            asked = self.group.ask(command) => asked,
            () = deposed(&mut leadership, self.me) => return Ok(Asked::NotLeading),
        };
        match asked {
            Err(AskError::Gone(gone)) => Err(gone),
            // Whoever asked sees by its own state which it is.
            Ok(()) | Err(AskError::Refused(_)) => Ok(Asked::Decided(self.decided().await?)),
        }
    }
}

async fn deposed(leadership: &mut raft_consensus::leadership::LeadershipWatch<TokioTypes>, me: NodeId) {
    while leadership.changed().await.is_ok_and(|now| now.leader == Some(me)) {}
}
