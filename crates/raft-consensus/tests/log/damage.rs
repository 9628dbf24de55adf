//! Bytes that change on a disk at rest (F22 to F24): a torn end is cut, anything else is named, and in no case does the
//! log open with less than was acknowledged.

use raft_consensus::disk::{CrashMode, SimDisk};
use raft_consensus::wal::{GroupId, Position, WalError, WalOptions};

use crate::common::{Acks, G, all, append, entry, indexes, open, opened, purge, settle, small};

const FIRST: &str = "wal/0000000000000001.seg";
const OTHER: GroupId = GroupId(2);

/// A log with entries, votes, a truncation and a purge, all acknowledged. The floor is written where it is asked for.
fn at_rest(floor: bool) -> (SimDisk, Position) {
    let disk = SimDisk::new();
    let wal = opened(&disk);
    let (log, other) = (wal.group(G).unwrap(), wal.group(OTHER).unwrap());
    let acks = Acks::default();
    other.save_vote(bytes::Bytes::from_static(b"a vote"), acks.note(1)).unwrap();
    append(&wal, &log, 0..10, 60);
    log.truncate_after(Some(7)).unwrap();
    append(&wal, &log, 8..20, 60);
    log.save_committed(bytes::Bytes::from_static(b"committed")).unwrap();
    purge(&wal, &log, 3);
    append(&wal, &other, 0..5, 10);
    wal.quiet();
    if floor {
        wal.write_floor();
    }
    drop(wal);
    disk.crash(CrashMode::LoseAll, 0);
    let end = open(&disk.fork(), small()).unwrap().1.end;
    (disk, end)
}

/// What a start may give: an error with a name, or all that was acknowledged. Returns whether it was an error.
fn refused_or_whole(disk: &SimDisk, what: &str) -> bool {
    match open(disk, small()) {
        Ok((wal, _)) => {
            let (log, other) = (wal.group(G).unwrap(), wal.group(OTHER).unwrap());
            assert_eq!(indexes(&log), (4..20).collect::<Vec<_>>(), "{what}");
            assert!(all(&log).iter().all(|r| *r == entry(r.index, 1, 60)), "{what}");
            assert_eq!(indexes(&other), (0..5).collect::<Vec<_>>(), "{what}");
            assert_eq!(other.vote().as_deref(), Some(&b"a vote"[..]), "{what}");
            assert_eq!(log.purged().map(|p| p.0), Some(3), "{what}");
            false
        }
        Err(WalError::Corrupt { file, .. }) => {
            assert_eq!(file, FIRST, "{what}");
            true
        }
        Err(WalError::BelowFloor { .. }) => true,
        Err(other) => panic!("{what}: {other}"),
    }
}

#[test]
fn a_flipped_bit_anywhere_is_named_or_harmless() {
    for floor in [true, false] {
        let (disk, end) = at_rest(floor);
        let mut refused = 0;
        for byte in 0..end.offset as usize {
            let copy = disk.fork();
            copy.damage(FIRST, |bytes| bytes[byte] ^= 1 << (byte % 8));
            refused += usize::from(refused_or_whole(&copy, &format!("byte {byte}, floor {floor}")));
        }
        // Only padding, and without a floor the empty record at the end, are of no use to anybody.
        let least = end.offset as usize * 9 / 10;
        assert!(refused > least, "{refused} of {} refused", end.offset);
    }
}

#[test]
fn a_flipped_bit_says_where_it_is_and_what_to_do() {
    let (disk, _) = at_rest(true);
    disk.damage(FIRST, |bytes| bytes[300] ^= 4);
    let error = open(&disk, small()).unwrap_err();
    let WalError::Corrupt { offset, .. } = &error else { panic!("{error}") };
    assert!(*offset <= 300 && *offset > 300 - 120, "{error}");
    let text = error.to_string();
    assert!(text.contains(FIRST) && text.contains("backup") && text.contains("replicas"), "{text}");
}

