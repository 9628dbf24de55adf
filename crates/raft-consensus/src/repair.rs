//! What a node does that lost checkpoints and is not alone: it keeps its log and its votes, and fetches the state from
//! another member before the group starts. Called by the node for groups with other members. Until then the group is not
//! there: it votes for nobody and cannot lead. A log that is lost is never repaired here.

use std::path::Path;
use std::time::Duration;

use openraft::type_config::TypeConfigExt;
use session_store::store::{Store, StoreError};

use crate::log_store::LogStore;
use crate::network::{Fetched, Network, PeerTransport};
use crate::storage::{Storage, StorageError};
use crate::types::{LogId, NodeId, Types};
use crate::wal::{GroupId, WalError, WalOptions};

/// Between two rounds in which nobody had what was asked for.
const AGAIN: Duration = Duration::from_millis(500);
/// So many rounds between two words about it in the log.
const ROUNDS_QUIET: u64 = 20;

impl Storage {
    /// As [`Self::open`], for a node whose groups have other members: where the files of the checkpoints are damaged,
    /// they are moved aside, and [`Self::fetch_missing`] gets the groups' states from the others. Reads all checkpoints
    /// once, so that nothing is built on what cannot be read.
    ///
    /// # Errors
    /// What is there of the log is damaged, lost something, or is too new; or the disk cannot be read or written.
    pub fn open_replica(directory: &Path, options: WalOptions) -> Result<Self, StorageError> {
        Self::open_by(directory, options, |path, groups| match open_whole(path, &groups) {
            Err(error) if error.is_damage() => {
                let aside = Store::set_aside(path)?;
                tracing::warn!(%error, aside = %aside.display(), "the checkpoints are lost and will be fetched from other nodes");
                Store::open(path)
            }
            opened => opened,
        })
    }

    /// Sees to it that a group has a checkpoint that its log goes on from. Where that was lost, the last one of another
    /// member takes its place; this asks them one after the other until somebody has one that is new enough. To be
    /// called before [`Self::restore`], for a group with other members.
    ///
    /// # Errors
    /// What is there cannot be used for another reason than that a checkpoint is lost, or the disk cannot be written.
    pub async fn fetch_missing<C: Types, T: PeerTransport>(
        &self,
        group: GroupId,
        network: &Network<T>,
        members: &[NodeId],
    ) -> Result<(), StorageError> {
        let Err(lost) = self.check(group) else { return Ok(()) };
        if !lost.is_loss_of_checkpoint() {
            return Err(lost);
        }
        tracing::warn!(group = group.0, %lost, "fetching the state from another node");
        let least = self.least(group)?;
        let fetched = fetch::<C, T>(group, network, (members, least)).await;
        self.adopt::<C>(group, fetched).await
    }

    /// The least entry that a checkpoint has to stand for. From there on the log goes on; where it ends below what the floor
    /// knows to have been in a checkpoint, as after a snapshot that it made way for, it does not bring that back.
    fn least(&self, group: GroupId) -> Result<u64, StorageError> {
        let log = self.log(group)?;
        let purged = log.purged().map_or(0, |(index, _)| index);
        let end = log.last().map_or(purged, |(index, _)| index.max(purged));
        let known = self.wal().known_checkpoint(group).map(|known| known.index);
        Ok(known.filter(|known| end < *known).unwrap_or(purged))
    }

    /// Puts a checkpoint that was fetched in the place of the one that was lost.
    async fn adopt<C: Types>(&self, group: GroupId, fetched: Fetched) -> Result<(), StorageError> {
        if let Some(last) = fetched.meta().last_log_id {
            self.make_way(group, last).await?;
        }
        let checkpoints = self.checkpoints(group);
        let adopting = C::spawn_blocking(move || {
            let imported = checkpoints.import(&fetched.path());
            // The file is needed until here.
            drop(fetched);
            imported
        });
        match adopting.await {
            Ok(imported) => imported,
            Err(_panicked) => Err(StoreError::Poisoned.into()),
        }
    }

    /// Brings the log in line with a checkpoint of entry `last`, durably. Where it has that entry it goes on behind
    /// it; else it goes up to there, and what follows was never committed.
    async fn make_way(&self, group: GroupId, last: LogId) -> Result<(), StorageError> {
        let log = self.log(group)?;
        let own = log.read(last.index..last.index.saturating_add(1), 0)?;
        match own.first().map(|entry| entry.term) {
            Some(term) if term == last.leader_id.term => return Ok(()),
            Some(_) => log.truncate_after(last.index.checked_sub(1))?,
            None => {}
        }
        let gone = LogStore::new(log).begin_behind(last).await;
        Ok(gone.map_err(WalError::io("letting go of", "wal"))?)
    }
}

/// Opens a store, and reads all that it has of these groups.
fn open_whole(path: &Path, groups: &[GroupId]) -> Result<Store, StoreError> {
    let store = Store::open(path)?;
    groups.iter().try_for_each(|group| store.check(*group))?;
    Ok(store)
}

/// Asks the others until one has what is wanted.
async fn fetch<C: Types, T: PeerTransport>(
    group: GroupId,
    network: &Network<T>,
    (members, least): (&[NodeId], u64),
) -> Fetched {
    let mut round: u64 = 0;
    loop {
        for member in members {
            match network.fetch::<C>(*member, least).await {
                Ok(fetched) => {
                    tracing::info!(group = group.0, from = member, "fetched a checkpoint");
                    return fetched;
                }
                Err(error) if round.is_multiple_of(ROUNDS_QUIET) => {
                    tracing::warn!(group = group.0, from = member, %error, "a lost checkpoint was not fetched yet");
                }
                Err(_) => {}
            }
        }
        round += 1;
        C::sleep(AGAIN).await;
    }
}

