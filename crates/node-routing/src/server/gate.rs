//! The gate of a node: holds every request against who the node is before any service sees it. A tower layer around all
//! services of one connection; it reads headers and nothing else.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::{BoxFuture, Either, Ready, ready};
use http::{Request, Response};
use raft_consensus::network::Refusal;
use tokio::sync::Notify;
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

use super::Who;
use crate::counters::{Tally, count};
use crate::identity::{Sender, check_name};
use crate::refusal;
use crate::security::Who as Shown;

/// The one service for those who belong to no cluster.
const FOR_STRANGERS: &str = "/quelea.routing.v1.Join/";

/// Lets through what belongs here.
#[derive(Clone)]
pub(crate) struct Gate {
    /// `None` for a node that belongs to no cluster yet.
    pub(crate) who: Option<Who>,
    /// Who may ask on the connection.
    pub(crate) shown: Shown,
    pub(crate) tally: Arc<Tally>,
    /// Told when somebody has been let through.
    pub(crate) known: Arc<Notify>,
}

impl<S> Layer<S> for Gate {
    type Service = Gated<S>;

    fn layer(&self, inner: S) -> Gated<S> {
        Gated { gate: self.clone(), inner }
    }
}

/// Services behind the gate.
#[derive(Clone)]
pub(crate) struct Gated<S> {
    gate: Gate,
    inner: S,
}

/// Who asks, as the gate has found: beside each request that it has let through.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known(pub(crate) Sender);

type Answer = Result<Response<Body>, Infallible>;

impl<S, B> Service<Request<B>> for Gated<S>
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
    type Future = Either<Ready<Answer>, BoxFuture<'static, Answer>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        // Whoever asks only that is not known by it, and keeps no connection.
        if request.uri().path().starts_with(FOR_STRANGERS) {
            return Either::Right(self.inner.call(request));
        }
        let Some((identity, peers)) = &self.gate.who else {
            let none = Status::unavailable("this node belongs to no cluster yet");
            return Either::Left(ready(Ok(none.into_http())));
        };
        let checked = || {
            let peers = peers.borrow();
            let sender = identity.check(request.headers(), &peers)?;
            check_name(sender.node, &self.gate.shown, &peers)?;
            Ok(sender)
        };
        let checked: Result<Sender, Refusal> = checked();
        match checked {
            Ok(sender) => {
                self.gate.known.notify_one();
                request.extensions_mut().insert(Known(sender));
                Either::Right(self.inner.call(request))
            }
            Err(refusal) => {
                count(&self.gate.tally.peer_refusals, 1);
                tracing::debug!(%refusal, "refused a request at the port for nodes");
                Either::Left(ready(Ok(refusal::status(&refusal).into_http())))
            }
        }
    }
}
