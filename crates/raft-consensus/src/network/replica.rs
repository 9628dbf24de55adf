//! The receiving side of one group: reads what another replica asks, has openraft do it, and writes the answer. Called
//! by the dispatcher, which finds the group; it decides nothing by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt, stream};
use openraft::Raft;
use openraft::errors::RaftError;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, StreamAppendError, StreamAppendResult};
use openraft::type_config::TypeConfigExt;
use parking_lot::Mutex;

use super::fetch::serve;
use super::receive::{Installing, Receiving};
use super::snapshots::Place;
use super::{Refusal, Requests};
use crate::machine::Machine;
use crate::record::RecordError;
use crate::state_machine::StateMachine;
use crate::types::Types;
use crate::wire::{Body, Request, Response};

/// Between two signs of life of a replica that installs a snapshot; a fraction of what its sender waits.
const SIGN_OF_LIFE: Duration = Duration::from_secs(1);

/// Answers of a group to a stream.
pub(super) type Replies = BoxStream<'static, Result<Bytes, Refusal>>;

/// A group, as far as the dispatcher knows one.
pub(super) trait Receives: Send + Sync {
    /// Does what one request asks.
    fn call(&self, request: Bytes) -> BoxFuture<'_, Result<Bytes, Refusal>>;

    /// Does what the requests of a stream ask.
    fn open(&self, requests: Requests) -> Replies;
}

/// A group on this node.
pub(super) struct Replica<C: Types, M: Machine> {
    raft: Raft<C, StateMachine<M>>,
    place: Place,
    /// The number of the newest attempt to send a snapshot here.
    attempts: Arc<AtomicU64>,
    /// How many times somebody fetched a checkpoint from here.
    fetches: Arc<AtomicU64>,
}

impl<C: Types, M: Machine> Clone for Replica<C, M> {
    fn clone(&self) -> Self {
        Self {
            raft: self.raft.clone(),
            place: self.place.clone(),
            attempts: Arc::clone(&self.attempts),
            fetches: Arc::clone(&self.fetches),
        }
    }
}

fn malformed(error: &RecordError) -> Refusal {
    Refusal::Malformed(error.to_string())
}

fn ended<C: Types>(_: RaftError<C>) -> Refusal {
    Refusal::Ended
}

fn out_of_place() -> Refusal {
    Refusal::Malformed("this request has no place here".to_owned())
}

impl<C: Types, M: Machine> Receives for Replica<C, M> {
    fn call(&self, request: Bytes) -> BoxFuture<'_, Result<Bytes, Refusal>> {
        async move {
            let request = Request::<C>::decode(request).map_err(|bad| malformed(&bad))?;
            Ok(self.answer(request.body).await?.encode())
        }
        .boxed()
    }

    fn open(&self, mut requests: Requests) -> Replies {
        let this = self.clone();
        let opening = async move {
            let Some(first) = requests.next().await else { return stream::empty().boxed() };
            match Request::<C>::decode(first).map(|first| first.body) {
                Ok(Body::Append(first)) => this.append_stream(first, requests),
                Ok(Body::Fetch) => serve::<C>(this.place, this.fetches.fetch_add(1, Ordering::Relaxed)),
                Ok(first) => this.snapshot_stream(first, requests),
                Err(bad) => stream::once(std::future::ready(Err(malformed(&bad)))).boxed(),
            }
        };
        stream::once(opening).flatten().boxed()
    }
}

impl<C: Types, M: Machine> Replica<C, M> {
    pub(super) fn new(raft: Raft<C, StateMachine<M>>, place: Place) -> Self {
        Self { raft, place, attempts: Arc::default(), fetches: Arc::default() }
    }

    async fn answer(&self, body: Body<C>) -> Result<Response<C>, Refusal> {
        let raft = &self.raft;
        Ok(match body {
            Body::Append(append) => Response::Append(self.append(append).await?),
            Body::Vote(request) => Response::Vote(raft.vote(request).await.map_err(ended)?),
            Body::PreVote(request) => Response::Vote(raft.pre_vote(request).await.map_err(ended)?),
            Body::TransferLeader(request) => {
                let done = raft.handle_transfer_leader(request).await.map_err(|_| Refusal::Ended)?;
                Response::TransferLeader(done)
            }
            Body::Snapshot(_) | Body::Chunk(_) | Body::End(_) | Body::Fetch => return Err(out_of_place()),
        })
    }

