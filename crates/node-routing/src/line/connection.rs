//! One HTTP/2 connection to another node: requests with this node's headers, a bounded number at a time. Made by `dial`,
//! used by the transport of groups and by the links. It notices by itself when the other end falls silent.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use http::{HeaderMap, Request, Response, Uri};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, Connection as Driver, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tonic::body::Body;

use crate::limits::Limits;
use crate::security::BoxIo;

/// Bytes of a frame: large enough that a large message is not cut into thousands.
pub(crate) const FRAME_BYTES: u32 = 64 << 10;
/// Bytes of all headers of a request or an answer.
pub(crate) const HEADERS_BYTES_MAX: u32 = 8 << 10;
/// Bytes of a stream that wait here for room on the connection.
pub(crate) const SEND_BUFFER_BYTES: usize = 1 << 20;

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It was closed or reset, or carried nonsense.
    Broken,
    /// Nothing came any more.
    Silent,
}

/// What drives a connection; dropped, it closes it.
pub(crate) struct Ending(JoinSet<End>);

impl Ending {
    /// Waits for the end of the connection.
    pub(crate) async fn wait(&mut self) -> End {
        self.0.join_next().await.and_then(Result::ok).unwrap_or(End::Broken)
    }
}

/// A way to send requests over a connection. Clones are the same.
#[derive(Clone)]
pub(crate) struct Connection {
    requests: SendRequest<Body>,
    headers: Arc<HeaderMap>,
    origin: Uri,
    streams: Arc<Semaphore>,
}

impl Connection {
    /// Speaks HTTP/2 over `io`. Nothing is known yet of who is at its other end.
    ///
    /// # Errors
    /// The connection broke at once.
    pub(crate) async fn begin(
        io: BoxIo,
        headers: Arc<HeaderMap>,
        limits: &Limits,
    ) -> hyper::Result<(Self, Ending)> {
        let streams = limits.streams_max as usize;
        let (requests, driver) = Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(limits.stream_window_bytes)
            .initial_connection_window_size(limits.connection_window_bytes)
            .initial_max_send_streams(streams)
            .max_concurrent_streams(0)
            .max_frame_size(FRAME_BYTES)
            .max_header_list_size(HEADERS_BYTES_MAX)
            .max_send_buf_size(SEND_BUFFER_BYTES)
            .keep_alive_interval(limits.keep_alive)
            .keep_alive_timeout(limits.keep_alive_within)
            .keep_alive_while_idle(true)
            .handshake(TokioIo::new(io))
            .await?;
        let mut tasks = JoinSet::new();
        tasks.spawn(drive(driver));
        let origin = Uri::from_static("http://quelea");
        let streams = Arc::new(Semaphore::new(streams));
        Ok((Self { requests, headers, origin, streams }, Ending(tasks)))
    }

    /// What the services' clients take for the address.
    pub(crate) fn origin(&self) -> Uri {
        self.origin.clone()
    }

    /// Leave for one request or stream; waits while there are too many.
    pub(crate) async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.streams).acquire_owned().await.ok()
    }
}

async fn drive(driver: Driver<TokioIo<BoxIo>, Body, TokioExecutor>) -> End {
    match driver.await {
        Err(error) if error.is_timeout() => End::Silent,
        _ => End::Broken,
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
        let headers = self.headers.iter().map(|(name, value)| (name.clone(), value.clone()));
        request.headers_mut().extend(headers);
        Box::pin(self.requests.send_request(request))
    }
}
