//! Appending entries by a stream: many requests on their way, their answers in order. Used by the client of
//! replication. It holds back what would be too much on its way, and gives up a stream on which nothing moves.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt, stream};
use openraft::OptionalSend;
use openraft::errors::{NetworkError, RPCError};
use openraft::network::RPCOption;
use openraft::raft::{AppendEntriesRequest, StreamAppendResult};
use openraft::type_config::TypeConfigExt;
use openraft::type_config::alias::InstantOf;

use super::client::{Errors, beside_the_point, network};
use super::window::Window;
use super::{Answers, Channel, PeerTransport, Requests, TransportError};
use crate::types::{NodeId, Types};
use crate::wire::Response;

/// So many times the time of a call may pass without an answer to what was sent: a follower's disk may be slow, but a
/// connection that went silent has to be noticed.
const IDLE_FACTOR: u32 = 10;

type Item<C> = Result<StreamAppendResult<C>, RPCError<C>>;

/// Opens the stream; the answers end with the input, or with the first that is not a plain yes.
pub(super) async fn open<'s, C, T, S>(
    (transport, target): (&T, NodeId),
    mut input: S,
    encode: impl Fn(AppendEntriesRequest<C>) -> Bytes + Send + Sync + 'static,
    (errors, option): (Errors, RPCOption),
) -> Result<BoxStream<'s, Item<C>>, RPCError<C>>
where
    C: Types,
    T: PeerTransport,
    S: Stream<Item = AppendEntriesRequest<C>> + OptionalSend + Unpin + 'static,
{
    // Before a node that could not be reached is tried again openraft waits, but only where it is asked for a request.
    let Some(first) = input.next().await else { return Ok(stream::empty().boxed()) };
    let input = stream::once(std::future::ready(first)).chain(input);
    let window = Arc::new(Window::new());
    let requests = requests(input, encode, Arc::clone(&window));
    let within = option.soft_ttl();
    let answers = transport.open(target, Channel::Replication, requests, within).await;
    let answers = answers.map_err(|error| errors.of(error))?;
    let reading = Reading { answers, window, idle: within * IDLE_FACTOR, errors };
    Ok(stream::unfold(Some(reading), Reading::next).boxed())
}

fn requests<C, S>(
    input: S,
    encode: impl Fn(AppendEntriesRequest<C>) -> Bytes + Send + Sync + 'static,
    window: Arc<Window<InstantOf<C>>>,
) -> Requests
where
    C: Types,
    S: Stream<Item = AppendEntriesRequest<C>> + OptionalSend + Unpin + 'static,
{
    stream::unfold((input, encode, window), async |(mut input, encode, window)| {
        let next = async {
            let request = encode(input.next().await?);
            window.enter(request.len(), C::now).await;
            Some(request)
        };
        // What waits for the next entries must not outlive the answers: the next stream would wait for it.
        let request = tokio::select! {
            biased;
            () = window.closed() => None,
            request = next => request,
        };
        if request.is_none() {
            window.end();
        }
        request.map(|request| (request, (input, encode, window)))
    })
    .boxed()
}

/// The answers, as far as they were read.
struct Reading<C: Types> {
    answers: Answers,
    window: Arc<Window<InstantOf<C>>>,
    idle: Duration,
    errors: Errors,
}

impl<C: Types> Drop for Reading<C> {
    fn drop(&mut self) {
        self.window.close();
    }
}

impl<C: Types> Reading<C> {
    async fn next(reading: Option<Self>) -> Option<(Item<C>, Option<Self>)> {
        let mut reading = reading?;
        let item = reading.answer().await?;
        let go_on = matches!(item, Ok(Ok(_)));
        Some((item, go_on.then_some(reading)))
    }

    async fn answer(&mut self) -> Option<Item<C>> {
        loop {
            if self.window.is_done() {
                return None;
            }
            match C::timeout(self.idle, self.answers.next()).await {
                Ok(Some(answer)) => return Some(self.read(answer)),
                Ok(None) if self.window.oldest().is_none() => return None,
                Ok(None) => return Some(Err(NetworkError::from_string("the stream ended early").into())),
                Err(_elapsed) if self.is_stuck() => return Some(Err(self.errors.timeout(self.idle).into())),
                Err(_elapsed) => {}
            }
        }
    }

    fn read(&self, answer: Result<Bytes, TransportError>) -> Item<C> {
        let answer = answer.map_err(|error| self.errors.of(error))?;
        match Response::decode(answer).map_err(|bad| network(&bad))? {
            Response::Append(done) if self.window.leave() => Ok(done),
            _ => Err(beside_the_point().into()),
        }
    }

    /// Whether something waits for its answer for too long. Time without a request does not count.
    fn is_stuck(&self) -> bool {
        self.window.oldest().is_some_and(|sent| C::now() >= sent + self.idle)
    }
}

#[cfg(test)]
mod tests;