    async fn append(&self, append: AppendEntriesRequest<C>) -> Result<StreamAppendResult<C>, Refusal> {
        let prev = append.prev_log_id;
        let last = append.entries.last().map(|entry| entry.log_id).or(prev);
        Ok(match self.raft.append_entries(append).await.map_err(ended)? {
            AppendEntriesResponse::Success => Ok(last),
            AppendEntriesResponse::PartialSuccess(upto) => Ok(upto),
            AppendEntriesResponse::HigherVote(vote) => Err(StreamAppendError::HigherVote(vote)),
            AppendEntriesResponse::Conflict => {
                Err(StreamAppendError::Conflict(prev.ok_or_else(out_of_place)?))
            }
        })
    }

    /// Many requests on their way, answered in order. It ends with the first that cannot be read.
    fn append_stream(self, first: AppendEntriesRequest<C>, rest: Requests) -> Replies {
        let unread = Arc::new(Mutex::new(None));
        let noted = Arc::clone(&unread);
        let rest = rest.map(Request::<C>::decode).scan((), move |(), request| {
            let append = match request.map(|request| request.body) {
                Ok(Body::Append(append)) => Ok(append),
                Ok(_) => Err(out_of_place()),
                Err(bad) => Err(malformed(&bad)),
            };
            std::future::ready(append.map_err(|refusal| *noted.lock() = Some(refusal)).ok())
        });
        let requests = stream::once(std::future::ready(first)).chain(rest);
        let answers = self.raft.stream_append(requests).map(|done| match done {
            Ok(done) => Ok(Response::<C>::Append(done).encode()),
            Err(_fatal) => Err(Refusal::Ended),
        });
        let last = stream::once(async move { unread.lock().take() }).filter_map(std::future::ready);
        answers.chain(last.map(Err)).boxed()
    }

    /// A header, chunks and an end, each answered when it is done; the end by signs of life as well, until it is.
    fn snapshot_stream(self, first: Body<C>, rest: Requests) -> Replies {
        let begin = async move {
            let Body::Snapshot(header) = first else { return Err(out_of_place()) };
            Receiving::begin::<C>(header, self.place.clone(), Arc::clone(&self.attempts))
                .await
                .map(|begun| (Box::new(begun), self))
        };
        let begun = async move {
            match begin.await {
                Ok((receiving, this)) => {
                    let start = stream::once(std::future::ready(Ok(Response::<C>::Progress(0).encode())));
                    let going_on =
                        stream::unfold(Some(Step::Receiving(receiving, this, rest)), Self::next_chunk);
                    start.chain(going_on).boxed()
                }
                Err(refusal) => stream::once(std::future::ready(Err(refusal))).boxed(),
            }
        };
        stream::once(begun).flatten().boxed()
    }

    async fn next_chunk(step: Option<Step<C, M>>) -> Option<(Result<Bytes, Refusal>, Option<Step<C, M>>)> {
        let (mut receiving, this, mut rest) = match step? {
            Step::Receiving(receiving, this, rest) => (receiving, this, rest),
            Step::Installing(received, done) => return Some(installing::<C, M>(received, done).await),
        };
        let request = Request::<C>::decode(rest.next().await?);
        match request.map(|request| request.body) {
            Ok(Body::Chunk(chunk)) => match receiving.take::<C>(chunk).await {
                Ok(received) => {
                    let progress = Response::<C>::Progress(received).encode();
                    Some((Ok(progress), Some(Step::Receiving(receiving, this, rest))))
                }
                Err(refusal) => Some((Err(refusal), None)),
            },
            Ok(Body::End(end)) => {
                let length = end.length;
                Some(installing::<C, M>(length, receiving.finish(end, this.raft)).await)
            }
            Ok(_) => Some((Err(out_of_place()), None)),
            Err(bad) => Some((Err(malformed(&bad)), None)),
        }
    }
}

/// What a stream of a snapshot is at.
enum Step<C: Types, M: Machine> {
    Receiving(Box<Receiving>, Replica<C, M>, Requests),
    /// So many bytes, all there are, are being installed.
    Installing(u64, Installing),
}

/// The outcome of installing, or a sign of life where that takes longer: the other end cannot tell a disk that is slow
/// from a connection that is dead.
async fn installing<C: Types, M: Machine>(
    received: u64,
    mut done: Installing,
) -> (Result<Bytes, Refusal>, Option<Step<C, M>>) {
    match C::timeout(SIGN_OF_LIFE, &mut done).await {
        Ok(Ok(done)) => (done.map(|vote| Response::<C>::Snapshot(vote).encode()), None),
        Ok(Err(_ended)) => (Err(Refusal::Ended), None),
        Err(_elapsed) => {
            (Ok(Response::<C>::Progress(received).encode()), Some(Step::Installing(received, done)))
        }
    }
}
