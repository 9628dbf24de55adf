//! Requests and streams of raft groups to other nodes: what `raft-consensus` asks for. Held by the broker, which gives it
//! to the groups. Each purpose has a connection of its own to each node, so that none waits behind another.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use raft_consensus::network::{Answers, Channel, PeerTransport, Refusal, Requests, TransportError};
use raft_consensus::types::NodeId;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::timeout;
use tonic::Streaming;

use crate::counters::{Tally, count};
use crate::line::Connection;
use crate::proto::raft::raft_client::RaftClient;
use crate::reach::{Purpose, Reach};
use crate::refusal;

/// Requests and streams of groups, over the lines of a node.
pub struct Transport {
    reach: Arc<Reach>,
}

impl Transport {
    /// Over these lines.
    #[must_use]
    pub fn new(reach: Arc<Reach>) -> Self {
        Self { reach }
    }

    /// A connection, and leave to use it once.
    async fn way(
        &self,
        to: NodeId,
        channel: Channel,
    ) -> Result<(Connection, OwnedSemaphorePermit), TransportError> {
        let line = self.reach.line(to, Purpose::Groups(channel))?;
        let connection = line.connection().await.map_err(|why| why.error(to))?;
        let broke = || TransportError::Unreachable { to, reason: "the connection broke".to_owned() };
        let permit = connection.permit().await.ok_or_else(broke)?;
        Ok((connection, permit))
    }

    fn client(&self, connection: &Connection) -> RaftClient<Connection> {
        let bound = self.reach.context.limits.message_bytes_max;
        RaftClient::with_origin(connection.clone(), connection.origin()).max_decoding_message_size(bound)
    }

    async fn ask(
        &self,
        to: NodeId,
        channel: Channel,
        request: Bytes,
        within: Duration,
    ) -> Result<Bytes, TransportError> {
        if request.len() > self.reach.context.limits.message_bytes_max {
            return Err(TransportError::Refused { to, refusal: Refusal::TooLarge });
        }
        let (connection, _permit) = self.way(to, channel).await?;
        count(&self.reach.context.tally.peer_sent, request.len());
        let answer = self.client(&connection).call(request).await;
        let answer = answer.map_err(|status| refusal::error(&status, to, within))?.into_inner();
        count(&self.reach.context.tally.peer_received, answer.len());
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
        let tally = &self.reach.context.tally;
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
        count(&self.reach.context.tally.peer_streams, 1);
        let opening = async {
            let (connection, permit) = self.way(to, channel).await?;
            let (ends, ended) = oneshot::channel::<()>();
            let requests = self.outgoing(requests).take_until(ended);
            let answers = self.client(&connection).open(requests).await;
            let answers = answers.map_err(|status| refusal::error(&status, to, within))?.into_inner();
            let tally = Arc::clone(&self.reach.context.tally);
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
        let (tally, bound) =
            (Arc::clone(&self.reach.context.tally), self.reach.context.limits.message_bytes_max);
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