#[test]
fn zeroed_pages_and_cut_files_are_named_or_harmless() {
    let (disk, end) = at_rest(true);
    let end = end.offset as usize;
    let mut refused = 0;
    for at in (0..end).step_by(512) {
        let copy = disk.fork();
        copy.damage(FIRST, |bytes| bytes[at..at + 512].fill(0));
        assert!(refused_or_whole(&copy, &format!("zeros at {at}")), "zeros at {at}");
        let copy = disk.fork();
        copy.damage(FIRST, |bytes| bytes.truncate(at));
        refused += usize::from(refused_or_whole(&copy, &format!("cut at {at}")));
    }
    assert_eq!(refused, end.div_ceil(512), "a log that ends below its floor");
    let copy = disk.fork();
    copy.damage(FIRST, |bytes| bytes[..4096].fill(0));
    assert!(refused_or_whole(&copy, "first page"));
}

#[test]
fn a_file_extended_with_zeros_is_as_good_as_before() {
    let (disk, _) = at_rest(true);
    disk.damage(FIRST, |bytes| bytes.resize(bytes.len() + 9000, 0));
    assert!(!refused_or_whole(&disk, "extended"));
    let wal = opened(&disk);
    append(&wal, &wal.group(G).unwrap(), 20..200, 200);
    drop(wal);
    assert_eq!(indexes(&opened(&disk).group(G).unwrap()), (4..200).collect::<Vec<_>>());
}

/// An append of three entries that is cut at every byte, before zeros and before what a recycled segment holds.
#[test]
fn a_torn_end_is_cut_at_every_byte_and_never_comes_back() {
    let disk = SimDisk::new();
    let wal = opened(&disk);
    let log = wal.group(G).unwrap();
    append(&wal, &log, 0..3, 50);
    wal.write_floor();
    let before = open(&disk.fork(), small()).unwrap().1.end.offset as usize;
    append(&wal, &log, 3..6, 50);
    let after = open(&disk.fork(), small()).unwrap().1.end.offset as usize;
    let padding = 6;
    for filler in [0_u8, 0xA5] {
        for cut in before..after {
            let copy = disk.fork();
            copy.damage(FIRST, |bytes| bytes[cut..].fill(filler));
            let wal = opened(&copy);
            let log = wal.group(G).unwrap();
            let found = indexes(&log);
            let whole = 3 + ((cut - before + padding) / ((after - before) / 3)) as u64;
            assert_eq!(found, (0..whole).collect::<Vec<_>>(), "cut at {cut}");
            append(&wal, &log, whole..whole + 1, 10);
            drop((wal, log));
            let again = indexes(&opened(&copy).group(G).unwrap());
            assert_eq!(again, (0..=whole).collect::<Vec<_>>(), "cut at {cut}, after an append");
        }
    }
}

/// The head of a write is lost, its end is not: what is left of it must not come back behind the next append.
#[test]
fn what_is_left_of_a_torn_write_does_not_come_back() {
    let disk = SimDisk::new();
    let wal = opened(&disk);
    let log = wal.group(G).unwrap();
    append(&wal, &log, 0..3, 50);
    let before = open(&disk.fork(), small()).unwrap().1.end.offset as usize;
    append(&wal, &log, 3..6, 50);
    let record = (open(&disk.fork(), small()).unwrap().1.end.offset as usize - before) / 3;
    disk.damage(FIRST, |bytes| bytes[before..before + record].fill(0));
    let (wal, recovery) = open(&disk, small()).unwrap();
    let torn = recovery.torn_tail.unwrap();
    assert_eq!((torn.at.offset as usize, torn.bytes as usize), (before, 3 * record));
    assert_eq!(wal.counters().wal_torn_tails, 1);
    // Exactly as long as what was lost, so that the next record would be found right behind it.
    append(&wal, &wal.group(G).unwrap(), 3..4, 50);
    drop(wal);
    assert_eq!(indexes(&opened(&disk).group(G).unwrap()), [0, 1, 2, 3]);
}

#[test]
fn the_last_record_at_rest_was_never_acknowledged() {
    let (disk, end) = at_rest(false);
    let bytes_of_the_empty_record = 24;
    disk.damage(FIRST, |bytes| bytes[end.offset as usize - bytes_of_the_empty_record - 10] ^= 1);
    let error = open(&disk, small()).unwrap_err();
    assert!(matches!(error, WalError::Corrupt { .. }), "without the floor's help: {error}");
}

