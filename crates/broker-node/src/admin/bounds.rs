//! What every request at the admin port passes: a bound on how many are answered at once, beyond which they are refused, and a
//! deadline. A tower layer around all services; it reads nothing of a request but that it is there.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::{Request, Response};
use tokio::sync::{Notify, Semaphore};
use tokio::time::timeout;
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

/// Requests that are answered at once, on all connections.
const REQUESTS_MAX: usize = 32;
/// What a request takes at most until its answer begins.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// The bounds of all connections. Clones share them.
#[derive(Clone)]
pub(super) struct Bounds {
    permits: Arc<Semaphore>,
    /// Told of each request of one connection.
    asked: Arc<Notify>,
}

impl Bounds {
    /// Of a port.
    pub(super) fn new() -> Self {
        Self { permits: Arc::new(Semaphore::new(REQUESTS_MAX)), asked: Arc::default() }
    }

    /// Of one of its connections, with word of its requests.
    pub(super) fn of_connection(&self) -> (Self, Arc<Notify>) {
        let asked = Arc::new(Notify::new());
        (Self { permits: Arc::clone(&self.permits), asked: Arc::clone(&asked) }, asked)
    }
}

impl<S> Layer<S> for Bounds {
    type Service = Bounded<S>;

    fn layer(&self, inner: S) -> Bounded<S> {
        Bounded { bounds: self.clone(), inner }
    }
}

/// Services behind the bounds.
#[derive(Clone)]
pub(super) struct Bounded<S> {
    bounds: Bounds,
    inner: S,
}

/// What comes of a request.
pub(super) type Answer = Result<Response<Body>, Infallible>;

impl<S, B> Service<Request<B>> for Bounded<S>
where
    S: Service<
            Request<B>,
            Response = Response<Body>,
            Error = Infallible,
            Future = BoxFuture<'static, Answer>,
        >,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Answer>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        self.bounds.asked.notify_one();
        let Ok(permit) = Arc::clone(&self.bounds.permits).try_acquire_owned() else {
            let full = Status::resource_exhausted("too many requests at once: try again");
            return Box::pin(std::future::ready(Ok(full.into_http())));
        };
        let answer = self.inner.call(request);
        Box::pin(async move {
            let _permit = permit;
            let late =
                || Ok(Status::deadline_exceeded("it took too long, and may have its effect yet").into_http());
            timeout(ANSWER_WITHIN, answer).await.unwrap_or_else(|_elapsed| late())
        })
    }
}
