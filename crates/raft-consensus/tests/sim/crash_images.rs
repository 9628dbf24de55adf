//! What the death of a process leaves on a disk, at whatever moment, opens. Each crash of a run, with what a power cut takes, is
//! tried by the start that follows it, and by what clients find then; besides, images are taken while nodes write.

use std::sync::Arc;

use raft_consensus::disk::SimDisk;
use raft_consensus::wal::Wal;

use crate::history::Promise;
use crate::home::{SHARDS, group_of};
use crate::replica::wal_options;
use crate::run::assert_kept;
use crate::store_files::StoreFiles;
use crate::world::World;

/// Opens an image of a node's disk as it is now.
pub(crate) fn check(world: &World, disk: &SimDisk) {
    let image = disk.fork();
    let opened = Wal::open(Arc::new(image.clone()), wal_options()).map_err(|error| error.to_string());
    let opened = opened.and_then(|_| {
        let groups = (0..SHARDS).map(group_of);
        StoreFiles::open(&image, groups).map_err(|error| error.to_string())
    });
    if let Err(how) = opened {
        world.history.broken(Promise::CrashImages, how);
    }
}

#[test]
fn what_a_crash_leaves_at_any_moment_opens() {
    assert_kept(Promise::CrashImages);
}
