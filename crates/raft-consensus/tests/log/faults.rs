//! Disks that fail and disks that are full (F19, F21, E12): a failed sync ends the log for good; a full disk holds
//! what comes next and passes by itself.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use parking_lot::Mutex;
use raft_consensus::disk::{CrashMode, SimDisk};
use raft_consensus::wal::{Call, Durability, PoisonHook, Progress, Room, WalError, WalOptions};

use crate::common::{Acks, G, append, entry, indexes, open, opened, purge, settle, small};

#[test]
fn a_failed_sync_or_write_ends_the_log() {
    for fault in [SimDisk::fail_sync, SimDisk::fail_write] {
        let disk = SimDisk::new();
        let told = Arc::new(Mutex::new(0));
        let hook = Arc::clone(&told);
        let on_poison = Some(PoisonHook(Arc::new(move |_| *hook.lock() += 1)));
        let wal = open(&disk, WalOptions { on_poison, ..small() }).unwrap().0;
        let log = wal.group(G).unwrap();
        append(&wal, &log, 0..3, 10);
        let syncs = disk.syncs();
        fault(&disk, 0);
        let acks = Acks::default();
        log.append(vec![entry(3, 1, 10)], acks.note(1)).unwrap();
        log.save_vote(Bytes::from_static(b"v"), acks.note(2)).unwrap();
        assert_eq!(wal.step(), Progress::Idle);
        assert_eq!((acks.good(), acks.bad()), (vec![], vec![1, 2]));
        assert!(matches!(log.append(vec![entry(4, 1, 10)], acks.note(3)), Err(WalError::Poisoned(_))));
        assert!(matches!(wal.ended(), Some(WalError::Poisoned(_))));
        for _ in 0..3 {
            wal.step();
            wal.quiet();
            wal.sync();
        }
        wal.close();
        assert_eq!(disk.syncs(), syncs, "nothing is tried again");
        assert_eq!(*told.lock(), 1);
        assert_eq!(acks.bad(), [1, 2]);
        drop(wal);
        disk.crash(CrashMode::LoseAll, 0);
        assert_eq!(indexes(&opened(&disk).group(G).unwrap()), [0, 1, 2]);
    }
}

#[test]
fn a_failed_sync_of_the_floor_or_of_a_new_segment_ends_the_log() {
    let disk = SimDisk::new();
    let wal = opened(&disk);
    append(&wal, &wal.group(G).unwrap(), 0..3, 10);
    disk.fail_sync(0);
    wal.write_floor();
    assert!(matches!(wal.ended(), Some(WalError::Poisoned(_))));

    let disk = SimDisk::new();
    let wal = opened(&disk);
    let log = wal.group(G).unwrap();
    log.append((0..60).map(|i| entry(i, 1, 300)).collect(), Acks::default().note(0)).unwrap();
    wal.step();
    disk.fail_sync(0);
    assert_eq!(wal.prepare(), Room::Full);
    assert!(matches!(wal.ended(), Some(WalError::Poisoned(_))));
}

#[test]
fn a_full_disk_is_noticed_one_segment_ahead_and_passes() {
    let disk = SimDisk::new();
    let wal = opened(&disk);
    let room = wal.room();
    let log = wal.group(G).unwrap();
    disk.set_capacity(Some(disk.used() + 100));
    let acks = Acks::default();
    // One and a half segments: they fit into the one in use and the one that was prepared before the disk was full.
    log.append((0..75).map(|i| entry(i, 1, 300)).collect(), acks.note(1)).unwrap();
    settle_full(&wal);
    assert_eq!(acks.good(), [1], "what is in flight still fits");
    assert_eq!(*room.borrow(), Room::Full);
    assert!(wal.counters().wal_full > 0);

    log.append((75..150).map(|i| entry(i, 1, 300)).collect(), acks.note(2)).unwrap();
    settle_full(&wal);
    assert_eq!(acks.good(), [1], "what does not fit waits, and is not refused");
    assert_eq!(acks.bad(), [0; 0]);
    assert_eq!(indexes(&log).len(), 150, "it can be read all the same");
    assert_eq!(*room.borrow(), Room::Spent);

    disk.set_capacity(None);
    settle(&wal);
    assert_eq!(acks.good(), [1, 2]);
    assert_eq!(*room.borrow(), Room::Ok);
    drop(wal);
    assert_eq!(indexes(&opened(&disk).group(G).unwrap()).len(), 150);
}

