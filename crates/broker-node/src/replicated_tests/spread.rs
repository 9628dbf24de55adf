//! The load of clients goes to the groups of their shards, each with its own leader and log.

use std::collections::BTreeMap;

use mqtt_codec::QoS;

use super::cluster::Cluster;
use crate::testing::SHARDS;

const MESSAGES: u64 = 20;

impl Cluster {
    /// A client of each shard.
    fn one_of_each_shard(&self) -> BTreeMap<u16, String> {
        let mut names = BTreeMap::new();
        for number in 0.. {
            let name = format!("c-{number}");
            names.entry(self.home_of(&name)).or_insert(name);
            if names.len() == usize::from(SHARDS) {
                break;
            }
        }
        names
    }

    /// How far each shard's leader has applied its log.
    async fn applied(&self) -> Vec<u64> {
        let mut applied = Vec::new();
        for shard in 0..SHARDS {
            let leader = self.leader(shard).await;
            let group = self.nodes[&leader].shards.groups().nth(usize::from(shard)).unwrap();
            let index = group.look_now(|state| state.applied().last_log_id.map_or(0, |id| id.index));
            applied.push(index.await.unwrap());
        }
        applied
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_clients_of_different_shards_do_is_committed_by_different_groups() {
    let cluster = Cluster::start().await;
    let names = cluster.one_of_each_shard();
    let mut publisher = cluster.client(2, "publisher").await;
    for (shard, name) in &names {
        let mut client = cluster.client(1, name).await;
        client.subscribe(&format!("for/{name}")).await;
        client.disconnect().await;
        let before = cluster.applied().await;
        for payload in 0..MESSAGES {
            // Each is acknowledged before the next is sent, so that none shares its entry.
            assert!(publisher.publish(&format!("for/{name}"), payload, QoS::AtLeastOnce).await);
        }
        assert_led(*shard, &before, &cluster.applied().await);
    }
    for (shard, name) in &names {
        let mut client = cluster.client(3, name).await;
        let before = cluster.applied().await;
        for payload in 0..MESSAGES {
            assert!(client.publish("for/nobody", payload, QoS::ExactlyOnce).await);
        }
        assert_led(*shard, &before, &cluster.applied().await);
    }
}

/// One group has committed all of it.
fn assert_led(shard: u16, before: &[u64], after: &[u64]) {
    for (number, (before, after)) in (0..).zip(before.iter().zip(after)) {
        assert_eq!(after - before >= MESSAGES, number == shard, "shard {number}: {before} to {after}");
    }
}
