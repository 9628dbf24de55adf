//! Segments that are prepared, freed and used again, and the order of what is asked for.

use bytes::Bytes;
use raft_consensus::disk::{CrashMode, SimDisk};
use raft_consensus::floor::Checkpoint;
use raft_consensus::wal::{GroupId, Progress};

use crate::common::{Acks, G, all, append, entry, indexes, open, opened, purge, small};

#[test]
fn recycled_segments_bring_nothing_back() {
    let disk = SimDisk::new();
    let mut first = 0;
    for round in 0..60 {
        let wal = opened(&disk);
        let log = wal.group(G).unwrap();
        let kept = if first == 0 { 0 } else { 1 };
        assert_eq!(all(&log).len(), kept, "round {round}");
        // Not a multiple of the segment: the ends lie in ever other places of what was there before.
        append(&wal, &log, first..first + 67, 200 + round as usize);
        first += 67;
        purge(&wal, &log, first - 2);
        assert_eq!(indexes(&log), [first - 1]);
        wal.write_floor();
        disk.crash(if round % 2 == 0 { CrashMode::KeepAll } else { CrashMode::LoseAll }, round);
    }
    let names = raft_consensus::disk::Disk::list(&disk, "wal").unwrap();
    assert!(names.len() <= 2 + 2 + 2, "the log does not grow: {names:?}");
}

#[test]
fn freed_segments_are_used_again() {
    let disk = SimDisk::new();
    let wal = opened(&disk);
    let log = wal.group(G).unwrap();
    for round in 0..50 {
        append(&wal, &log, round * 40..(round + 1) * 40, 300);
        purge(&wal, &log, (round + 1) * 40 - 1);
    }
    let counters = wal.counters();
    assert!(counters.wal_segments_recycled > 20, "{counters:?}");
    assert!(counters.wal_segments_created < 8, "{counters:?}");
}

#[test]
fn votes_and_purges_survive_the_segments_that_held_them() {
    let disk = SimDisk::new();
    let wal = opened(&disk);
    let voter = GroupId(7);
    let (log, other) = (wal.group(G).unwrap(), wal.group(voter).unwrap());
    let acks = Acks::default();
    other.save_vote(Bytes::from_static(b"the vote"), acks.note(1)).unwrap();
    other.save_committed(Bytes::from_static(b"the commit")).unwrap();
    other.purge(41, Bytes::from_static(b"the purge")).unwrap();
    for round in 0..20 {
        append(&wal, &log, round * 40..(round + 1) * 40, 300);
        purge(&wal, &log, (round + 1) * 40 - 1);
    }
    let first = "wal/0000000000000001.seg";
    assert!(raft_consensus::disk::Disk::open(&disk, first).is_err(), "its segment is gone");
    wal.write_floor();
    drop(wal);
    disk.crash(CrashMode::LoseAll, 0);
    let wal = opened(&disk);
    let other = wal.group(voter).unwrap();
    assert_eq!(other.vote().as_deref(), Some(&b"the vote"[..]));
    assert_eq!(other.committed().as_deref(), Some(&b"the commit"[..]));
    assert_eq!(other.purged(), Some((41, Bytes::from_static(b"the purge"))));
    append(&wal, &other, 42..43, 10);
}

#[test]
fn a_segment_is_never_prepared_in_the_commit_path() {
    let disk = SimDisk::new();
    let wal = opened(&disk);
    let log = wal.group(G).unwrap();
    let acks = Acks::default();
    log.append((0..150).map(|i| entry(i, 1, 300)).collect(), acks.note(1)).unwrap();
    let created = wal.counters().wal_segments_created;
    assert_eq!(wal.step(), Progress::Blocked);
    assert_eq!(wal.step(), Progress::Blocked);
    assert_eq!(wal.counters().wal_segments_created, created);
    assert_eq!(acks.good(), [0; 0]);
    while wal.step() == Progress::Blocked {
        wal.prepare();
    }
    assert_eq!(acks.good(), [1]);
}