/// Whoever goes on while the disk is full leaves enough for a start, and for several.
#[test]
fn the_rest_of_the_last_segment_is_kept_for_starts() {
    let disk = SimDisk::new();
    let wal = opened(&disk);
    let mut index = 0;
    let mut append_one = |wal: &raft_consensus::wal::Wal| {
        append(wal, &wal.group(G).unwrap(), index..index + 1, 100);
        index += 1;
    };
    append_one(&wal);
    disk.set_capacity(Some(disk.used()));
    while *wal.room().borrow() != Room::Spent {
        append_one(&wal);
        wal.prepare();
    }
    drop(wal);
    for _ in 0..10 {
        let wal = opened(&disk);
        append_one(&wal);
        wal.prepare();
        assert_eq!(*wal.room().borrow(), Room::Spent, "what is kept is kept after a start too");
    }
    disk.set_capacity(None);
    let wal = opened(&disk);
    assert_eq!(*wal.room().borrow(), Room::Ok);
}

/// A checkpoint that has seen that there is space for it may count on it.
#[test]
fn the_log_leaves_to_others_what_they_have_claimed() {
    let disk = SimDisk::new();
    let wal = opened(&disk);
    let segment = wal.options().segment_bytes;
    // Room for one more segment, which somebody else is about to fill.
    disk.set_capacity(Some(disk.used() + segment));
    let free = || raft_consensus::disk::Disk::free_bytes(&disk);
    let claim = wal.space().claim(1, free).unwrap();
    append(&wal, &wal.group(G).unwrap(), 0..75, 300);
    settle_full(&wal);
    assert_eq!(*wal.room().borrow(), Room::Full);
    assert_eq!(free(), Some(segment), "it is as it was");
    let called = || wal.prepare_called().now_or_never();
    while called().is_some() {}
    drop(claim);
    wal.space_given_back();
    assert_eq!(called(), Some(Call::Now), "it looks again at once");
    settle_full(&wal);
    assert_eq!(*wal.room().borrow(), Room::Ok);
    while called().is_some() {}
    wal.space_given_back();
    assert_eq!(called(), None, "it wants nothing");
    assert_eq!(free(), Some(0));
    assert!(wal.space().claim(1, free).is_none());
}

fn settle_full(wal: &raft_consensus::wal::Wal) {
    for _ in 0..5 {
        wal.step();
        wal.prepare();
    }
}

#[test]
fn a_full_disk_does_not_keep_the_log_from_opening() {
    let disk = SimDisk::new();
    let wal = opened(&disk);
    append(&wal, &wal.group(G).unwrap(), 0..3, 10);
    drop(wal);
    for name in raft_consensus::disk::Disk::list(&disk, "wal").unwrap().iter().skip(1) {
        raft_consensus::disk::Disk::remove(&disk, &format!("wal/{name}")).unwrap();
    }
    disk.set_capacity(Some(disk.used()));
    let wal = opened(&disk);
    assert_eq!(*wal.room().borrow(), Room::Full);
    append(&wal, &wal.group(G).unwrap(), 3..5, 10);
}

#[test]
fn a_log_at_its_cap_is_full_until_the_slowest_group_is_purged() {
    let disk = SimDisk::new();
    let wal = opened(&disk);
    let (log, slow) = (wal.group(G).unwrap(), wal.group(raft_consensus::wal::GroupId(2)).unwrap());
    append(&wal, &slow, 0..1, 10);
    let acks = Acks::default();
    let mut index = 0;
    while *wal.room().borrow() == Room::Ok {
        log.append((index..index + 10).map(|i| entry(i, 1, 300)).collect(), acks.note(index)).unwrap();
        index += 10;
        settle_full(&wal);
        purge(&wal, &log, index - 1);
    }
    assert!(slow.bytes_pinned() > 400 << 10, "{}", slow.bytes_pinned());
    assert!(wal.bytes_pinned() <= 512 << 10);
    assert_eq!(log.bytes_pinned(), 0);
    purge(&wal, &slow, 0);
    settle_full(&wal);
    assert_eq!(*wal.room().borrow(), Room::Ok);
    assert!(wal.bytes_pinned() < 64 << 10);
}

