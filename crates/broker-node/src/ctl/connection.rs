//! The way from `quelea ctl` to the admin API of a node: one HTTP/2 connection, to the first node that answers. It is made once;
//! where it breaks, whoever asked is told.

use std::fmt;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::header::AUTHORIZATION;
use http::{HeaderValue, Request, Response, Uri};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic::body::Body;
use tonic::{Code, Status};

use super::secure::Secure;
use crate::admin::proto::admin_client::AdminClient;

/// How long a node may take to accept a connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// Bytes of an answer at most: a thousand nodes with their groups.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// The admin API of a node.
pub(super) struct Api {
    /// Its calls.
    pub(super) client: AdminClient<Connection>,
    nodes: Vec<String>,
    secure: Secure,
}

/// Why nothing came of it.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    /// No node answers; each that was asked, and why.
    #[error("no node answers at its admin port: {}", .0.join("; "))]
    Unreachable(Vec<String>),
    /// The node says so.
    #[error("{}", in_words(.0))]
    Refused(Box<Status>),
}

impl From<Status> for Failed {
    fn from(status: Status) -> Self {
        Self::Refused(Box::new(status))
    }
}

fn in_words(status: &Status) -> String {
    match status.code() {
        // Nothing was said but the cause.
        Code::Unknown | Code::Internal => format!("{status}"),
        _ => status.message().to_owned(),
    }
}

impl Failed {
    /// Whether no node answered.
    pub(super) fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable(_))
    }
}

impl Api {
    /// Connects to the first of these that answers.
    ///
    /// # Errors
    /// None does.
    pub(super) async fn connect(nodes: Vec<String>, secure: Secure) -> Result<Self, Failed> {
        let client = first(&nodes, &secure).await?;
        Ok(Self { client, nodes, secure })
    }

    /// Connects anew, as at first: a node ends each connection after a few minutes.
    ///
    /// # Errors
    /// None of the nodes answers.
    pub(super) async fn again(&mut self) -> Result<(), Failed> {
        self.client = first(&self.nodes, &self.secure).await?;
        Ok(())
    }
}

/// The first of these that answers.
async fn first(nodes: &[String], secure: &Secure) -> Result<AdminClient<Connection>, Failed> {
    let mut failures = Vec::new();
    for node in nodes {
        match timeout(CONNECT_WITHIN, attempt(node, secure)).await {
            Ok(Ok(connection)) => {
                let origin = Uri::from_static("http://quelea");
                let client = AdminClient::with_origin(connection, origin);
                return Ok(client.max_decoding_message_size(ANSWER_BYTES_MAX));
            }
            Ok(Err(why)) => failures.push(format!("{node}: {why}")),
            Err(_elapsed) => failures.push(format!("{node}: it is silent")),
        }
    }
    Err(Failed::Unreachable(failures))
}

async fn attempt(node: &str, secure: &Secure) -> Result<Connection, Box<dyn std::error::Error>> {
    let stream = TcpStream::connect(node).await?;
    stream.set_nodelay(true)?;
    let stream = secure.around(stream, node).await?;
    let (mut requests, driver) = Builder::new(TokioExecutor::new()).handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async move {
        if let Err(error) = driver.await {
            tracing::debug!(%error, "the connection to the admin API ended");
        }
    });
    // Whoever closes at once, as a port with too many connections does, does not answer.
    requests.ready().await?;
    Ok(Connection { requests, authorization: secure.authorization.clone() })
}

/// A connection to a node.
#[derive(Clone)]
pub(super) struct Connection {
    requests: SendRequest<Body>,
    /// What each request carries.
    authorization: Option<HeaderValue>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connection")
    }
}

impl tower::Service<Request<Body>> for Connection {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = BoxFuture<'static, Result<Response<Incoming>, hyper::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.requests.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let shown = self.authorization.iter().map(|value| (AUTHORIZATION, value.clone()));
        request.headers_mut().extend(shown);
        Box::pin(self.requests.send_request(request))
    }
}