#[test]
fn all_groups_share_one_sync_and_are_called_back_in_order() {
    let disk = SimDisk::new();
    let wal = opened(&disk);
    let acks = Acks::default();
    for number in 0..30_u64 {
        let log = wal.group(GroupId(number as u32 % 3)).unwrap();
        if number % 4 == 3 {
            log.save_vote(Bytes::from(vec![1]), acks.note(number)).unwrap();
        } else {
            let next = log.last().map_or(0, |(index, _)| index + 1);
            log.append(vec![entry(next, 1, 20)], acks.note(number)).unwrap();
        }
    }
    let syncs = disk.syncs();
    assert_eq!(wal.step(), Progress::Worked);
    assert_eq!(disk.syncs(), syncs + 1);
    assert_eq!(acks.good(), (0..30).collect::<Vec<_>>());
    let counters = wal.counters();
    assert_eq!((counters.wal_appends, counters.wal_syncs), (30, 1));
    let table: Vec<_> = raft_consensus::wal::WAL_COUNTERS.iter().map(|c| c.name).collect();
    assert_eq!((table[0], counters.values()[0]), ("wal_appends", 30));
}

#[test]
fn what_nobody_waits_for_rides_with_the_next_append_or_with_the_quiet() {
    let disk = SimDisk::new();
    let wal = opened(&disk);
    let log = wal.group(G).unwrap();
    append(&wal, &log, 0..3, 10);
    log.save_committed(Bytes::from_static(b"2")).unwrap();
    let syncs = disk.syncs();
    append(&wal, &log, 3..4, 10);
    assert_eq!(disk.syncs(), syncs + 1);
    assert!(!wal.is_resting());
    log.save_committed(Bytes::from_static(b"3")).unwrap();
    assert_eq!(wal.quiet(), Progress::Worked);
    assert_eq!(wal.quiet(), Progress::Idle, "an idle log writes nothing");
    assert!(wal.is_resting());
    assert_eq!(disk.syncs(), syncs + 2);
    wal.write_floor();
    disk.crash(CrashMode::LoseAll, 0);
    assert_eq!(opened(&disk).group(G).unwrap().committed().as_deref(), Some(&b"3"[..]));
}

#[test]
fn entries_are_readable_at_once_and_from_the_segment_later() {
    let disk = SimDisk::new();
    let wal = opened(&disk);
    let log = wal.group(G).unwrap();
    log.append((0..50).map(|i| entry(i, i, 100)).collect(), Acks::default().note(1)).unwrap();
    let expected: Vec<_> = (0..50).map(|i| entry(i, i, 100)).collect();
    assert_eq!(log.read_cached(0..50, usize::MAX).as_ref(), Some(&expected));
    crate::common::settle(&wal);
    assert_eq!(log.read_cached(0..50, usize::MAX), None, "the cache holds 256 bytes");
    assert_eq!(log.read_cached(48..50, usize::MAX).as_deref(), Some(&expected[48..]));
    assert_eq!(all(&log), expected);
    assert_eq!(log.read(10..40, 250).unwrap(), expected[10..12]);
    assert_eq!(log.read(10..40, 1).unwrap(), expected[10..11]);
    assert_eq!(log.last(), Some((49, 49)));
}

#[test]
fn a_replaced_entry_is_read_as_what_replaced_it() {
    let disk = SimDisk::new();
    let wal = opened(&disk);
    let log = wal.group(G).unwrap();
    let acks = Acks::default();
    log.append((0..5).map(|i| entry(i, 1, 100)).collect(), acks.note(1)).unwrap();
    log.truncate_after(Some(1)).unwrap();
    log.append((2..4).map(|i| entry(i, 2, 100)).collect(), acks.note(2)).unwrap();
    let expected: Vec<_> = (0..4).map(|i| entry(i, if i < 2 { 1 } else { 2 }, 100)).collect();
    assert_eq!(all(&log), expected);
    crate::common::settle(&wal);
    assert_eq!(all(&log), expected, "from the segment");
    drop((wal, log));
    assert_eq!(all(&opened(&disk).group(G).unwrap()), expected, "after a start");
}

#[test]
fn checkpoints_in_the_floor_are_found_at_the_next_start() {
    let disk = SimDisk::new();
    let (wal, recovery) = open(&disk, small()).unwrap();
    assert!(recovery.floor.checkpoints.is_empty());
    let checkpoint = Checkpoint { index: 17, hash: 99 };
    wal.checkpointed(G, checkpoint);
    wal.write_floor();
    disk.crash(CrashMode::LoseAll, 0);
    let recovery = open(&disk, small()).unwrap().1;
    assert_eq!(recovery.floor.checkpoints.get(&G), Some(&checkpoint));
}
