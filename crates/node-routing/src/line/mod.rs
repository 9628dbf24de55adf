//! The way to one node for one purpose: a connection that is made when it is first wanted, and made again whenever it
//! broke. One task a line; the transport of groups and the links ask it for the connection. It never waits longer than half a
//! second between attempts.

mod connection;
mod dial;
mod presence;

use std::sync::Arc;
use std::time::Duration;

use raft_consensus::network::{Refusal, TransportError};
use raft_consensus::types::NodeId;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

pub(crate) use connection::{Connection, FRAME_BYTES, HEADERS_BYTES_MAX, SEND_BUFFER_BYTES};
pub(crate) use presence::Presence;

use self::connection::{End, Ending};
use self::dial::{DialError, dial};
use crate::counters::{Tally, count};
use crate::identity::Identity;
use crate::limits::Limits;
use crate::peers::{Peers, PeersWatch};
use crate::security::Security;

/// Pauses between attempts to reach a node; the last one goes on.
const BACKOFF_MS: [u64; 5] = [50, 100, 200, 350, 500];
/// A connection that lived shorter is followed by the next pause, as if it had not been made.
const LIVED: Duration = Duration::from_secs(1);

/// What all ways of a node to others share.
pub(crate) struct Context {
    pub(crate) identity: Identity,
    pub(crate) peers: PeersWatch,
    pub(crate) limits: Limits,
    pub(crate) security: Arc<dyn Security>,
    pub(crate) tally: Arc<Tally>,
    /// Another node has refused this run as dead.
    pub(crate) refused_as_dead: watch::Sender<bool>,
}

impl Context {
    /// Another node refused this one. Only what it says of this run counts: what this node finds of others is no word of it.
    pub(crate) fn refused(&self, refusal: &Refusal) {
        let dead = |run| matches!(refusal, Refusal::DeadRun { found, .. } if *found == run);
        if dead(self.identity.incarnation.0) {
            self.refused_as_dead.send_replace(true);
        }
    }
}

/// Why there is no connection.
#[derive(Clone, Debug)]
pub(crate) enum Why {
    Unreachable(String),
    Refused(Refusal),
}

impl Why {
    pub(crate) fn error(self, to: NodeId) -> TransportError {
        match self {
            Self::Unreachable(reason) => TransportError::Unreachable { to, reason },
            Self::Refused(refusal) => TransportError::Refused { to, refusal },
        }
    }
}

impl From<&DialError> for Why {
    fn from(error: &DialError) -> Self {
        match error {
            DialError::Misfit(_, refusal) => Self::Refused(refusal.clone()),
            error => Self::Unreachable(error.to_string()),
        }
    }
}

/// How it stands with the connection.
#[derive(Clone)]
enum State {
    /// An attempt is under way.
    Dialing,
    Up(Connection),
    /// The last attempt failed, and the next one is not yet due.
    Down(Why),
}

/// A way to one node; dropped, it closes its connection.
pub(crate) struct Line {
    state: watch::Receiver<State>,
    _task: JoinSet<()>,
}

impl Line {
    /// Begins to connect.
    pub(crate) fn open(context: Arc<Context>, to: NodeId, presence: Arc<Presence>) -> Self {
        let (told, state) = watch::channel(State::Dialing);
        let peers = context.peers.clone();
        let (failures, broke, misfit) = (0, false, Misfit::default());
        let keeper = Keeper { context, to, presence, told, peers, failures, broke, misfit };
        let mut task = JoinSet::new();
        task.spawn(keeper.run());
        Self { state, _task: task }
    }

    /// The connection; waits while an attempt is under way. There is a deadline around it.
    ///
    /// # Errors
    /// The last attempt failed. The next one follows by itself.
    pub(crate) async fn connection(&self) -> Result<Connection, Why> {
        let mut state = self.state.clone();
        loop {
            match &*state.borrow_and_update() {
                State::Up(connection) => return Ok(connection.clone()),
                State::Down(why) => return Err(why.clone()),
                State::Dialing => {}
            }
            if state.changed().await.is_err() {
                return Err(Why::Unreachable("its address is not known any more".to_owned()));
            }
        }
    }

    /// What happens to the connection from now on.
    pub(crate) fn changes(&self) -> Changes {
        let mut state = self.state.clone();
        state.mark_unchanged();
        Changes(state)
    }
}

/// What happens to a line's connection, as of a moment.
pub(crate) struct Changes(watch::Receiver<State>);

impl Changes {
    /// Waits until it is worth to ask for the connection again: something happened since then, and no attempt has failed
    /// of which the next one is still to come. For ever where the node is not known any more.
    pub(crate) async fn worth(&mut self) {
        while self.0.changed().await.is_ok() {
            if !matches!(&*self.0.borrow_and_update(), State::Down(_)) {
                return;
            }
        }
        std::future::pending().await
    }
}

