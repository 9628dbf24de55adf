//! Requests and streams of raft groups to other nodes: what `raft-consensus` asks for. Held by the broker, which gives it
//! to the groups. Each purpose has a connection of its own to each node, so that none waits behind another.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use parking_lot::Mutex;
use raft_consensus::network::{Answers, Channel, PeerTransport, Refusal, Requests, TransportError};
use raft_consensus::types::NodeId;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::timeout;
use tonic::Streaming;

use crate::counters::{Tally, count};
use crate::identity::Identity;
use crate::limits::Limits;
use crate::line::{Connection, Context, Line, Presence};
use crate::peers::{Gone, PeersWatch};
use crate::proto::raft::raft_client::RaftClient;
use crate::refusal;
use crate::security::Security;

/// Nodes that are gone of which nobody has taken note yet; more are not said.
const GONE: usize = 64;

/// What ways to other nodes are made of.
pub struct Ways {
    /// Who this node is.
    pub identity: Identity,
    /// Where the others are.
    pub peers: PeersWatch,
    /// The bounds.
    pub limits: Limits,
    /// What is put around connections.
    pub security: Arc<dyn Security>,
    /// What is counted.
    pub tally: Arc<Tally>,
}

/// The ways to one node.
struct Lines {
    presence: Arc<Presence>,
    open: BTreeMap<Channel, Arc<Line>>,
}

/// The ways from this node to the others.
pub struct Transport {
    context: Arc<Context>,
    lines: Mutex<BTreeMap<NodeId, Lines>>,
    gone: mpsc::Sender<Gone>,
}

impl Transport {
    /// Without a connection yet: each is made when it is first wanted, on the runtime of whoever wants it. Nodes that
    /// are gone are told to whoever has the other half.
    #[must_use]
    pub fn new(ways: Ways) -> (Self, mpsc::Receiver<Gone>) {
        let Ways { identity, peers, limits, security, tally } = ways;
        let context = Arc::new(Context { identity, peers, limits, security, tally });
        let (gone, heard) = mpsc::channel(GONE);
        (Self { context, lines: Mutex::default(), gone }, heard)
    }

    /// Keeps a connection to every node that is known, so that the end of each is noticed by all, also by those who have
    /// nothing to ask of it. Runs until nobody says any more where nodes are.
    pub async fn keep_in_touch(&self) {
        let mut peers = self.context.peers.clone();
        loop {
            let known: Vec<NodeId> = peers.borrow_and_update().keys().copied().collect();
            for node in known.into_iter().filter(|node| *node != self.context.identity.node) {
                // Where it was forgotten meanwhile there is word of that.
                let _forgotten = self.line(node, Channel::Control);
            }
            if peers.changed().await.is_err() {
                return;
            }
        }
    }

    fn line(&self, to: NodeId, channel: Channel) -> Result<Arc<Line>, TransportError> {
        let unreachable = |reason: &str| TransportError::Unreachable { to, reason: reason.to_owned() };
        if to == self.context.identity.node {
            return Err(unreachable("it is this node"));
        }
        let mut lines = self.lines.lock();
        {
            let peers = self.context.peers.borrow();
            lines.retain(|node, _| peers.contains_key(node));
            if !peers.contains_key(&to) {
                return Err(unreachable("its address is not known"));
            }
        }
        let Lines { presence, open } = lines.entry(to).or_insert_with(|| {
            let presence = Presence::new(self.gone.clone(), self.context.limits.gone_pause);
            Lines { presence, open: BTreeMap::new() }
        });
        let line = open
            .entry(channel)
            .or_insert_with(|| Arc::new(Line::open(Arc::clone(&self.context), to, Arc::clone(presence))));
        Ok(Arc::clone(line))
    }

    /// A connection, and leave to use it once.
    async fn way(
        &self,
        to: NodeId,
        channel: Channel,
    ) -> Result<(Connection, OwnedSemaphorePermit), TransportError> {
        let line = self.line(to, channel)?;
        let connection = line.connection().await.map_err(|why| why.error(to))?;
        let broke = || TransportError::Unreachable { to, reason: "the connection broke".to_owned() };
        let permit = connection.permit().await.ok_or_else(broke)?;
        Ok((connection, permit))
    }

