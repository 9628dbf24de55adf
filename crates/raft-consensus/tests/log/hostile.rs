//! Files with anything in them: opening a log never panics, and never takes a log for whole that it is not.

use raft_consensus::disk::{Disk, SimDisk};

use crate::common::{Chance, G, append, entry, indexes, open, opened, purge, small};

const FILES: [&str; 4] =
    ["wal/0000000000000001.seg", "wal/0000000000000002.seg", "wal/0000000000000003.seg", "floor"];

/// A log of two segments and a prepared one.
fn whole() -> SimDisk {
    let disk = SimDisk::new();
    let wal = opened(&disk);
    let log = wal.group(G).unwrap();
    append(&wal, &log, 0..60, 300);
    purge(&wal, &log, 3);
    wal.write_floor();
    disk
}

/// Changes a file in one of the ways in which files change.
fn hurt(disk: &SimDisk, chance: &mut Chance) {
    let name = FILES[chance.below(4) as usize];
    let (way, long) = (chance.below(5), chance.below(700) as usize + 1);
    let (from, to) = (chance.next() as usize, chance.next() as usize);
    disk.damage(name, |bytes| {
        let (from, to) = (from % bytes.len().max(1), to % bytes.len().max(1));
        let end = (from + long).min(bytes.len());
        let to = to.min(bytes.len() - (end - from));
        match way {
            0 => bytes.truncate(from),
            1 => bytes[from..end].fill(0),
            2 => bytes.copy_within(from..end, to),
            3 => bytes[from..end].iter_mut().for_each(|byte| *byte = chance.next() as u8),
            _ => bytes.drain(from..end).for_each(drop),
        }
    });
}

#[test]
fn a_log_of_garbage_never_panics() {
    for seed in 0..100 {
        let mut chance = Chance(seed);
        let disk = SimDisk::new();
        for name in FILES {
            let file = disk.create(name).unwrap();
            let bytes: Vec<u8> = (0..chance.below(20_000)).map(|_| chance.next() as u8).collect();
            file.write_at(&bytes, 0).unwrap();
        }
        assert!(open(&disk, small()).is_err(), "seed {seed}");
    }
}

#[test]
fn a_hurt_log_is_refused_or_whole() {
    let good = whole();
    let (mut refused, mut taken) = (0, 0);
    for seed in 0..600 {
        let disk = good.fork();
        hurt(&disk, &mut Chance(seed));
        match open(&disk, small()) {
            Err(_) => refused += 1,
            Ok((wal, _)) => {
                taken += 1;
                let log = wal.group(G).unwrap();
                assert_eq!(indexes(&log), (4..60).collect::<Vec<_>>(), "seed {seed}");
                append(&wal, &log, 60..61, 10);
            }
        }
    }
    assert!(refused > 100 && taken > 100, "{refused} refused, {taken} taken");
}

/// Many changes at once may be anything, but no panic.
#[test]
fn a_log_hurt_all_over_never_panics() {
    let good = whole();
    for seed in 0..300 {
        let disk = good.fork();
        let mut chance = Chance(seed);
        for _ in 0..20 {
            hurt(&disk, &mut chance);
        }
        if let Ok((wal, _)) = open(&disk, small()) {
            let log = wal.group(G).unwrap();
            let _ = log.read(0..100, usize::MAX);
            let next = log.last().map_or(0, |last| last.0 + 1);
            let _ = log.append(vec![entry(next, 1, 10)], Box::new(drop));
            wal.step();
        }
    }
}
