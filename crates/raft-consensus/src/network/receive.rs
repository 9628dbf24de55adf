//! Receives a snapshot into a file and has it installed. Used by the replica that a stream of a snapshot came to, and by
//! a node that fetches what it lost. What is damaged, or was begun anew meanwhile, is never installed: an error of installing is the end of the group.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use openraft::Raft;
use openraft::type_config::TypeConfigExt;
use tokio::sync::oneshot;

use super::Refusal;
use super::snapshots::{Passing, Place, blocking};
use crate::disk::DiskFile;
use crate::machine::Machine;
use crate::snapshot::{Snapshot, SnapshotData};
use crate::state_machine::StateMachine;
use crate::types::{SnapshotMeta, Types, Vote};
use crate::wire::{Chunk, End, Header};

/// A snapshot while it arrives, whoever sends it.
pub(super) struct Arriving {
    meta: SnapshotMeta,
    place: Place,
    passing: Passing,
    file: Arc<dyn DiskFile>,
    received: u64,
    checksum: crc32fast::Hasher,
}

/// A snapshot that a leader sends.
pub(super) struct Receiving {
    vote: Vote,
    arriving: Arriving,
    /// Which attempt this is, and which is the newest: only that may go on.
    attempt: (u64, Arc<AtomicU64>),
}

/// Tells what becomes of a snapshot that has arrived.
pub(super) type Installing = oneshot::Receiver<Result<Vote, Refusal>>;

fn refused(error: io::Error) -> Refusal {
    Refusal::Snapshot(error.to_string())
}

fn damaged(what: impl Into<String>) -> Refusal {
    Refusal::Snapshot(what.into())
}

impl Arriving {
    /// Begins, with an empty file of this name.
    ///
    /// # Errors
    /// The file cannot be made.
    pub(super) async fn begin<C: Types>(
        meta: SnapshotMeta,
        place: Place,
        name: String,
    ) -> Result<Self, Refusal> {
        let at = place.clone();
        let made = blocking::<C, _>(move || {
            at.disk.create_dir(&at.folder())?;
            let passing = Passing::new(Arc::clone(&at.disk), name);
            let file = at.disk.create(passing.name())?;
            Ok((file, passing))
        });
        let (file, passing) = made.await.map_err(refused)?;
        Ok(Self { meta, place, passing, file, received: 0, checksum: crc32fast::Hasher::new() })
    }

    /// Takes the next bytes; says how many there are now.
    ///
    /// # Errors
    /// They do not follow the last ones, or cannot be written.
    pub(super) async fn take<C: Types>(&mut self, chunk: Chunk) -> Result<u64, Refusal> {
        if chunk.offset != self.received {
            return Err(damaged(format!("a chunk is at {} instead of {}", chunk.offset, self.received)));
        }
        self.checksum.update(&chunk.data);
        self.received += chunk.data.len() as u64;
        let file = Arc::clone(&self.file);
        let written = blocking::<C, _>(move || file.write_at(&chunk.data, chunk.offset));
        written.await.map_err(refused)?;
        Ok(self.received)
    }

    /// Checks and syncs what arrived.
    ///
    /// # Errors
    /// It is damaged, or does not stand for what was said.
    pub(super) async fn check<C: Types>(&self, end: End) -> Result<(), Refusal> {
        if end != (End { length: self.received, checksum: self.checksum.clone().finalize() }) {
            return Err(damaged("its length or checksum does not fit"));
        }
        let (file, place, name) =
            (Arc::clone(&self.file), self.place.clone(), self.passing.name().to_owned());
        let meta = blocking::<C, SnapshotMeta>(move || {
            file.fdatasync()?;
            place.disk.sync_dir(&place.folder())?;
            place.files.verify(&name)
        });
        if meta.await.map_err(refused)? != self.meta {
            return Err(damaged("it does not stand for what its header says"));
        }
        Ok(())
    }

    /// What it stands for.
    pub(super) fn meta(&self) -> &SnapshotMeta {
        &self.meta
    }

    /// Where it is, until this is dropped.
    pub(super) fn path(&self) -> PathBuf {
        self.place.files.path(self.passing.name())
    }
}

impl Receiving {
    /// Begins, and ends every earlier attempt.
    ///
    /// # Errors
    /// The file cannot be made.
    pub(super) async fn begin<C: Types>(
        Header { vote, meta }: Header,
        place: Place,
        newest: Arc<AtomicU64>,
    ) -> Result<Self, Refusal> {
        let number = newest.fetch_add(1, Ordering::AcqRel) + 1;
        let name = place.incoming(number);
        let arriving = Arriving::begin::<C>(meta, place, name).await?;
        Ok(Self { vote, arriving, attempt: (number, newest) })
    }

    fn check_newest(&self) -> Result<(), Refusal> {
        let (number, newest) = &self.attempt;
        if newest.load(Ordering::Acquire) == *number { Ok(()) } else { Err(damaged("it was begun anew")) }
    }

    /// Takes the next bytes; says how many there are now.
    ///
    /// # Errors
    /// They do not follow the last ones, or cannot be written.
    pub(super) async fn take<C: Types>(&mut self, chunk: Chunk) -> Result<u64, Refusal> {
        self.check_newest()?;
        self.arriving.take::<C>(chunk).await
    }

    /// Checks and syncs what arrived, and has it installed, whether or not the other end is still there: the file is
    /// not taken from under a group that reads it. Gives the group's vote, or says that it is damaged, does not stand
    /// for what was said, or that the group has ended.
    pub(super) fn finish<C, M>(self, end: End, raft: Raft<C, StateMachine<M>>) -> Installing
    where
        C: Types,
        M: Machine,
    {
        let (done, installing) = oneshot::channel();
        let _detached = C::spawn(async move {
            let _ = done.send(self.install(end, &raft).await);
        });
        installing
    }

    async fn install<C, M>(self, end: End, raft: &Raft<C, StateMachine<M>>) -> Result<Vote, Refusal>
    where
        C: Types,
        M: Machine,
    {
        self.arriving.check::<C>(end).await?;
        self.check_newest()?;
        let snapshot = SnapshotData::Received(self.arriving.path());
        let snapshot = Snapshot { meta: self.arriving.meta().clone(), snapshot };
        let installed = raft.install_full_snapshot(self.vote, snapshot).await;
        // The file is needed until here.
        drop(self);
        Ok(installed.map_err(|_| Refusal::Ended)?.vote)
    }
}