/// A group that is never purged keeps everything; the purge that mends it waits behind what finds no room.
#[test]
fn a_purge_frees_a_log_that_takes_nothing_more() {
    let disk = SimDisk::new();
    let wal = opened(&disk);
    let log = wal.group(G).unwrap();
    let acks = Acks::default();
    let mut index = 0;
    while acks.good().len() as u64 == index / 10 {
        log.append((index..index + 10).map(|i| entry(i, 1, 300)).collect(), acks.note(index)).unwrap();
        index += 10;
        settle_full(&wal);
    }
    assert_eq!(*wal.room().borrow(), Room::Spent);
    let twice = 2 * small().log_bytes_max;
    assert!(wal.bytes_pinned() <= twice && wal.bytes_pinned() > twice - (32 << 10), "{}", wal.bytes_pinned());
    log.purge(index / 2, Bytes::new()).unwrap();
    wal.quiet();
    settle_full(&wal);
    assert_eq!(acks.good().len() as u64, index / 10, "what waited is done");
    assert!(acks.good().is_sorted());
    let kept: Vec<u64> = (index / 2 + 1..index).collect();
    assert_eq!(indexes(&log), kept);
    purge(&wal, &log, index - 5);
    settle_full(&wal);
    assert_eq!(*wal.room().borrow(), Room::Ok);
    drop((wal, log));
    assert_eq!(indexes(&opened(&disk).group(G).unwrap()), (index - 4..index).collect::<Vec<_>>());
}

#[test]
fn the_queue_has_a_bound_that_can_be_waited_for() {
    let disk = SimDisk::new();
    let wal = open(&disk, WalOptions { queue_bytes_max: 4000, ..small() }).unwrap().0;
    let log = wal.group(G).unwrap();
    let acks = Acks::default();
    log.append(vec![entry(0, 1, 5000)], acks.note(1)).unwrap();
    let refused = log.append(vec![entry(1, 1, 10)], acks.note(2));
    assert!(matches!(refused, Err(WalError::QueueFull { .. })), "{refused:?}");
    assert_eq!(indexes(&log), [0], "what was refused is not there");
    let mut room = std::pin::pin!(log.room_for(100));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(room.as_mut().poll(&mut context).is_pending());
    assert!(wal.bytes_waiting() > 5000);
    wal.step();
    assert!(matches!(room.as_mut().poll(&mut context), std::task::Poll::Ready(Ok(()))));
    assert_eq!(wal.bytes_waiting(), 0);
    log.append(vec![entry(1, 1, 10)], acks.note(2)).unwrap();
}

#[test]
fn what_cannot_be_stored_is_refused() {
    let disk = SimDisk::new();
    let wal = opened(&disk);
    let log = wal.group(G).unwrap();
    let none = Acks::default();
    let large = log.append(vec![entry(0, 1, 9000)], none.note(1));
    assert!(matches!(large, Err(WalError::TooLarge { .. })), "{large:?}");
    append(&wal, &log, 0..2, 10);
    let hole = log.append(vec![entry(3, 1, 10)], none.note(1));
    assert!(matches!(hole, Err(WalError::Hole { expected: 2, found: 3, .. })), "{hole:?}");
    let gap = log.append(vec![entry(2, 1, 10), entry(4, 1, 10)], none.note(1));
    assert!(matches!(gap, Err(WalError::Hole { expected: 3, found: 4, .. })), "{gap:?}");
    assert!(matches!(log.save_vote(vec![0; 300].into(), none.note(1)), Err(WalError::TooLarge { .. })));
    let many = (0..1000).map(|id| wal.group(raft_consensus::wal::GroupId(id))).find_map(Result::err);
    assert!(matches!(many, Some(WalError::TooManyGroups { .. })));
    assert_eq!(indexes(&log), [0, 1]);
    for bad in
        [WalOptions { segment_bytes: 1000, ..small() }, WalOptions { log_bytes_max: 1 << 14, ..small() }]
    {
        assert!(matches!(open(&SimDisk::new(), bad), Err(WalError::Options { .. })));
    }
}

#[test]
fn in_interval_mode_votes_are_synced_and_entries_later() {
    let disk = SimDisk::new();
    let durability = Durability::Interval(std::time::Duration::from_millis(100));
    let wal = open(&disk, WalOptions { durability, ..small() }).unwrap().0;
    let log = wal.group(G).unwrap();
    let syncs = disk.syncs();
    append(&wal, &log, 0..3, 10);
    assert_eq!(disk.syncs(), syncs);
    wal.sync();
    assert_eq!(disk.syncs(), syncs + 1);
    append(&wal, &log, 3..6, 10);
    let acks = Acks::default();
    log.save_vote(Bytes::from_static(b"v"), acks.note(1)).unwrap();
    wal.step();
    assert_eq!((acks.good(), disk.syncs()), (vec![1], syncs + 2));
    append(&wal, &log, 6..9, 10);
    drop(wal);
    disk.crash(CrashMode::LoseAll, 0);
    let log = opened(&disk).group(G).unwrap();
    assert_eq!((indexes(&log), log.vote().as_deref()), ((0..6).collect(), Some(&b"v"[..])));
}
