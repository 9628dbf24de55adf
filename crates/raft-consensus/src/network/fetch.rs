//! The last checkpoint of another member, fetched by a node that has lost its own, and given to whoever asks. Used before
//! a group starts, by the repair of a node's storage; whoever gives it need not lead. What arrives damaged is no checkpoint.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use openraft::type_config::TypeConfigExt;

use super::client::Shared;
use super::receive::Arriving;
use super::replica::Replies;
use super::send::{ANSWER_WITHIN, Source};
use super::snapshots::Place;
use super::{Answers, Channel, Network, PeerTransport, Refusal, TransportError};
use crate::record::RecordError;
use crate::types::{NodeId, SnapshotMeta, Types};
use crate::wire::{Body, Request, Response};

/// A member has its whole checkpoint in a file before it answers; that takes no longer.
const EXPORT_WITHIN: Duration = Duration::from_secs(120);

/// Why a checkpoint was not fetched from a member. Another may have it, or the same later.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    /// The member cannot be reached, or has none.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// It answered something else.
    #[error(transparent)]
    Malformed(#[from] RecordError),
    /// What arrived is damaged, or cannot be written.
    #[error("{0}")]
    Damaged(Refusal),
    /// It answered to something else, or not to the end.
    #[error("it did not send a whole checkpoint")]
    Cut,
    /// The log here does not go on from that checkpoint.
    #[error("it has a checkpoint of entry {found}, and one of entry {least} at least is wanted")]
    Old {
        /// What it has.
        found: u64,
        /// What is needed.
        least: u64,
    },
}

/// A checkpoint that was fetched: whole and verified. Its file goes with it.
pub(crate) struct Fetched(Arriving);

impl Fetched {
    /// What it stands for.
    pub(crate) fn meta(&self) -> &SnapshotMeta {
        self.0.meta()
    }

    /// Where it is.
    pub(crate) fn path(&self) -> PathBuf {
        self.0.path()
    }
}

impl<T: PeerTransport> Network<T> {
    /// Fetches the last checkpoint of a member, if it is of entry `least` or a later one.
    ///
    /// # Errors
    /// [`FetchError`]; nothing is left of the attempt.
    pub(crate) async fn fetch<C: Types>(&self, from: NodeId, least: u64) -> Result<Fetched, FetchError> {
        let shared = self.shared();
        let mut answers = open::<C, T>(shared, from).await?;
        let Response::Offer(meta) = next::<C>(&mut answers, from, EXPORT_WITHIN).await? else {
            return Err(FetchError::Cut);
        };
        let found = meta.last_log_id.ok_or(FetchError::Cut)?.index;
        if found < least {
            return Err(FetchError::Old { found, least });
        }
        let Shared { group, disk, snapshots, .. } = shared;
        let place = Place { group: *group, disk: Arc::clone(disk), files: Arc::clone(snapshots) };
        let name = place.fetched();
        let mut arriving = Arriving::begin::<C>(meta, place, name).await.map_err(FetchError::Damaged)?;
        loop {
            match next::<C>(&mut answers, from, ANSWER_WITHIN).await? {
                Response::Chunk(chunk) => {
                    arriving.take::<C>(chunk).await.map_err(FetchError::Damaged)?;
                }
                Response::End(end) => {
                    arriving.check::<C>(end).await.map_err(FetchError::Damaged)?;
                    return Ok(Fetched(arriving));
                }
                _ => return Err(FetchError::Cut),
            }
        }
    }
}

async fn open<C: Types, T: PeerTransport>(
    shared: &Shared<T>,
    from: NodeId,
) -> Result<Answers, TransportError> {
    let request = Request::<C> { group: shared.group, to: from, body: Body::Fetch }.encode();
    // It stays open until all has arrived: the end of the requests would be the end of the answers.
    let requests = stream::once(std::future::ready(request)).chain(stream::pending()).boxed();
    shared.transport.open(from, Channel::Snapshot, requests, ANSWER_WITHIN).await
}

async fn next<C: Types>(
    answers: &mut Answers,
    from: NodeId,
    within: Duration,
) -> Result<Response<C>, FetchError> {
    match C::timeout(within, answers.next()).await {
        Ok(Some(answer)) => Ok(Response::decode(answer?)?),
        Ok(None) => Err(FetchError::Cut),
        Err(_elapsed) => Err(TransportError::Timeout { to: from, within }.into()),
    }
}

/// What is left to be told to whoever fetches.
enum Left {
    All(Place, u64),
    Chunks(Source),
    Nothing,
}

/// The last checkpoint of a group: what it stands for, its bytes, its end.
pub(super) fn serve<C: Types>(place: Place, number: u64) -> Replies {
    stream::unfold(Left::All(place, number), |left| async {
        let (answer, left) = match left {
            Left::All(place, number) => {
                let name = place.fetched_from(number);
                let exported = Source::export::<C>(place, name).await;
                exported.map(|(source, meta)| (Response::<C>::Offer(meta), Left::Chunks(source)))
            }
            Left::Chunks(mut source) => source.next::<C>().await.map(|chunk| match chunk {
                Some(chunk) => (Response::Chunk(chunk), Left::Chunks(source)),
                None => (Response::End(source.end()), Left::Nothing),
            }),
            Left::Nothing => return None,
        }
        .map_or_else(
            |error| (Err(Refusal::Snapshot(error.to_string())), Left::Nothing),
            |(answer, left)| (Ok(answer.encode()), left),
        );
        Some((answer, left))
    })
    .boxed()
}
