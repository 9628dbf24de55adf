//! What a node answers to others: greetings, what replicas ask of each other, words of hosts and leaders, what is asked of
//! the cluster group and for whoever administers it, and who it is. Behind the gate
//! of each connection; it hands on what it is asked, and decides nothing.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, stream};
use http::{Request as HttpRequest, Response as HttpResponse};
use hyper::body::Incoming;
use parking_lot::Mutex;
use raft_consensus::network::Dispatcher;
use tokio::time::timeout;
use tonic::body::Body;
use tonic::{Request, Response, Status, Streaming};

use super::Answers;
use crate::asking::{Askable, COMMAND_BYTES_MAX, QUESTION_BYTES_MAX, Questionable};
use crate::identity::Identity;
use crate::join::{Admits, Door};
use crate::limits::Limits;
use crate::links::Listener;
use crate::presence::{TOUCHING_BYTES_MAX, Touchable};
use crate::proto::cluster::cluster_server::ClusterServer;
use crate::proto::node::node_server::NodeServer;
use crate::proto::raft::raft_server::{Raft, RaftServer};
use crate::proto::routing::handshake_server::{Handshake, HandshakeServer};
use crate::proto::routing::join_server::JoinServer;
use crate::proto::routing::presence_server::PresenceServer;
use crate::proto::routing::{Greeting, Welcome};
use crate::proto::session::shards_server::ShardsServer;
use crate::refusal;

/// Bytes of a greeting at most.
const GREETING_BYTES_MAX: usize = 1 << 10;

/// What a node answers to others of its cluster.
#[derive(Clone)]
struct OfMember {
    handshake: HandshakeServer<Greeter>,
    raft: RaftServer<Groups>,
    shards: ShardsServer<Listener>,
    presence: PresenceServer<Touchable>,
    cluster: ClusterServer<Askable>,
    node: NodeServer<Questionable>,
}

/// What a node answers to those who belong to no cluster, and if it belongs to one itself, to the others.
#[derive(Clone)]
pub(crate) struct Services {
    join: JoinServer<Door>,
    of_member: Option<OfMember>,
}

impl Services {
    /// Of a node that belongs to no cluster.
    pub(crate) fn for_strangers(admits: Arc<dyn Admits>) -> Self {
        let join = JoinServer::new(Door(admits)).max_decoding_message_size(GREETING_BYTES_MAX);
        Self { join, of_member: None }
    }

    pub(crate) fn new(identity: Identity, answers: Answers, limits: &Limits) -> Self {
        let Answers { dispatcher, hears, touched, asked, questioned, admits } = answers;
        let askable = Askable { asked, within: limits.answer_within };
        let cluster = ClusterServer::new(askable).max_decoding_message_size(COMMAND_BYTES_MAX);
        let questionable = Questionable { questioned, within: limits.answer_within };
        let node = NodeServer::new(questionable).max_decoding_message_size(QUESTION_BYTES_MAX);
        let groups = Groups { dispatcher, within: limits.answer_within };
        let raft = RaftServer::new(groups).max_decoding_message_size(limits.message_bytes_max);
        let handshake = HandshakeServer::new(Greeter(identity)).max_decoding_message_size(GREETING_BYTES_MAX);
        let shards = ShardsServer::new(Listener(hears)).max_decoding_message_size(limits.message_bytes_max);
        let presence = PresenceServer::new(Touchable(touched)).max_decoding_message_size(TOUCHING_BYTES_MAX);
        let of_member = Some(OfMember { handshake, raft, shards, presence, cluster, node });
        Self { of_member, ..Self::for_strangers(admits) }
    }
}

impl tower::Service<HttpRequest<Incoming>> for Services {
    type Response = HttpResponse<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<HttpResponse<Body>, Infallible>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: HttpRequest<Incoming>) -> Self::Future {
        let service = request.uri().path().strip_prefix('/').and_then(|path| path.split('/').next());
        match (service, &mut self.of_member) {
            (Some("quelea.routing.v1.Join"), _) => self.join.call(request),
            (Some("quelea.raft.v1.Raft"), Some(of)) => of.raft.call(request),
            (Some("quelea.session.v1.Shards"), Some(of)) => of.shards.call(request),
            (Some("quelea.cluster.v1.Cluster"), Some(of)) => of.cluster.call(request),
            (Some("quelea.node.v1.Node"), Some(of)) => of.node.call(request),
            (Some("quelea.routing.v1.Presence"), Some(of)) => of.presence.call(request),
            (Some("quelea.routing.v1.Handshake"), Some(of)) => of.handshake.call(request),
            _ => {
                let unknown = Status::unimplemented("there is no such service");
                Box::pin(std::future::ready(Ok(unknown.into_http())))
            }
        }
    }
}

/// Says who this node is.
#[derive(Clone, Copy)]
struct Greeter(Identity);

#[tonic::async_trait]
impl Handshake for Greeter {
    async fn greet(&self, _request: Request<Greeting>) -> Result<Response<Welcome>, Status> {
        Ok(Response::new(self.0.welcome()))
    }
}

/// The groups of this node.
#[derive(Clone)]
struct Groups {
    dispatcher: Dispatcher,
    /// The deadline of an answer.
    within: Duration,
}

#[tonic::async_trait]
impl Raft for Groups {
    async fn call(&self, request: Request<Bytes>) -> Result<Response<Bytes>, Status> {
        let answer = timeout(self.within, self.dispatcher.call(request.into_inner())).await;
        let answer =
            answer.map_err(|_elapsed| Status::deadline_exceeded("the group did not answer in time"))?;
        answer.map(Response::new).map_err(|refusal| refusal::status(&refusal))
    }

    type OpenStream = BoxStream<'static, Result<Bytes, Status>>;

    async fn open(&self, request: Request<Streaming<Bytes>>) -> Result<Response<Self::OpenStream>, Status> {
        // What ends the requests before their end is said after the last answer.
        let broken = Arc::new(Mutex::new(None));
        let note = Arc::clone(&broken);
        let requests = request.into_inner().scan(note, move |note, request| {
            let request = request.map_err(|status| *note.lock() = Some(status));
            std::future::ready(request.ok())
        });
        let answers = self.dispatcher.open(requests.boxed());
        let answers = answers.map(|answer| answer.map_err(|refusal| refusal::status(&refusal)));
        let last = stream::once(async move { broken.lock().take() });
        let last = last.filter_map(|status| std::future::ready(status.map(Err)));
        Ok(Response::new(answers.chain(last).boxed()))
    }
}
