//! What a node does that crashed while a snapshot was installed, so that its log begins behind its checkpoint: it takes
//! the checkpoint of another node before its group starts, as a broker's node fetches it.

use raft_consensus::record;
use raft_consensus::wal::{GroupId, GroupLog, Wal, WalError};

use crate::home::{SHARDS, group_of};
use crate::store_files::StoreFiles;

/// Why a node does not start.
#[derive(Debug)]
pub(crate) enum NoStart {
    /// A checkpoint is lost, and nobody who runs has it.
    Waits,
    /// What there is cannot be used.
    Fails(String),
}

impl NoStart {
    pub(crate) fn fails(error: impl ToString) -> Self {
        Self::Fails(error.to_string())
    }
}

/// Sees to it that each group's log goes on where its checkpoint ends.
pub(crate) fn repair(wal: &Wal, own: &StoreFiles, others: &[StoreFiles]) -> Result<(), NoStart> {
    for group in (0..SHARDS).map(group_of) {
        let log = wal.group(group).map_err(NoStart::fails)?;
        let index = own.state(group).0.last_log_id.map(|id| id.index);
        let purged = log.purged().map(|(index, _)| index);
        let end = log.last().map(|(index, _)| index).max(purged).max(index);
        // What the log has lost with a snapshot that it made way for it does not bring back.
        let known = wal.known_checkpoint(group).map(|known| known.index).filter(|known| end < Some(*known));
        let Some(least) = purged.filter(|purged| index < Some(*purged)).max(known) else { continue };
        let found = others.iter().find(|other| reaches(other, group, least)).ok_or(NoStart::Waits)?;
        adopt((wal, &log), own, (group, found)).map_err(NoStart::fails)?;
    }
    Ok(())
}

fn reaches(store: &StoreFiles, group: GroupId, index: u64) -> bool {
    store.state(group).0.last_log_id.is_some_and(|last| last.index >= index)
}

fn adopt(
    (wal, log): (&Wal, &GroupLog),
    own: &StoreFiles,
    (group, other): (GroupId, &StoreFiles),
) -> Result<(), String> {
    let (meta, records) = other.state(group);
    if let Some(last) = meta.last_log_id {
        let have = log.read(last.index..last.index + 1, 0).map_err(|error| error.to_string())?;
        let same = have.first().is_some_and(|entry| entry.term == last.leader_id.term);
        let makes_way = || -> Result<(), WalError> {
            if !have.is_empty() {
                log.truncate_after(last.index.checked_sub(1))?;
            }
            log.purge(last.index, record::encode_log_id(last))
        };
        if !same {
            makes_way().map_err(|error| error.to_string())?;
            wal.step();
        }
    }
    own.replace(group, meta, records).map_err(|error| error.to_string())
}
