//! Sends a group's last checkpoint to a replica: writes it to a file, streams the file in chunks of 1 MiB, and waits
//! until it is installed. Used by the client of snapshots. Dropping it ends the transfer, and removes the file.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use openraft::errors::{NetworkError, RPCError, StreamingError, Unreachable};
use openraft::type_config::TypeConfigExt;
use tokio::sync::mpsc;

use super::client::{Errors, Shared, beside_the_point, network};
use super::snapshots::{Passing, Place, blocking};
use super::{Answers, Channel, PeerTransport};
use crate::disk::DiskFile;
use crate::types::{NodeId, SnapshotMeta, Types, Vote};
use crate::wire::{Body, Chunk, End, Header, Request, Response};

/// Bytes of a chunk.
pub(super) const CHUNK_BYTES: usize = 1 << 20;
/// Chunks on their way at most.
const WINDOW: usize = 4;
/// An answer, the next chunk, or a sign of life while a whole snapshot is synced, checked and installed, takes no longer.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Signs of life that are waited for: two minutes of installing.
const SIGNS_OF_LIFE_MAX: u32 = 120;

/// One transfer.
pub(super) struct Sending<'a, C: Types, T> {
    shared: &'a Shared<T>,
    target: NodeId,
    errors: Errors,
    types: std::marker::PhantomData<fn() -> C>,
}

/// A checkpoint as a file that is sent, as far as it was read.
pub(super) struct Source {
    file: Arc<dyn DiskFile>,
    length: u64,
    offset: u64,
    checksum: crc32fast::Hasher,
    _passing: Passing,
}

/// The stream, and how many answers it owes.
struct Link {
    requests: mpsc::Sender<Bytes>,
    answers: Answers,
    owed: VecDeque<u64>,
}

impl<'a, C: Types, T: PeerTransport> Sending<'a, C, T> {
    pub(super) fn new(shared: &'a Shared<T>, target: NodeId, errors: Errors) -> Self {
        Self { shared, target, errors, types: std::marker::PhantomData }
    }

    /// Sends the snapshot in the name of a leader; gives the vote of the replica, which is higher where it refused.
    ///
    /// # Errors
    /// The checkpoint cannot be read, or the replica cannot be reached, or it refused what arrived.
    pub(super) async fn run(self, vote: Vote) -> Result<Vote, StreamingError<C>> {
        let (mut source, meta) = self.source().await.map_err(|error| {
            tracing::error!(group = self.shared.group.0, %error, "cannot make a snapshot of the checkpoint");
            Unreachable::new(&error)
        })?;
        let mut link = self.link().await?;
        self.send(&mut link, Body::Snapshot(Header { vote, meta })).await?;
        while let Some(chunk) = source.next::<C>().await.map_err(|error| network(&error))? {
            self.send(&mut link, Body::Chunk(chunk)).await?;
        }
        while !link.owed.is_empty() {
            self.progress(&mut link).await?;
        }
        self.push(&link.requests, Body::End(source.end())).await?;
        for _ in 0..=SIGNS_OF_LIFE_MAX {
            match self.answer(&mut link).await? {
                Response::Snapshot(vote) => return Ok(vote),
                Response::Progress(received) if received == source.length => {}
                _ => break,
            }
        }
        Err(beside_the_point().into())
    }

    async fn source(&self) -> io::Result<(Source, SnapshotMeta)> {
        let Shared { group, disk, snapshots, .. } = self.shared;
        let place = Place { group: *group, disk: Arc::clone(disk), files: Arc::clone(snapshots) };
        let name = place.outgoing(self.target);
        Source::export::<C>(place, name).await
    }

    async fn link(&self) -> Result<Link, RPCError<C>> {
        let (requests, taken) = mpsc::channel(1);
        let taken = futures_util::stream::unfold(taken, async |mut taken| {
            let next = taken.recv().await?;
            Some((next, taken))
        });
        let opening =
            self.shared.transport.open(self.target, Channel::Snapshot, taken.boxed(), ANSWER_WITHIN);
        let answers = opening.await.map_err(|error| self.errors.of(error))?;
        Ok(Link { requests, answers, owed: VecDeque::new() })
    }

    /// Sends what is answered by how much has arrived, with a few of these on their way.
    async fn send(&self, link: &mut Link, body: Body<C>) -> Result<(), RPCError<C>> {
        if link.owed.len() >= WINDOW {
            self.progress(link).await?;
        }
        let arrived = match &body {
            Body::Chunk(chunk) => chunk.offset + chunk.data.len() as u64,
            _ => 0,
        };
        link.owed.push_back(arrived);
        self.push(&link.requests, body).await
    }

    async fn push(&self, requests: &mpsc::Sender<Bytes>, body: Body<C>) -> Result<(), RPCError<C>> {
        let request = Request { group: self.shared.group, to: self.target, body }.encode();
        match C::timeout(ANSWER_WITHIN, requests.send(request)).await {
            // Where the stream has ended the answers say why.
            Ok(_) => Ok(()),
            Err(_elapsed) => Err(self.errors.timeout(ANSWER_WITHIN).into()),
        }
    }

    async fn progress(&self, link: &mut Link) -> Result<(), RPCError<C>> {
        let expected = link.owed.pop_front();
        match self.answer(link).await? {
            Response::Progress(received) if Some(received) == expected => Ok(()),
            _ => Err(beside_the_point().into()),
        }
    }

    async fn answer(&self, link: &mut Link) -> Result<Response<C>, RPCError<C>> {
        match C::timeout(ANSWER_WITHIN, link.answers.next()).await {
            Ok(Some(Ok(answer))) => Response::decode(answer).map_err(|bad| network(&bad).into()),
            Ok(Some(Err(error))) => Err(self.errors.of(error)),
            Ok(None) => Err(NetworkError::from_string("the stream ended early").into()),
            Err(_elapsed) => Err(self.errors.timeout(ANSWER_WITHIN).into()),
        }
    }
}

impl Source {
    /// Writes the group's last checkpoint to a file of this name; says what it stands for.
    ///
    /// # Errors
    /// There is none, it is damaged, or the file cannot be written.
    pub(super) async fn export<C: Types>(place: Place, name: String) -> io::Result<(Self, SnapshotMeta)> {
        blocking::<C, _>(move || {
            place.disk.create_dir(&place.folder())?;
            let passing = Passing::new(Arc::clone(&place.disk), name);
            let meta = place.files.export(place.group, passing.name())?;
            let file = place.disk.open(passing.name())?;
            let (length, checksum) = (file.size()?, crc32fast::Hasher::new());
            Ok((Self { file, length, offset: 0, checksum, _passing: passing }, meta))
        })
        .await
    }

    /// What ends it, once all of it was read.
    pub(super) fn end(&self) -> End {
        End { length: self.length, checksum: self.checksum.clone().finalize() }
    }

    /// The next bytes.
    ///
    /// # Errors
    /// They cannot be read.
    pub(super) async fn next<C: Types>(&mut self) -> io::Result<Option<Chunk>> {
        let offset = self.offset;
        let left = usize::try_from(self.length - offset).unwrap_or(usize::MAX);
        if left == 0 {
            return Ok(None);
        }
        let file = Arc::clone(&self.file);
        let data = blocking::<C, _>(move || {
            let mut data = vec![0; left.min(CHUNK_BYTES)];
            file.read_at(&mut data, offset)?;
            Ok(Bytes::from(data))
        })
        .await?;
        self.checksum.update(&data);
        self.offset += data.len() as u64;
        Ok(Some(Chunk { offset, data }))
    }
}