#[test]
fn lost_segments_are_noticed() {
    let disk = SimDisk::new();
    let wal = opened(&disk);
    append(&wal, &wal.group(G).unwrap(), 0..200, 300);
    wal.write_floor();
    drop(wal);
    let begun = open(&disk.fork(), small()).unwrap().1.segments;
    assert!(begun >= 4, "{begun} segments");
    for lost in 1..=begun {
        let copy = disk.fork();
        raft_consensus::disk::Disk::remove(&copy, &format!("wal/{lost:016}.seg")).unwrap();
        let error = open(&copy, small()).unwrap_err();
        let below = matches!(error, WalError::BelowFloor { .. });
        assert_eq!(below, lost == begun, "segment {lost}: {error}");
        assert!(below || matches!(error, WalError::Corrupt { .. }), "segment {lost}: {error}");
    }
}

#[test]
fn an_older_copy_of_the_log_is_below_the_floor() {
    let disk = SimDisk::new();
    let wal = opened(&disk);
    append(&wal, &wal.group(G).unwrap(), 0..5, 50);
    let mut old = Vec::new();
    disk.damage(FIRST, |bytes| old.clone_from(bytes));
    let wal = opened(&disk);
    append(&wal, &wal.group(G).unwrap(), 5..9, 50);
    wal.write_floor();
    disk.damage(FIRST, |bytes| *bytes = old);
    let error = open(&disk, small()).unwrap_err();
    let WalError::BelowFloor { end, floor } = &error else { panic!("{error}") };
    assert!(end < floor);
    assert!(error.to_string().contains("new one"), "{error}");
}

#[test]
fn a_log_without_its_floor_is_refused() {
    let (disk, _) = at_rest(true);
    let copy = disk.fork();
    raft_consensus::disk::Disk::remove(&copy, "floor").unwrap();
    assert!(matches!(open(&copy, small()), Err(WalError::Floor { what: "missing beside a log" })));
    disk.damage("floor", |bytes| bytes.iter_mut().for_each(|b| *b ^= 0x40));
    assert!(matches!(open(&disk, small()), Err(WalError::Floor { what: "damaged" })));
}

#[test]
fn a_deleted_log_is_below_its_floor() {
    let (disk, _) = at_rest(true);
    for name in raft_consensus::disk::Disk::list(&disk, "wal").unwrap() {
        raft_consensus::disk::Disk::remove(&disk, &format!("wal/{name}")).unwrap();
    }
    assert!(matches!(open(&disk, small()), Err(WalError::BelowFloor { .. })));
}

/// A process dies between write and sync; the machine does, after the next start has believed what it read.
#[test]
fn what_a_start_has_read_is_durable() {
    let disk = SimDisk::new();
    let options = || WalOptions {
        durability: raft_consensus::wal::Durability::Interval(std::time::Duration::MAX),
        ..small()
    };
    let wal = open(&disk, options()).unwrap().0;
    append(&wal, &wal.group(G).unwrap(), 0..5, 50);
    drop(wal);
    let wal = open(&disk, options()).unwrap().0;
    assert_eq!(indexes(&wal.group(G).unwrap()), [0, 1, 2, 3, 4]);
    drop(wal);
    disk.crash(CrashMode::LoseAll, 0);
    assert_eq!(indexes(&opened(&disk).group(G).unwrap()), [0, 1, 2, 3, 4]);
}

#[test]
fn damage_in_a_segment_in_use_is_noticed_by_a_read() {
    let disk = SimDisk::new();
    let wal = opened(&disk);
    let log = wal.group(G).unwrap();
    append(&wal, &log, 0..20, 100);
    disk.damage(FIRST, |bytes| bytes[400] ^= 1);
    let error = log.read(0..20, usize::MAX).unwrap_err();
    assert!(matches!(&error, WalError::Corrupt { file, .. } if file == FIRST), "{error}");
    settle(&wal);
}
