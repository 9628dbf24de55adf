//! A disk that lost something, on a node that is not alone (F22 to F24): a checkpoint comes back from the others, a log
//! never does.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use raft_consensus::group::Timing;
use raft_consensus::network::Channel;
use raft_consensus::storage::StorageError;
use raft_consensus::types::NodeId;
use raft_consensus::wal::WalError;

use crate::cluster::{Cluster, NODES, eventually};

/// A cluster in which every node has a checkpoint and log behind it, without one that was stopped.
async fn without_one() -> (Cluster, NodeId) {
    let mut cluster = Cluster::start(Timing::ZONES).await;
    cluster.insist(0..300).await;
    cluster.agrees().await;
    for node in NODES {
        cluster.checkpoint(node).await;
    }
    cluster.insist_padded(300..340, 200 << 10).await;
    cluster.agrees().await;
    for node in NODES {
        cluster.checkpoint(node).await;
    }
    cluster.insist(340..400).await;
    cluster.agrees().await;
    let leader = cluster.leader().await;
    let stopped = NODES.into_iter().find(|node| *node != leader).unwrap();
    cluster.stop_node(stopped).await;
    cluster.insist(400..450).await;
    (cluster, stopped)
}

/// The node is whole again after a start, with everything; says how many checkpoints were asked for.
async fn comes_back(mut cluster: Cluster, node: NodeId) -> u64 {
    let (_, before) = cluster.network.used(Channel::Snapshot);
    cluster.start_node(node).await;
    let (_, after) = cluster.network.used(Channel::Snapshot);
    cluster.insist(450..500).await;
    cluster.agrees().await;
    assert_eq!(cluster.numbers(node).await.len(), 500);
    cluster.checkpoint(node).await;
    cluster.stop_node(node).await;
    let (_, fetched) = cluster.network.used(Channel::Snapshot);
    cluster.start_node(node).await;
    cluster.agrees().await;
    assert_eq!(cluster.network.used(Channel::Snapshot).1, fetched, "what it has is enough");
    cluster.stop().await;
    after - before
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(self::files(&path)) } else { files.push(path) }
    }
    files
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

/// Flips a bit wherever two of the numbers follow each other: in the record, wherever it lies; says whether it is there.
fn flip_numbers(bytes: &mut [u8]) -> bool {
    let pair = |number: u64| [number.to_be_bytes(), (number + 1).to_be_bytes()].concat();
    (10..300).map(pair).any(|pair| {
        let found: Vec<usize> = (0..bytes.len() - 16).filter(|at| bytes[*at..].starts_with(&pair)).collect();
        found.iter().for_each(|at| bytes[at + 15] ^= 1);
        !found.is_empty()
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleted_checkpoints_are_fetched_from_another_member() {
    let (cluster, node) = without_one().await;
    let directory = cluster.directories[&node].path();
    fs::remove_dir_all(directory.join("sessions")).unwrap();
    assert_eq!(comes_back(cluster, node).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_copy_of_the_checkpoints_is_replaced() {
    let mut cluster = Cluster::start(Timing::ZONES).await;
    cluster.insist(0..100).await;
    cluster.agrees().await;
    let node = 3;
    cluster.checkpoint(node).await;
    cluster.stop_node(node).await;
    let sessions = cluster.directories[&node].path().join("sessions");
    let copies: Vec<(PathBuf, Vec<u8>)> =
        files(&sessions).into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect();
    cluster.start_node(node).await;
    cluster.insist(100..450).await;
    cluster.agrees().await;
    for node in NODES {
        cluster.checkpoint(node).await;
    }
    cluster.stop_node(node).await;
    fs::remove_dir_all(&sessions).unwrap();
    for (path, bytes) in copies {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    assert_eq!(comes_back(cluster, node).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_checkpoints_are_fetched_from_another_member() {
    for part in 0..4 {
        let (cluster, node) = without_one().await;
        let db = cluster.directories[&node].path().join("sessions/db");
        change(&db, |bytes| {
            let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();
            match part {
                0 => bytes.truncate(used / 2),
                1 => bytes[used / 4..used / 2].fill(0),
                2 => assert!(flip_numbers(bytes), "no number is in the file"),
                _ => bytes[used / 2] ^= 16,
            }
        });
        let asked = comes_back(cluster, node).await;
        // A bit in the middle may be one that nobody reads.
        assert!(asked == 1 || part > 2, "{asked} times after damage {part}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_member_is_enough_to_fetch_from_and_it_need_not_lead() {
    let (mut cluster, node) = without_one().await;
    let leader = cluster.leader().await;
    cluster.agrees().await;
    cluster.stop_node(leader).await;
    fs::remove_dir_all(cluster.directories[&node].path().join("sessions")).unwrap();
    cluster.start_node(node).await;
    cluster.insist(450..500).await;
    cluster.agrees().await;
    cluster.start_node(leader).await;
    cluster.agrees().await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_that_the_log_does_not_go_on_from_is_not_taken() {
    let mut cluster = Cluster::start(Timing::ZONES).await;
    let (old, node) = (1, 3);
    cluster.insist(0..410).await;
    cluster.agrees().await;
    cluster.checkpoint(old).await;
    let last = cluster.log(old).last().unwrap().0;
    cluster.insist_padded(410..450, 200 << 10).await;
    cluster.agrees().await;
    for newer in [2, node] {
        cluster.checkpoint(newer).await;
    }
    eventually("a log that was let go", || async {
        cluster.log(node).purged().is_some_and(|(index, _)| index > last).then_some(())
    })
    .await;
    cluster.stop_node(node).await;
    fs::remove_dir_all(cluster.directories[&node].path().join("sessions")).unwrap();
    assert_eq!(comes_back(cluster, node).await, 2, "the first one asked has an old one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_fetched_damaged_is_fetched_again() {
    let (cluster, node) = without_one().await;
    fs::remove_dir_all(cluster.directories[&node].path().join("sessions")).unwrap();
    let damage = Arc::clone(&cluster.damage);
    for what in [&damage.flips, &damage.losses, &damage.files, &damage.ends] {
        what.store(2, Ordering::Relaxed);
    }
    let asked = comes_back(cluster, node).await;
    assert!(asked > 3, "{asked} times");
    assert_eq!(damage.left(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_is_damaged_or_gone_is_named_and_the_node_comes_back_under_another_id() {
    for flip in [true, false] {
        let (mut cluster, node) = without_one().await;
        let mut segments: Vec<PathBuf> = files(&cluster.directories[&node].path().join("wal"));
        segments.retain(|path| path.extension().is_some_and(|extension| extension == "seg"));
        segments.sort();
        if flip {
            change(&segments[0], |bytes| bytes[60 << 10] ^= 1);
        } else {
            segments.iter().for_each(|segment| fs::remove_file(segment).unwrap());
        }
        let error = cluster.open(node).map(|_| ()).unwrap_err();
        let named = match &error {
            StorageError::Log(WalError::Corrupt { .. }) => flip,
            StorageError::Log(WalError::BelowFloor { .. }) => !flip,
            _ => false,
        };
        assert!(named, "{error}");

        let new = 4;
        cluster.directories.insert(new, tempfile::tempdir().unwrap());
        cluster.start_node(new).await;
        let members = NODES.into_iter().filter(|member| *member != node).chain([new]);
        let leader = cluster.leader().await;
        cluster.nodes[&leader].group.change_members(members).await.unwrap();
        cluster.stop_node(leader).await;
        cluster.insist(450..500).await;
        cluster.start_node(leader).await;
        cluster.agrees().await;
        assert_eq!(cluster.numbers(new).await.len(), 500);
        cluster.stop().await;
    }
}