    fn client(&self, connection: &Connection) -> RaftClient<Connection> {
        let bound = self.context.limits.message_bytes_max;
        RaftClient::with_origin(connection.clone(), connection.origin()).max_decoding_message_size(bound)
    }

    async fn ask(
        &self,
        to: NodeId,
        channel: Channel,
        request: Bytes,
        within: Duration,
    ) -> Result<Bytes, TransportError> {
        if request.len() > self.context.limits.message_bytes_max {
            return Err(TransportError::Refused { to, refusal: Refusal::TooLarge });
        }
        let (connection, _permit) = self.way(to, channel).await?;
        count(&self.context.tally.peer_sent, request.len());
        let answer = self.client(&connection).call(request).await;
        let answer = answer.map_err(|status| refusal::error(&status, to, within))?.into_inner();
        count(&self.context.tally.peer_received, answer.len());
        Ok(answer)
    }
}

impl PeerTransport for Transport {
    async fn call(
        &self,
        to: NodeId,
        channel: Channel,
        request: Bytes,
        within: Duration,
    ) -> Result<Bytes, TransportError> {
        let tally = &self.context.tally;
        count(&tally.peer_calls, 1);
        let asked = timeout(within, self.ask(to, channel, request, within)).await;
        asked.unwrap_or_else(|_elapsed| {
            count(&tally.peer_calls_late, 1);
            Err(TransportError::Timeout { to, within })
        })
    }

    async fn open(
        &self,
        to: NodeId,
        channel: Channel,
        requests: Requests,
        within: Duration,
    ) -> Result<Answers, TransportError> {
        count(&self.context.tally.peer_streams, 1);
        let opening = async {
            let (connection, permit) = self.way(to, channel).await?;
            let (ends, ended) = oneshot::channel::<()>();
            let requests = self.outgoing(requests).take_until(ended);
            let answers = self.client(&connection).open(requests).await;
            let answers = answers.map_err(|status| refusal::error(&status, to, within))?.into_inner();
            let tally = Arc::clone(&self.context.tally);
            Ok(Reading { answers, to, within, tally, _ends: ends, _permit: permit })
        };
        let opened = timeout(within, opening).await;
        let reading = opened.unwrap_or(Err(TransportError::Timeout { to, within }))?;
        Ok(stream::unfold(Some(reading), Reading::next).boxed())
    }
}

impl Transport {
    /// Requests as they leave: the stream ends before one that is too large, as it would at the other end.
    fn outgoing(&self, requests: Requests) -> impl futures_util::Stream<Item = Bytes> + Send + 'static {
        let (tally, bound) = (Arc::clone(&self.context.tally), self.context.limits.message_bytes_max);
        let fits = move |request: &Bytes| {
            let fits = request.len() <= bound;
            if !fits {
                tracing::error!(bytes = request.len(), bound, "a message is too large for another node");
            }
            std::future::ready(fits)
        };
        let sent = move |request: &Bytes| count(&tally.peer_sent, request.len());
        requests.take_while(fits).inspect(sent)
    }
}

/// The answers of a stream. Dropped, it ends the requests, and with them the stream at the other end.
struct Reading {
    answers: Streaming<Bytes>,
    to: NodeId,
    within: Duration,
    tally: Arc<Tally>,
    _ends: oneshot::Sender<()>,
    _permit: OwnedSemaphorePermit,
}

impl Reading {
    async fn next(reading: Option<Self>) -> Option<(Result<Bytes, TransportError>, Option<Self>)> {
        let mut reading = reading?;
        match reading.answers.message().await {
            Ok(answer) => {
                let answer = answer?;
                count(&reading.tally.peer_received, answer.len());
                Some((Ok(answer), Some(reading)))
            }
            Err(status) => Some((Err(refusal::error(&status, reading.to, reading.within)), None)),
        }
    }
}
