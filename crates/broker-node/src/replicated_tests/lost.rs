//! What is lost on the way between nodes, and is said again; and a start that cannot come to its end.

use std::io;
use std::time::Duration;

use mqtt_codec::{Connect, QoS, ReasonCode};
use raft_consensus::group::Group;
use raft_consensus::machine::Machine;
use raft_consensus::network::Networks;
use raft_consensus::storage::{Storage, StorageError};
use raft_consensus::types::{NodeId, TokioTypes};
use raft_consensus::wal::GroupId;
use tokio::time::{sleep, timeout};

use super::client::{Client, PATIENCE, persistent};
use super::cluster::Cluster;
use super::{LONG, payloads};

/// The leader that hears of the end of the old connection tells the new one, which does not hear it: it asks again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connect_that_waits_hears_what_became_of_it_although_the_word_was_lost() {
    let cluster = Cluster::start().await;
    cluster.lead_all(1).await;
    let mut old = cluster.client(2, "c").await;
    old.subscribe("t").await;
    // It is not told to stop before the new one waits for that.
    let hears_again = cluster.lose_words_to(2);
    let address = cluster.address(3).to_owned();
    let connecting = tokio::spawn(async move { Client::connect(&address, "c").await });
    cluster.until_deferred(3).await;
    let new_hears_again = cluster.lose_words_to(3);
    hears_again();
    // Node 2 is told to stop the old one as soon as another leads.
    cluster.lead_all(2).await;
    assert_eq!(old.end().await, Some(ReasonCode::SessionTakenOver));
    // It is closed when its end is in the log.
    assert_eq!(old.end().await, None);
    new_hears_again();
    let new = timeout(PATIENCE, connecting).await.expect("a CONNACK in time").unwrap();
    assert!(new.session_present);
}

/// What is for it waits until it has one again, and what is for others does not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_without_a_quorum_holds_back_nobody_else() {
    const MESSAGES: usize = 400;
    let mut cluster = Cluster::start().await;
    cluster.lead_all(1).await;
    let mut elsewhere = (0..).map(|n| format!("s-{n}")).filter(|name| cluster.home_of(name) == 1);
    let mut waits = cluster.client(1, &elsewhere.next().unwrap()).await;
    waits.subscribe("t").await;
    let mut names = (0..).map(|n| format!("c-{n}")).filter(|name| cluster.home_of(name) == 0);
    let connect = Connect { clean_start: true, session_expiry_s: None, ..persistent(&names.next().unwrap()) };
    let mut subscriber = Client::connect_with(cluster.address(1), connect).await;
    subscriber.subscribe("t").await;
    let mut publisher = cluster.client(1, &names.next().unwrap()).await;
    cluster.stop_shard(1, [2, 3]).await;
    // Each of them is for the other shard as well, which does not take it.
    for number in 0..MESSAGES as u64 {
        assert!(publisher.publish("t", number, QoS::ExactlyOnce).await);
    }
    let all = (0..MESSAGES as u64).collect::<Vec<u64>>();
    assert_eq!(payloads(&subscriber.receive(MESSAGES, LONG).await), all);
    cluster.kill(2).await;
    cluster.restart(2).await;
    assert_eq!(payloads(&waits.receive(MESSAGES, LONG).await), all);
}

/// Networks of groups that end once the start has nothing left to do but to wait for their leader.
struct Ending<N>(N);

impl<N: Networks<TokioTypes>> Networks<TokioTypes> for Ending<N> {
    type Network = N::Network;

    fn network(&self, group: GroupId) -> N::Network {
        self.0.network(group)
    }

    fn fetch_missing(
        &self,
        storage: &Storage,
        group: GroupId,
        members: &[NodeId],
    ) -> impl Future<Output = Result<(), StorageError>> + Send {
        self.0.fetch_missing(storage, group, members)
    }

    fn started<M: Machine>(&self, group: &Group<TokioTypes, M>) -> io::Result<()> {
        let ends = group.clone();
        tokio::spawn(async move {
            sleep(Duration::from_secs(2)).await;
            ends.stop().await;
        });
        self.0.started(group)
    }
}

/// Its groups have caught up, but the leaders do not hear that it is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_waits_for_its_leaders_fails_when_its_groups_do() {
    let mut cluster = Cluster::start().await;
    for _ in 0..5 {
        cluster.lead_all(2).await;
        cluster.kill(1).await;
        let hear_again = [2, 3].map(|node| cluster.lose_words_to(node));
        let started = cluster.try_start(1, Ending).await;
        hear_again.into_iter().for_each(|hears| hears());
        if let Err(failed) = started {
            assert!(failed.to_string().contains("stopped"), "{failed:#}");
            return;
        }
        // On a very busy machine it may lead itself.
    }
    panic!("it never waited");
}
