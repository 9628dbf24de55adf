//! The port of the admin API: accepts connections, bounded in number and in life, and hands what is asked on them to the
//! service it is for. Started by `front`; dropped, it closes all of them.

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::Context as _;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2::Builder;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use node_routing::security::{BoxIo, Security};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tonic::Status;
use tonic::body::Body;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};
use tonic_health::{ServingStatus, server};
use tonic_reflection::server::v1::{ServerReflection, ServerReflectionServer};
use tower::{Layer, Service};
use tracing::{debug, info, warn};

use super::Subject;
use super::bounds::{Answer, Bounds};
use super::guard::Guard;
use super::proto::DESCRIPTORS;
use super::proto::admin_server::AdminServer;
use super::service::Desk;
use super::tokens::Tokens;
use crate::access::{Watched, watch_file};
use crate::cluster::ClusterKeys;
use crate::config::{AdminSettings, ListenAddress, Settings};
use crate::listener::{Tls, bind_tcp};
use crate::readiness::Readiness;
use crate::stop::Stop;

/// Connections at once; more are closed.
pub(crate) const CONNECTIONS_MAX: usize = 64;
/// Requests and streams of a connection at a time.
const STREAMS_MAX: u32 = 16;
/// Streams of a connection that its other end may have reset before they were looked at, or that were reset here for its
/// mistakes; with more it is closed.
const RESETS_MAX: usize = 32;
/// Bytes of a request at most.
const REQUEST_BYTES_MAX: usize = 64 << 10;
/// Bytes that may be on their way unread, of a stream and of a connection.
const WINDOW_BYTES: u32 = 64 << 10;
/// Bytes of all headers of a request.
const HEADERS_BYTES_MAX: u32 = 8 << 10;
/// Bytes of an answer that wait for room on the connection.
const SEND_BUFFER_BYTES: usize = 256 << 10;
/// From accept to the first request.
const ASK_WITHIN: Duration = Duration::from_secs(10);
/// The life of a connection, whatever it does.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(300);
/// How long its last answers may take then.
const LAST_WITHIN: Duration = Duration::from_secs(10);
/// Without word from the other end before it is asked whether it is there.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// How long it may take to say so.
const KEEP_ALIVE_WITHIN: Duration = Duration::from_secs(10);
/// Before connections are accepted again after that failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);
/// The service of health that says what `/readyz` says.
const READY: &str = "quelea.mqtt";
/// Between two looks at that.
const READY_EVERY: Duration = Duration::from_secs(1);

/// Who is let in at the port.
#[derive(Clone)]
pub(crate) struct Doors {
    /// What the port is called.
    name: &'static str,
    tls: Option<Arc<Tls>>,
    tokens: Option<Arc<Watched<Tokens>>>,
    /// By what those are known who are let in as nodes are; then there is nothing else.
    nodes: Option<ClusterKeys>,
}

impl Doors {
    /// Reads what the configuration names.
    ///
    /// # Errors
    /// A file cannot be used.
    pub(crate) fn open(settings: &AdminSettings) -> anyhow::Result<Self> {
        let tls = settings.tls.clone().map(|files| Tls::load(files, b"h2")).transpose()?;
        let tokens = settings.tokens_file.as_deref().map(|path| Watched::open(path, Tokens::parse));
        let (tls, tokens) = (tls.map(Arc::new), tokens.transpose()?.map(Arc::new));
        Ok(Self { name: "admin", tls, tokens, nodes: None })
    }

    /// For those who show what nodes know each other by.
    ///
    /// # Errors
    /// A file cannot be used.
    pub(crate) fn for_nodes(settings: &Settings) -> anyhow::Result<Self> {
        let keys = ClusterKeys::open(settings)?;
        // Never a port at which nobody is asked.
        let keys = keys.context("nodes know each other by nothing, and so nobody can be let in as one")?;
        Ok(Self { name: "admin-nodes", tls: None, tokens: None, nodes: Some(keys) })
    }

    /// Has the files read again when they change.
    fn watch(&self, tasks: &mut JoinSet<()>, stop: &Stop) {
        if let Some(tls) = &self.tls {
            tasks.spawn(Arc::clone(tls).watch("admin".to_owned(), stop.clone(), || ()));
        }
        if let Some(tokens) = &self.tokens {
            tasks.spawn(watch_file(Arc::clone(tokens), "tokens of the admin API"));
        }
        if let Some(keys) = &self.nodes {
            tasks.spawn(keys.clone().watch());
        }
    }
}

/// Binds `address` and answers until the node stops. Needs the main runtime.
///
/// # Errors
/// A socket cannot be bound.
pub(crate) fn start(
    address: &ListenAddress,
    doors: &Doors,
    subject: &Subject,
    stop: &Stop,
) -> anyhow::Result<JoinSet<()>> {
    let mut tasks = JoinSet::new();
    doors.watch(&mut tasks, stop);
    let reporter = server::health_reporter().0;
    let health = HealthServer::new(HealthService::from_health_reporter(reporter.clone()));
    let health = health.max_decoding_message_size(REQUEST_BYTES_MAX);
    tasks.spawn(tell_health(reporter, subject.readiness().clone()));
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .build_v1()?
        .max_decoding_message_size(REQUEST_BYTES_MAX);
    let admin = AdminServer::new(Desk(subject.clone())).max_decoding_message_size(REQUEST_BYTES_MAX);
    let services = Services { admin, health, reflection };
    let door = Door::new(doors);
    for socket in bind_tcp(doors.name, address)? {
        info!(target: "quelea::admin", listener = doors.name, protocol = "grpc", address = %socket.local_addr()?, "listening");
        let accepting = accept(TcpListener::from_std(socket)?, services.clone(), door.clone());
        let mut stop = stop.clone();
        tasks.spawn(async move {
            tokio::select! {
                () = accepting => {}
                () = stop.requested() => {}
            }
        });
    }
    Ok(tasks)
}

