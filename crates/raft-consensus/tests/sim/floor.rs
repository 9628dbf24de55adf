//! G15: whoever lost its checkpoints, or a part of its log, votes for nobody and takes no entries before it has all of it
//! again that its floor says it had. Held against every start, before the node is within reach of the others.

use raft_consensus::wal::{Recovery, Wal};

use crate::history::Promise;
use crate::home::{SHARDS, group_of};
use crate::run::assert_kept;
use crate::store_files::StoreFiles;

/// What a node that is about to take part has, held against what it had.
pub(crate) fn check(wal: &Wal, store: &StoreFiles, recovery: &Recovery) -> Result<(), String> {
    for group in (0..SHARDS).map(group_of) {
        let log = wal.group(group).map_err(|error| error.to_string())?;
        let checkpoint = store.state(group).0.last_log_id.map(|id| id.index);
        let purged = log.purged().map(|(index, _)| index);
        if checkpoint < purged {
            return Err(format!("{group} goes on at {checkpoint:?}, and its log begins behind {purged:?}"));
        }
        let end = checkpoint.max(log.last().map(|(index, _)| index));
        let floor = recovery.floor.checkpoints.get(&group).map(|floor| floor.index);
        if end < floor {
            return Err(format!("{group} ends at {end:?}, and its floor is {floor:?}"));
        }
    }
    Ok(())
}

#[test]
fn nobody_takes_part_below_its_floor() {
    assert_kept(Promise::Floor);
}