/// Keeps a line's connection.
struct Keeper {
    context: Arc<Context>,
    to: NodeId,
    presence: Arc<Presence>,
    told: watch::Sender<State>,
    peers: PeersWatch,
    /// Attempts in a row that led to nothing.
    failures: usize,
    /// The last connection broke, and the node was not reached since.
    broke: bool,
    misfit: Misfit,
}

/// What the operator was told of whoever is at the node's address; nothing while that is the node.
#[derive(Debug, Default)]
struct Misfit(Option<String>);

impl Misfit {
    /// Whether this is something else than at the last attempt.
    fn is_news(&mut self, error: &DialError) -> bool {
        let found = Some(error.to_string());
        let news = self.0 != found;
        self.0 = found;
        news
    }
}

fn address(peers: &Peers, node: NodeId) -> Option<String> {
    peers.get(&node).map(|peer| peer.address.clone())
}

impl Keeper {
    /// Runs until the node is not known any more.
    async fn run(mut self) {
        while let Some(address) = self.address() {
            self.told.send_replace(State::Dialing);
            count(&self.context.tally.peer_dials, 1);
            match dial(&self.context, self.to, &address).await {
                Ok((connection, ending)) => self.up(connection, ending, &address).await,
                Err(error) => self.failed(&error, &address),
            }
            if self.failures > 0 {
                self.pause(&address).await;
            }
        }
    }

    fn address(&mut self) -> Option<String> {
        address(&self.peers.borrow_and_update(), self.to)
    }

    /// Lets a connection be used until it ends, or the node is somewhere else.
    async fn up(&mut self, connection: Connection, mut ending: Ending, address: &str) {
        tracing::debug!(node = self.to, address, "connected to a node");
        let since = Instant::now();
        self.broke = false;
        self.misfit = Misfit::default();
        self.told.send_replace(State::Up(connection));
        let up = self.presence.up();
        let end = tokio::select! {
            end = ending.wait() => Some(end),
            () = self.moved(address) => None,
        };
        drop(up);
        let tally = &self.context.tally;
        match end {
            Some(End::Broken) => {
                self.broke = true;
                count(&tally.peer_connections_broken, 1);
            }
            Some(End::Silent) => count(&tally.peer_connections_silent, 1),
            None => {}
        }
        tracing::debug!(node = self.to, address, ?end, "the connection to a node has ended");
        self.failures = if since.elapsed() >= LIVED { 0 } else { self.failures + 1 };
    }

    fn failed(&mut self, error: &DialError, address: &str) {
        tracing::debug!(node = self.to, %error, "cannot connect to a node");
        let tally = &self.context.tally;
        count(&tally.peer_dials_failed, 1);
        self.failures += 1;
        match error {
            DialError::Refused(_) => {
                count(&tally.peer_dials_refused, 1);
                if self.broke && self.presence.refused(self.to, address, Instant::now()) {
                    count(&tally.peer_gone, 1);
                    self.broke = false;
                }
            }
            DialError::Misfit(..) | DialError::Insecure(..) => {
                count(&tally.peer_misfits, 1);
                if self.misfit.is_news(error) {
                    tracing::warn!(node = self.to, %error, "whoever is at a node's address does not fit");
                }
            }
            _ => {}
        }
        self.told.send_replace(State::Down(Why::from(error)));
    }

    /// Waits until the next attempt is due: after a pause, or as soon as the node is somewhere else.
    async fn pause(&mut self, address: &str) {
        let last = BACKOFF_MS.len() - 1;
        let pause = BACKOFF_MS.get((self.failures - 1).min(last)).copied().unwrap_or_default();
        tokio::select! {
            () = sleep(Duration::from_millis(pause)) => {}
            () = self.moved(address) => self.failures = 0,
        }
    }

    /// Waits until the node is not at this address any more.
    async fn moved(&mut self, from: &str) {
        let elsewhere = |peers: &Peers| peers.get(&self.to).is_none_or(|peer| peer.address != from);
        if self.peers.wait_for(elsewhere).await.is_err() {
            // Nobody will say so any more.
            std::future::pending().await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operator_is_told_of_a_misfit_once_and_of_another_one_again() {
        let mut misfit = Misfit::default();
        let of = |refusal| DialError::Misfit("there".to_owned(), refusal);
        let dead = |found| of(Refusal::DeadRun { found, lowest_live: 6 });
        assert!(misfit.is_news(&dead(4)));
        assert!(!misfit.is_news(&dead(4)));
        assert!(misfit.is_news(&of(Refusal::WrongCluster)));
        assert!(misfit.is_news(&dead(4)), "there was another one between");
        assert!(misfit.is_news(&dead(5)));
    }
}
