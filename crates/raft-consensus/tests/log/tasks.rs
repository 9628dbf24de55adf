//! The log driven by tasks, on the simulated runtime: the same work in the same order, every time.

use std::time::Duration;

use openraft::type_config::TypeConfigExt;
use openraft_rt_sim::SimRuntime;
use raft_consensus::disk::SimDisk;
use raft_consensus::types::{Applied, Proposal};
use raft_consensus::wal::{GroupId, Wal, WalCounters, WalOptions, tasks};

use crate::common::{Acks, G, entry, indexes, open, small};

openraft::declare_raft_types!(
    SimTypes:
        D = Proposal,
        R = Applied,
        NodeId = u64,
        Node = openraft::EmptyNode,
        AsyncRuntime = SimRuntime,
);

async fn some_work(wal: Wal, acks: Acks) {
    for number in 0..200_u64 {
        let log = wal.group(GroupId(number as u32 % 4)).unwrap();
        let next = log.last().map_or(0, |last| last.0 + 1);
        log.append(vec![entry(next, 1, 300)], acks.note(number)).unwrap();
        if number % 7 == 0 {
            SimTypes::sleep(Duration::from_millis(number % 30)).await;
        }
    }
    SimTypes::sleep(Duration::from_secs(1)).await;
}

fn run(seed: u64) -> (WalCounters, Vec<u64>) {
    use openraft::async_runtime::AsyncRuntime;

    let disk = SimDisk::new();
    let wal = open(&disk, WalOptions { quiet: Duration::from_millis(100), ..small() }).unwrap().0;
    let acks = Acks::default();
    let mut runtime = SimRuntime::with_seed(seed);
    let (driven, told) = (wal.clone(), acks.clone());
    runtime.block_on(async move {
        tasks::spawn::<SimTypes>(&driven);
        some_work(driven, told).await;
    });
    assert!(wal.is_resting(), "the quiet has come");
    let counters = wal.counters();
    drop(wal);
    let (wal, recovery) = open(&disk, small()).unwrap();
    assert_eq!(recovery.floor.synced, recovery.end, "the floor was written");
    assert_eq!(indexes(&wal.group(G).unwrap()), (0..50).collect::<Vec<_>>());
    (counters, acks.good())
}

/// Something that nobody waits for, again and again, each time before the log would have gone quiet.
#[test]
fn what_nobody_waits_for_is_not_put_off_for_ever() {
    use openraft::async_runtime::AsyncRuntime;

    let disk = SimDisk::new();
    let wal = open(&disk, WalOptions { quiet: Duration::from_millis(100), ..small() }).unwrap().0;
    let driven = wal.clone();
    SimRuntime::with_seed(1).block_on(async move {
        tasks::spawn::<SimTypes>(&driven);
        let log = driven.group(G).unwrap();
        for number in 0..100_u8 {
            log.save_committed(vec![number].into()).unwrap();
            SimTypes::sleep(Duration::from_millis(30)).await;
        }
    });
    assert!(wal.counters().wal_records >= 80, "{:?}", wal.counters());
}

#[test]
fn tasks_do_what_the_threads_do() {
    let (counters, acks) = run(1);
    assert_eq!(acks, (0..200).collect::<Vec<_>>());
    assert!(counters.wal_syncs < 200 && counters.wal_segments_created >= 5, "{counters:?}");
    assert_eq!(run(1), (counters, acks), "the same again");
}
