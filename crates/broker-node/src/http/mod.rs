//! The HTTP port: `/metrics`, `/healthz`, `/readyz`, for Prometheus and for whatever supervises the node.
//! `node` starts it with the functions that make the answers. It changes nothing and never waits for the broker.

#[cfg(test)]
mod tests;

use crate::{
    config::ListenAddress,
    listener::{BindError, bind_tcp},
    stop::Stop,
};
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{ALLOW, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{convert::Infallible, fmt, io, net, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::{sleep, timeout},
};
use tracing::{debug, info, warn};

/// HTTP connections at once; more wait in the kernel.
pub(crate) const CONNECTIONS_MAX: usize = 64;
/// From accept, or the last answer, to the end of the next request's headers.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// The life of a connection, whatever it does.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(300);
/// Bytes of request line and headers.
const HEADERS_BYTES_MAX: usize = 8192;
/// How long accepting pauses when it fails.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);
/// The text format of Prometheus.
const METRICS_TYPE: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
const TEXT_TYPE: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// What the endpoints answer.
#[derive(Clone)]
pub(crate) struct Endpoints {
    /// The text of `/metrics`.
    pub(crate) metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// Why the node does not serve clients, if it does not: `/readyz` says 200, or 503 and this.
    pub(crate) ready: Arc<dyn Fn() -> Result<(), String> + Send + Sync>,
}

impl fmt::Debug for Endpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Endpoints")
    }
}

/// Why the HTTP port could not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// The socket cannot be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The system refuses a descriptor.
    #[error("cannot start the HTTP port: {0}")]
    System(#[from] io::Error),
}

/// Binds `address` and serves until the node stops; the tasks end then. Needs the main runtime.
///
/// # Errors
/// Where a socket cannot be bound.
pub(crate) fn start(
    address: &ListenAddress,
    endpoints: &Endpoints,
    stop: &Stop,
) -> Result<JoinSet<()>, StartError> {
    Ok(start_on(bind_tcp("http", address)?, endpoints, stop)?)
}

fn start_on(sockets: Vec<net::TcpListener>, endpoints: &Endpoints, stop: &Stop) -> io::Result<JoinSet<()>> {
    let mut tasks = JoinSet::new();
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    for socket in sockets {
        info!(target: "quelea::http", listener = "http", protocol = "http", address = %socket.local_addr()?, "listening");
        let server = Server { endpoints: endpoints.clone(), slots: Arc::clone(&slots), stop: stop.clone() };
        tasks.spawn(server.run(TcpListener::from_std(socket)?));
    }
    Ok(tasks)
}

struct Server {
    endpoints: Endpoints,
    slots: Arc<Semaphore>,
    stop: Stop,
}

impl Server {
    async fn run(self, socket: TcpListener) {
        let mut stop = self.stop.clone();
        tokio::select! {
            () = self.accept(socket) => {}
            () = stop.requested() => {}
        }
    }

    async fn accept(self, socket: TcpListener) {
        let mut failing = false;
        loop {
            let Ok(permit) = Arc::clone(&self.slots).acquire_owned().await else { return };
            match socket.accept().await {
                Ok((stream, _)) => {
                    failing = false;
                    tokio::spawn(serve(stream, self.endpoints.clone(), self.stop.clone(), permit));
                }
                Err(error) => {
                    if !failing {
                        warn!(target: "quelea::http", %error, "cannot accept, accepting pauses");
                    }
                    failing = true;
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

async fn serve(stream: TcpStream, endpoints: Endpoints, mut stop: Stop, _permit: OwnedSemaphorePermit) {
    let service = service_fn(move |request| {
        let response = answer(&request, &endpoints);
        async { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HEADERS_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        ended = timeout(CONNECTION_TIMEOUT, connection) => {
            if let Ok(Err(error)) = ended {
                debug!(target: "quelea::http", %error, "connection failed");
            }
        }
        () = stop.requested() => {}
    }
}

fn answer(request: &Request<Incoming>, endpoints: &Endpoints) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match request.uri().path() {
        "/metrics" => {
            let mut response = text(StatusCode::OK, (endpoints.metrics)());
            response.headers_mut().insert(CONTENT_TYPE, METRICS_TYPE);
            response
        }
        // Whoever can answer this is alive; it depends on nothing else, so that no supervisor restarts a healthy node.
        "/healthz" => text(StatusCode::OK, "ok\n"),
        "/readyz" => match (endpoints.ready)() {
            Ok(()) => text(StatusCode::OK, "ready\n"),
            Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n")),
        },
        _ => text(StatusCode::NOT_FOUND, "not found: there are /metrics, /healthz and /readyz\n"),
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, TEXT_TYPE);
    response
}