#[cfg(test)]
mod tests {
    use openraft::EntryPayload;
    use openraft::storage::{RaftLogStorage, RaftLogStorageExt};

    use session_store::store::Changes;

    use super::*;
    use crate::types::{Entry, LeaderId, SnapshotMeta, TokioTypes};
    use crate::{floor, record};

    const GROUP: GroupId = GroupId(1);

    fn id(term: u64, index: u64) -> LogId {
        LogId::new(LeaderId { term, node_id: 1 }, index)
    }

    /// Where the log begins and ends, with entries 1 to 9 of term 2, after room was made for a checkpoint.
    async fn after_making_way(checkpoint: LogId) -> (Option<LogId>, Option<LogId>) {
        let directory = tempfile::tempdir().unwrap();
        let storage = Storage::open(directory.path(), options()).unwrap();
        let mut log = LogStore::new(storage.log(GROUP).unwrap());
        RaftLogStorage::<TokioTypes>::purge(&mut log, id(1, 0)).await.unwrap();
        let entries = (1..10).map(|index| Entry { log_id: id(2, index), payload: EntryPayload::Blank });
        RaftLogStorageExt::<TokioTypes>::blocking_append(&mut log, entries.collect::<Vec<_>>())
            .await
            .unwrap();
        storage.make_way(GROUP, checkpoint).await.unwrap();
        let state = RaftLogStorage::<TokioTypes>::get_log_state(&mut log).await.unwrap();
        storage.close();
        (state.last_purged_log_id, state.last_log_id)
    }

    fn options() -> WalOptions {
        WalOptions { segment_bytes: 1 << 20, log_bytes_max: 4 << 20, ..WalOptions::default() }
    }

    #[test]
    fn a_record_that_is_damaged_deep_in_a_store_is_found_before_anything_is_built_on_it() {
        let directory = tempfile::tempdir().unwrap();
        let storage = Storage::open(directory.path(), options()).unwrap();
        let mut changes = Changes::default();
        for number in 0..5_000_u32 {
            changes.put(number.to_be_bytes().to_vec(), format!("word {number:0500}").into());
        }
        let meta = SnapshotMeta { last_log_id: Some(id(1, 7)), ..SnapshotMeta::default() };
        let written = storage.store().lock().write(GROUP, &changes, &record::encode_applied(&meta)).unwrap();
        storage.wal().checkpointed(GROUP, floor::Checkpoint { index: 7, hash: written.hash.0 });
        storage.close();
        // From here on the store knows what it has without reading it.
        Storage::open(directory.path(), options()).unwrap().close();
        let db = directory.path().join("sessions/db");
        let mut bytes = std::fs::read(&db).unwrap();
        let word = format!("word {:0500}", 2_500).into_bytes();
        let found: Vec<usize> =
            (0..bytes.len() - word.len()).filter(|at| bytes[*at..].starts_with(&word)).collect();
        assert!(!found.is_empty());
        found.iter().for_each(|at| bytes[at + 100] ^= 1);
        std::fs::write(&db, bytes).unwrap();

        let storage = Storage::open_replica(directory.path(), options()).unwrap();
        assert!(directory.path().join("sessions.damaged/db").exists());
        let lost = storage.check(GROUP).unwrap_err();
        assert!(lost.is_loss_of_checkpoint(), "{lost}");
        storage.close();
    }

    /// As after a snapshot that the log made way for, which was not synced any more.
    #[tokio::test]
    async fn a_log_that_ends_below_its_floor_wants_a_checkpoint_that_reaches_it() {
        let directory = tempfile::tempdir().unwrap();
        let storage = Storage::open(directory.path(), options()).unwrap();
        let mut log = LogStore::new(storage.log(GROUP).unwrap());
        RaftLogStorage::<TokioTypes>::purge(&mut log, id(1, 2)).await.unwrap();
        let entries = (3..10).map(|index| Entry { log_id: id(2, index), payload: EntryPayload::Blank });
        RaftLogStorageExt::<TokioTypes>::blocking_append(&mut log, entries.collect::<Vec<_>>())
            .await
            .unwrap();
        for (known, least) in [(9, 2), (10, 10)] {
            storage.wal().checkpointed(GROUP, floor::Checkpoint { index: known, hash: 0 });
            assert_eq!(storage.least(GROUP).unwrap(), least);
        }
        storage.close();
    }

    #[tokio::test]
    async fn a_log_goes_on_from_a_checkpoint_that_was_fetched() {
        let kept = (Some(id(1, 0)), Some(id(2, 9)));
        assert_eq!(after_making_way(id(2, 5)).await, kept, "it has that entry");
        assert_eq!(after_making_way(id(1, 0)).await, kept, "it begins there");
        let behind = after_making_way(id(3, 20)).await;
        assert_eq!(behind, (Some(id(3, 20)), Some(id(3, 20))), "it ended before");
        let other = after_making_way(id(3, 5)).await;
        assert_eq!(other, (Some(id(3, 5)), Some(id(3, 5))), "what it has is of a leader that lost");
    }
}
