//! The port for nodes: accepts connections, bounded in number, and answers what is asked on them. Started by the broker;
//! dropped, it closes all of them. Nobody who has not said who it is keeps a connection.

mod gate;
mod services;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http2::Builder;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use raft_consensus::network::Dispatcher;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tower::Layer;

use self::gate::Gate;
pub(crate) use self::gate::Known;
use self::services::Services;
use crate::asking::{AnswersAsking, AnswersQuestions};
use crate::counters::{Tally, count};
use crate::identity::Identity;
use crate::join::Admits;
use crate::limits::{BadLimits, Limits};
use crate::line::{FRAME_BYTES, HEADERS_BYTES_MAX, SEND_BUFFER_BYTES};
use crate::links::Hears;
use crate::peers::PeersWatch;
use crate::presence::AnswersTouch;
use crate::reach::Ways;
use crate::security::{Secured, Security};

/// Streams of a connection that its other end may have reset before they were looked at, or that were reset here for its mistakes; with more
/// it is closed.
const RESETS_MAX: usize = 64;
/// Before connections are accepted again after that failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Who is asked at the port.
pub struct Answers {
    /// The node's groups.
    pub dispatcher: Dispatcher,
    /// Who hears what hosts and leaders say.
    pub hears: Arc<dyn Hears>,
    /// Who answers whether the node is there, and grants leases while it leads.
    pub touched: Arc<dyn AnswersTouch>,
    /// Who carries out what others ask of the cluster group.
    pub asked: Arc<dyn AnswersAsking>,
    /// Who answers what others ask for whoever administers the cluster.
    pub questioned: Arc<dyn AnswersQuestions>,
    /// Who says who the node is, and lets others in.
    pub admits: Arc<dyn Admits>,
}

/// Who a node is, and whom it knows.
type Who = (Identity, PeersWatch);

/// The port of a node that belongs to no cluster yet.
pub struct Front {
    /// The bounds.
    pub limits: Limits,
    /// What is put around connections.
    pub security: Arc<dyn Security>,
    /// What is counted.
    pub tally: Arc<Tally>,
}

/// The port of a node for others.
pub struct Server {
    _accepting: JoinSet<()>,
}

/// What every connection is served with.
struct Serving {
    front: Front,
    who: Option<Who>,
    services: Services,
}

impl Server {
    /// Answers at these sockets from now on, as who `ways` say.
    ///
    /// # Errors
    /// The bounds do not fit together: nothing is answered.
    pub fn start(
        listeners: impl IntoIterator<Item = TcpListener>,
        ways: Ways,
        answers: Answers,
    ) -> Result<Self, BadLimits> {
        let Ways { identity, peers, limits, security, tally } = ways;
        let services = Services::new(identity, answers, &limits);
        let front = Front { limits, security, tally };
        Self::serve(listeners, Serving { front, who: Some((identity, peers)), services })
    }

    /// Answers at these sockets for a node that belongs to no cluster: only who it is.
    ///
    /// # Errors
    /// As for [`Self::start`].
    pub fn for_strangers(
        listeners: impl IntoIterator<Item = TcpListener>,
        front: Front,
        admits: Arc<dyn Admits>,
    ) -> Result<Self, BadLimits> {
        let services = Services::for_strangers(admits);
        Self::serve(listeners, Serving { front, who: None, services })
    }

    fn serve(listeners: impl IntoIterator<Item = TcpListener>, serving: Serving) -> Result<Self, BadLimits> {
        serving.front.limits.validate()?;
        let mut accepting = JoinSet::new();
        let serving = Arc::new(serving);
        for listener in listeners {
            accepting.spawn(Arc::clone(&serving).accept(listener));
        }
        Ok(Self { _accepting: accepting })
    }
}

impl Serving {
    async fn accept(self: Arc<Self>, listener: TcpListener) {
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                Some(_ended) = connections.join_next() => continue,
            };
            match accepted {
                Ok((stream, _)) if connections.len() < self.front.limits.connections_max => {
                    count(&self.front.tally.peer_accepted, 1);
                    connections.spawn(Arc::clone(&self).serve(stream));
                }
                Ok(_too_many) => count(&self.front.tally.peer_turned_away, 1),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections at the port for nodes");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn serve(self: Arc<Self>, stream: TcpStream) {
        let Front { limits, security, tally } = &self.front;
        let known = Arc::new(Notify::new());
        // Small answers leave at once; where that cannot be said the connection is gone.
        let _gone = stream.set_nodelay(true);
        let serving = async {
            let Secured { io, who: shown } = match security.accepted(stream).await {
                Ok(secured) => secured,
                Err(error) => {
                    tracing::debug!(%error, "a connection at the port for nodes is not with a node");
                    return;
                }
            };
            let (who, tally) = (self.who.clone(), Arc::clone(tally));
            let gate = Gate { who, shown, tally, known: Arc::clone(&known) };
            let service = TowerToHyperService::new(gate.layer(self.services.clone()));
            let connection = self.http().serve_connection(TokioIo::new(io), service);
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection at the port for nodes ended");
            }
        };
        let mut serving = pin!(serving);
        let greeted = async {
            tokio::select! {
                () = &mut serving => false,
                () = known.notified() => true,
            }
        };
        if timeout(limits.greet_within, greeted).await != Ok(true) {
            count(&tally.peer_strangers, 1);
            return;
        }
        serving.await;
    }

    fn http(&self) -> Builder<TokioExecutor> {
        let limits = &self.front.limits;
        let mut http = Builder::new(TokioExecutor::new());
        http.timer(TokioTimer::new())
            .initial_stream_window_size(limits.stream_window_bytes)
            .initial_connection_window_size(limits.connection_window_bytes)
            .max_concurrent_streams(limits.streams_max)
            .max_frame_size(FRAME_BYTES)
            .max_header_list_size(HEADERS_BYTES_MAX)
            .max_send_buf_size(SEND_BUFFER_BYTES)
            .max_pending_accept_reset_streams(RESETS_MAX)
            .max_local_error_reset_streams(RESETS_MAX)
            .keep_alive_interval(limits.keep_alive)
            .keep_alive_timeout(limits.keep_alive_within)
            .auto_date_header(false);
        http
    }
}
