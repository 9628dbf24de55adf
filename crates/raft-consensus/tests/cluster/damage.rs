//! What goes wrong with snapshots on their way: bits that flip, chunks that do not arrive, files that are damaged before
//! they are sent. Put around a node's transport and files by `cluster.rs`; it does nothing that no test has asked for.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use raft_consensus::network::{
    Answers, Channel, PeerTransport, Requests, SnapshotFiles, StoreSnapshots, TransportError,
};
use raft_consensus::types::{NodeId, SnapshotMeta};
use raft_consensus::wal::GroupId;

/// What is still to go wrong with snapshots on their way.
#[derive(Debug, Default)]
pub(crate) struct Damage {
    /// Chunks in which a bit flips.
    pub(crate) flips: AtomicUsize,
    /// Chunks that do not arrive.
    pub(crate) losses: AtomicUsize,
    /// Files in which a bit flips on the disk of whoever sends them.
    pub(crate) files: AtomicUsize,
    /// Files of which the end is missing there.
    pub(crate) ends: AtomicUsize,
}

impl Damage {
    fn due(left: &AtomicUsize) -> bool {
        left.try_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }

    /// A message of a transfer, as it arrives.
    fn passed(&self, message: Bytes) -> Option<Bytes> {
        if message.len() < 200 {
            return Some(message);
        }
        if Self::due(&self.losses) {
            return None;
        }
        if !Self::due(&self.flips) {
            return Some(message);
        }
        let mut bytes = message.to_vec();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        Some(bytes.into())
    }

    pub(crate) fn left(&self) -> usize {
        let all = [&self.flips, &self.losses, &self.files, &self.ends];
        all.map(|left| left.load(Ordering::Relaxed)).iter().sum()
    }
}

/// A transport that damages some chunks of snapshots.
pub(crate) struct Damaging<T> {
    pub(crate) transport: T,
    pub(crate) damage: Arc<Damage>,
}

/// Files of snapshots, of which some are damaged before they are sent.
pub(crate) struct DamagedFiles {
    pub(crate) files: StoreSnapshots,
    pub(crate) damage: Arc<Damage>,
}

impl SnapshotFiles for DamagedFiles {
    fn export(&self, group: GroupId, name: &str) -> io::Result<SnapshotMeta> {
        let meta = self.files.export(group, name)?;
        let path = self.path(name);
        let mut bytes = std::fs::read(&path)?;
        if Damage::due(&self.damage.files) {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        }
        if Damage::due(&self.damage.ends) {
            bytes.truncate(bytes.len() / 2);
        }
        std::fs::write(&path, bytes)?;
        Ok(meta)
    }

    fn verify(&self, name: &str) -> io::Result<SnapshotMeta> {
        self.files.verify(name)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.files.path(name)
    }
}

impl<T: PeerTransport> PeerTransport for Damaging<T> {
    async fn call(
        &self,
        to: NodeId,
        channel: Channel,
        request: Bytes,
        within: Duration,
    ) -> Result<Bytes, TransportError> {
        self.transport.call(to, channel, request, within).await
    }

    async fn open(
        &self,
        to: NodeId,
        channel: Channel,
        requests: Requests,
        within: Duration,
    ) -> Result<Answers, TransportError> {
        if channel != Channel::Snapshot {
            return self.transport.open(to, channel, requests, within).await;
        }
        let (there, back) = (Arc::clone(&self.damage), Arc::clone(&self.damage));
        let requests = requests.filter_map(move |chunk| std::future::ready(there.passed(chunk))).boxed();
        let answers = self.transport.open(to, channel, requests, within).await?;
        let passed = move |answer: Result<Bytes, TransportError>| match answer {
            Ok(answer) => std::future::ready(back.passed(answer).map(Ok)),
            Err(error) => std::future::ready(Some(Err(error))),
        };
        Ok(answers.filter_map(passed).boxed())
    }
}