/// What is before the services.
#[derive(Clone)]
struct Door {
    around: Around,
    guard: Guard,
    bounds: Bounds,
}

/// What is around connections.
#[derive(Clone)]
enum Around {
    Nothing,
    Tls(Arc<Tls>),
    /// What is around those of nodes.
    Nodes(Arc<dyn Security>),
}

impl Door {
    fn new(doors: &Doors) -> Self {
        let (around, guard) = match (&doors.nodes, &doors.tls) {
            (Some(keys), _) => (Around::Nodes(keys.security()), Guard::of_nodes()),
            (None, Some(tls)) => (Around::Tls(Arc::clone(tls)), Guard::new(doors.tokens.clone())),
            (None, None) => (Around::Nothing, Guard::new(doors.tokens.clone())),
        };
        Self { around, guard, bounds: Bounds::new() }
    }
}

impl Around {
    async fn put(&self, stream: TcpStream) -> io::Result<BoxIo> {
        Ok(match self {
            Self::Nothing => Box::new(stream),
            Self::Tls(tls) => Box::new(tls.acceptor().accept(stream).await?),
            Self::Nodes(security) => security.accepted(stream).await?.io,
        })
    }
}

async fn accept<R: ServerReflection>(listener: TcpListener, services: Services<R>, door: Door) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_ended) = connections.join_next() => continue,
        };
        match accepted {
            Ok((stream, from)) if connections.len() < CONNECTIONS_MAX => {
                connections.spawn(serve((stream, from.ip()), services.clone(), door.clone()));
            }
            Ok(_too_many) => debug!(target: "quelea::admin", "too many connections"),
            Err(error) => {
                warn!(target: "quelea::admin", %error, "cannot accept, accepting pauses");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve<R: ServerReflection>((stream, from): (TcpStream, IpAddr), services: Services<R>, door: Door) {
    // Small answers leave at once; where that cannot be said the connection is gone.
    let _gone = stream.set_nodelay(true);
    let stream = match timeout(ASK_WITHIN, door.around.put(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return debug!(target: "quelea::admin", %error, "a TLS handshake failed"),
        Err(_elapsed) => return,
    };
    let (bounds, asked) = door.bounds.of_connection();
    let service = TowerToHyperService::new(bounds.layer(door.guard.of_connection(from).layer(services)));
    let mut connection = pin!(http().serve_connection(TokioIo::new(stream), service));
    let asks = async {
        if timeout(ASK_WITHIN, asked.notified()).await.is_ok() {
            sleep(CONNECTION_TIMEOUT).await;
        }
    };
    tokio::select! {
        ended = connection.as_mut() => {
            if let Err(error) = ended {
                debug!(target: "quelea::admin", %error, "a connection ended");
            }
            return;
        }
        () = asks => {}
    }
    connection.as_mut().graceful_shutdown();
    let _given_up = timeout(LAST_WITHIN, connection).await;
}

fn http() -> Builder<TokioExecutor> {
    let mut http = Builder::new(TokioExecutor::new());
    http.timer(TokioTimer::new())
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEADERS_BYTES_MAX)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .max_pending_accept_reset_streams(RESETS_MAX)
        .max_local_error_reset_streams(RESETS_MAX)
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE_WITHIN)
        .auto_date_header(false);
    http
}

/// Says by the standard service what `/readyz` says; that the port answers says enough of the rest.
async fn tell_health(reporter: HealthReporter, readiness: Readiness) {
    loop {
        let status = if readiness.now().is_ok() { ServingStatus::Serving } else { ServingStatus::NotServing };
        reporter.set_service_status(READY, status).await;
        sleep(READY_EVERY).await;
    }
}

/// What is served.
struct Services<R: ServerReflection> {
    admin: AdminServer<Desk>,
    health: HealthServer<HealthService>,
    reflection: ServerReflectionServer<R>,
}

impl<R: ServerReflection> Clone for Services<R> {
    fn clone(&self) -> Self {
        let Self { admin, health, reflection } = self;
        Self { admin: admin.clone(), health: health.clone(), reflection: reflection.clone() }
    }
}

impl<R: ServerReflection> Service<Request<Incoming>> for Services<R> {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Answer>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        let service = request.uri().path().strip_prefix('/').and_then(|path| path.split('/').next());
        match service {
            Some("quelea.admin.v1.Admin") => self.admin.call(request),
            Some("grpc.health.v1.Health") => self.health.call(request),
            Some("grpc.reflection.v1.ServerReflection") => self.reflection.call(request),
            _ => {
                let unknown = Status::unimplemented("there is no such service");
                Box::pin(std::future::ready(Ok(unknown.into_http())))
            }
        }
    }
}
