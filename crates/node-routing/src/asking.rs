//! Commands to the cluster group from nodes that do not lead it, and questions of whoever administers the cluster: carried to
//! the node that they are for, as bytes that nobody here reads. Used by the broker, which knows whom to ask, and asks again
//! where nothing came back.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use raft_consensus::network::{Refusal, TransportError};
use raft_consensus::types::NodeId;
use tokio::time::timeout;
use tonic::{Request, Response, Status};

use crate::counters::count;
use crate::line::Connection;
use crate::proto::cluster::cluster_client::ClusterClient;
use crate::proto::cluster::cluster_server::Cluster;
use crate::proto::node::node_client::NodeClient;
use crate::proto::node::node_server::Node;
use crate::reach::{Purpose, Reach};
use crate::refusal;

/// Bytes of a command at most: routes of one entry, with their framing.
pub(crate) const COMMAND_BYTES_MAX: usize = 1 << 20;

/// Who carries out the commands of other nodes.
pub trait AnswersAsking: Send + Sync + 'static {
    /// What came of a command, as soon as that is known; refused where it is none.
    fn asked(&self, command: Bytes) -> BoxFuture<'static, Result<Bytes, Refusal>>;
}

/// Bytes of a question at most: a few numbers and names.
pub(crate) const QUESTION_BYTES_MAX: usize = 64 << 10;

/// Who answers what other nodes ask for whoever administers the cluster.
pub trait AnswersQuestions: Send + Sync + 'static {
    /// The answer to a question; refused where it is none.
    fn questioned(&self, question: Bytes) -> BoxFuture<'static, Result<Bytes, Refusal>>;
}

/// Asks other nodes.
#[derive(Clone)]
pub struct Asker {
    reach: Arc<Reach>,
}

impl Asker {
    /// Over these lines.
    #[must_use]
    pub fn new(reach: Arc<Reach>) -> Self {
        Self { reach }
    }

    /// The nodes that can be asked.
    #[must_use]
    pub fn others(&self) -> Vec<NodeId> {
        let context = &self.reach.context;
        let known = context.peers.borrow();
        known.keys().copied().filter(|node| *node != context.identity.node).collect()
    }

    /// What a node says that came of a command.
    ///
    /// # Errors
    /// It did not answer within so long, or refused: the command may have had its effect or not.
    pub async fn ask(&self, to: NodeId, command: Bytes, within: Duration) -> Result<Bytes, TransportError> {
        let ask = async |connection: Connection| {
            ClusterClient::with_origin(connection.clone(), connection.origin()).ask(command).await
        };
        self.over(to, within, ask).await
    }

    /// What a node answers to a question.
    ///
    /// # Errors
    /// As for [`Self::ask`].
    pub async fn question(
        &self,
        to: NodeId,
        question: Bytes,
        within: Duration,
    ) -> Result<Bytes, TransportError> {
        let ask = async |connection: Connection| {
            NodeClient::with_origin(connection.clone(), connection.origin()).ask(question).await
        };
        self.over(to, within, ask).await
    }

    async fn over(
        &self,
        to: NodeId,
        within: Duration,
        ask: impl AsyncFnOnce(Connection) -> Result<Response<Bytes>, Status>,
    ) -> Result<Bytes, TransportError> {
        count(&self.reach.context.tally.peer_asks, 1);
        let asked = async {
            let line = self.reach.line(to, Purpose::Words)?;
            let connection = line.connection().await.map_err(|why| why.error(to))?;
            let broke = || TransportError::Unreachable { to, reason: "the connection broke".to_owned() };
            let _permit = connection.permit().await.ok_or_else(broke)?;
            let answer = ask(connection).await;
            Ok(answer.map_err(|status| refusal::error(&status, to, within))?.into_inner())
        };
        timeout(within, asked).await.unwrap_or(Err(TransportError::Timeout { to, within }))
    }
}

/// Carries out what other nodes ask for.
#[derive(Clone)]
pub(crate) struct Askable {
    pub(crate) asked: Arc<dyn AnswersAsking>,
    /// The deadline of an answer.
    pub(crate) within: Duration,
}

#[tonic::async_trait]
impl Cluster for Askable {
    async fn ask(&self, request: Request<Bytes>) -> Result<Response<Bytes>, Status> {
        let answer = timeout(self.within, self.asked.asked(request.into_inner())).await;
        let answer = answer.map_err(|_elapsed| Status::deadline_exceeded("nothing came of it in time"))?;
        answer.map(Response::new).map_err(|refusal| refusal::status(&refusal))
    }
}

/// Answers what other nodes ask for whoever administers the cluster.
#[derive(Clone)]
pub(crate) struct Questionable {
    pub(crate) questioned: Arc<dyn AnswersQuestions>,
    /// The deadline of an answer.
    pub(crate) within: Duration,
}

#[tonic::async_trait]
impl Node for Questionable {
    async fn ask(&self, request: Request<Bytes>) -> Result<Response<Bytes>, Status> {
        let answer = timeout(self.within, self.questioned.questioned(request.into_inner())).await;
        let answer = answer.map_err(|_elapsed| Status::deadline_exceeded("there was no answer in time"))?;
        answer.map(Response::new).map_err(|refusal| refusal::status(&refusal))
    }
}
