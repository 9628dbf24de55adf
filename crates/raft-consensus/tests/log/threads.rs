//! The log as a node runs it: real files, its own threads, many appenders.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use raft_consensus::disk::FileDisk;
use raft_consensus::wal::{GroupId, Recovery, Wal, WalError, WalOptions, WalThreads};

use crate::common::{Acks, G, entry, indexes, small};

fn start(dir: &std::path::Path) -> (Wal, WalThreads, Recovery) {
    let options =
        WalOptions { quiet: Duration::from_millis(20), floor_every: Duration::from_millis(10), ..small() };
    let (wal, recovery) = Wal::open(Arc::new(FileDisk::new(dir).unwrap()), options).unwrap();
    let threads = wal.start().unwrap();
    (wal, threads, recovery)
}

#[test]
fn many_threads_append_and_all_of_it_is_there_after_a_stop() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, threads, _) = start(dir.path());
    let done = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for id in 0..4 {
            let log = wal.group(GroupId(id)).unwrap();
            let done = &done;
            scope.spawn(move || {
                for index in 0..200 {
                    let (tell, told) = sync_channel(1);
                    log.append(vec![entry(index, 1, 150)], Box::new(move |r| tell.send(r).unwrap())).unwrap();
                    told.recv().unwrap().unwrap();
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(done.load(Ordering::Relaxed), 800);
    let counters = wal.counters();
    assert_eq!(counters.wal_appends, 800);
    assert!(counters.wal_written_bytes > 800 * 150 && counters.wal_segments_created > 7, "{counters:?}");
    threads.stop();
    assert!(matches!(wal.ended(), Some(WalError::Closed)));
    let refused = wal.group(G).unwrap().append(vec![entry(200, 1, 1)], Acks::default().note(0));
    assert!(matches!(refused, Err(WalError::Closed)));
    drop(wal);
    let (wal, _threads, recovery) = start(dir.path());
    assert_eq!(recovery.torn_tail, None);
    for id in 0..4 {
        assert_eq!(indexes(&wal.group(GroupId(id)).unwrap()), (0..200).collect::<Vec<_>>());
    }
}

#[test]
fn the_threads_write_the_floor_and_the_empty_record_and_then_rest() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, threads, _) = start(dir.path());
    let log = wal.group(G).unwrap();
    let acks = Acks::default();
    log.append(vec![entry(0, 1, 10)], acks.note(1)).unwrap();
    let patience = Instant::now() + Duration::from_secs(60);
    while !wal.is_resting() && Instant::now() < patience {
        std::thread::yield_now();
    }
    assert!(wal.is_resting());
    assert_eq!((acks.good(), wal.counters().wal_records), (vec![1], 2));
    threads.stop();
    assert!(wal.counters().wal_floor_writes >= 1);
    drop((wal, log));
    let (_, _threads, recovery) = start(dir.path());
    assert_eq!(recovery.floor.synced, recovery.end);
    assert_eq!(recovery.records, 2);
}
