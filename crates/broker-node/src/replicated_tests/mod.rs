//! Shards with three replicas: any client on any node, and nothing that was acknowledged is lost or comes twice when
//! leaderships move and nodes die.

mod client;
mod cluster;
mod elsewhere;
mod group;
mod late;
mod lost;
mod moving;
mod port;
mod retained;
mod silence;
mod spread;

use std::time::Duration;

use mqtt_codec::{QoS, ReasonCode};

use self::client::{Client, persistent, will};
use self::cluster::{Cluster, NODES};
use crate::testing::SHARDS;

/// Long enough for what must not come to come.
const QUIET: Duration = Duration::from_millis(500);
/// Longer than a change of leader takes.
const LONG: Duration = Duration::from_secs(60);

/// Makes tests of scenarios: between nodes that reach each other in memory, and over ports as processes do.
macro_rules! in_memory_and_linked {
    ($($scenario:ident,)*) => {
        mod in_memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $scenario() {
                super::$scenario(super::Cluster::start().await).await;
            })*
        }

        mod linked {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $scenario() {
                super::$scenario(super::Cluster::linked().await).await;
            })*
        }
    };
}

in_memory_and_linked! {
    a_queue_that_has_left_memory_is_drained_on_any_node_while_leaderships_move,
    any_client_on_any_node_gets_what_is_published_on_any_other,
    a_session_is_found_on_every_node_with_what_came_meanwhile,
    a_client_that_comes_elsewhere_takes_its_session_over,
    leaderships_that_move_under_load_lose_nothing_and_repeat_nothing,
    a_node_that_dies_while_it_leads_takes_nothing_acknowledged_with_it,
    the_wills_and_sessions_of_a_dead_node_are_not_lost_with_it,
}

fn payloads(got: &[(u64, bool)]) -> Vec<u64> {
    got.iter().map(|(payload, _)| *payload).collect()
}

async fn any_client_on_any_node_gets_what_is_published_on_any_other(cluster: Cluster) {
    let mut subscribers = Vec::new();
    for node in NODES {
        let mut client = cluster.client(node, &format!("sub-{node}")).await;
        client.subscribe("t/#").await;
        subscribers.push(client);
    }
    let mut sent = Vec::new();
    for (node, qos) in [(1, QoS::AtLeastOnce), (2, QoS::ExactlyOnce), (3, QoS::AtLeastOnce)] {
        let mut publisher = cluster.client(node, &format!("pub-{node}")).await;
        for number in 0..20 {
            let payload = u64::from(node) * 100 + number;
            assert!(publisher.publish("t/1", payload, qos).await);
            sent.push(payload);
        }
    }
    for client in &mut subscribers {
        let mut got = client.receive(sent.len(), LONG).await;
        got.extend(client.receive(1, QUIET).await);
        let mut got = payloads(&got);
        got.sort_unstable();
        assert_eq!(got, sent);
    }
    cluster.until_equal().await;
}

async fn a_session_is_found_on_every_node_with_what_came_meanwhile(cluster: Cluster) {
    let mut client = cluster.client(1, "c").await;
    assert!(!client.session_present);
    client.subscribe("t").await;
    client.disconnect().await;
    let mut publisher = cluster.client(2, "p").await;
    for number in 0..10 {
        assert!(publisher.publish("t", number, QoS::AtLeastOnce).await);
    }
    assert!(publisher.retain("kept", 99).await);
    let mut client = cluster.client(3, "c").await;
    assert!(client.session_present);
    assert_eq!(payloads(&client.receive(10, LONG).await), (0..10).collect::<Vec<u64>>());
    client.subscribe("kept").await;
    assert_eq!(payloads(&client.receive(1, LONG).await), [99]);
}

/// Each replica has its own pages: a host asks whoever leads, and after a change of leader another one.
async fn a_queue_that_has_left_memory_is_drained_on_any_node_while_leaderships_move(cluster: Cluster) {
    const MESSAGES: u64 = 300;
    for (node, name) in [(1, "a"), (2, "b")] {
        let mut client = cluster.client(node, name).await;
        client.subscribe("t").await;
        client.disconnect().await;
    }
    let mut publisher = cluster.client(2, "p").await;
    for number in 0..MESSAGES {
        let qos = if number % 2 == 0 { QoS::ExactlyOnce } else { QoS::AtLeastOnce };
        assert!(publisher.publish("t", number, qos).await);
    }
    cluster.until_stored(600).await;
    cluster.until_equal().await;
    for (node, name) in [(3, "a"), (1, "b")] {
        cluster.lead_all(2).await;
        let mut client = cluster.client(node, name).await;
        assert!(client.session_present);
        let mut got = client.receive(100, LONG).await;
        cluster.lead_all(node).await;
        let left = usize::try_from(MESSAGES).unwrap().saturating_sub(got.len());
        got.extend(client.receive(left, LONG).await);
        got.extend(client.receive(1, QUIET).await);
        assert!(got.iter().all(|(_, dup)| !dup), "nothing was sent twice on one connection");
        // There is an order among those of the same QoS alone: the others go another way.
        for of_qos in 0..2 {
            let got: Vec<u64> = payloads(&got).into_iter().filter(|number| number % 2 == of_qos).collect();
            assert_eq!(got, (of_qos..MESSAGES).step_by(2).collect::<Vec<u64>>());
        }
    }
    cluster.until_stored(0).await;
    cluster.until_equal().await;
}

async fn a_client_that_comes_elsewhere_takes_its_session_over(cluster: Cluster) {
    let mut old = cluster.client(1, "c").await;
    old.subscribe("t").await;
    let mut new = cluster.client(2, "c").await;
    assert_eq!((old.end().await, new.session_present), (Some(ReasonCode::SessionTakenOver), true));
    let mut publisher = cluster.client(3, "p").await;
    assert!(publisher.publish("t", 7, QoS::ExactlyOnce).await);
    assert_eq!(payloads(&new.receive(1, LONG).await), [7]);
}

/// Publishes until told to stop; gives the numbers whose exchanges were complete, and how often it lost its connection.
async fn publish_all(mut client: Client, qos: QoS, count: u64) -> u64 {
    for number in 0..count {
        assert!(client.publish("t", number, qos).await, "{number}: the connection ended");
    }
    count
}

async fn leaderships_that_move_under_load_lose_nothing_and_repeat_nothing(cluster: Cluster) {
    let mut subscriber = cluster.client(2, "sub").await;
    subscriber.subscribe("t").await;
    let publishers = [(1, QoS::ExactlyOnce), (3, QoS::AtLeastOnce)].map(|(node, qos)| {
        let address = cluster.address(node).to_owned();
        tokio::spawn(async move {
            let client = Client::connect(&address, &format!("pub-{node}")).await;
            publish_all(client, qos, 300).await
        })
    });
    let receiving = tokio::spawn(async move {
        let got = subscriber.receive(600, LONG).await;
        (got, subscriber.stray_releases)
    });
    for node in [1, 2, 3, 1, 3, 2] {
        cluster.lead_all(node).await;
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    for publisher in publishers {
        assert_eq!(publisher.await.unwrap(), 300);
    }
    let (got, stray_releases) = receiving.await.unwrap();
    assert_eq!(stray_releases, 0);
    assert!(got.iter().all(|(_, dup)| !dup), "nothing was sent twice on one connection");
    let mut numbers = payloads(&got);
    numbers.sort_unstable();
    assert_eq!(numbers, (0..300).flat_map(|number| [number, number]).collect::<Vec<u64>>());
    cluster.until_equal().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_lost_its_checkpoints_gets_its_shards_from_the_others() {
    gets_its_shards_from_the_others(Cluster::lose_checkpoints).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_checkpoints_are_damaged_gets_its_shards_from_the_others() {
    gets_its_shards_from_the_others(Cluster::damage_checkpoints).await;
}

/// A node comes back to less than it had, and leads all shards then.
async fn gets_its_shards_from_the_others(befall: fn(&Cluster, u32)) {
    let mut cluster = Cluster::start().await;
    let mut client = cluster.client(1, "c").await;
    client.subscribe("t").await;
    client.disconnect().await;
    let mut publisher = cluster.client(3, "p").await;
    for number in 0..50 {
        assert!(publisher.publish("t", number, QoS::AtLeastOnce).await);
    }
    // Checkpoints are made once a second.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(cluster.snapshots(), 0);
    cluster.kill(2).await;
    befall(&cluster, 2);
    for number in 50..60 {
        assert!(publisher.publish("t", number, QoS::AtLeastOnce).await);
    }
    cluster.restart(2).await;
    assert!(cluster.snapshots() >= u64::from(SHARDS), "{} were sent", cluster.snapshots());
    cluster.until_equal().await;
    cluster.lead_all(2).await;
    let mut client = cluster.client(2, "c").await;
    assert_eq!(payloads(&client.receive(60, LONG).await), (0..60).collect::<Vec<u64>>());
}

async fn a_node_that_dies_while_it_leads_takes_nothing_acknowledged_with_it(mut cluster: Cluster) {
    cluster.lead_all(1).await;
    let mut subscriber = cluster.client(2, "sub").await;
    subscriber.subscribe("t").await;
    let mut publisher = cluster.client(3, "pub").await;
    let publishing = tokio::spawn(async move {
        for number in 0..400 {
            let qos = if number % 2 == 0 { QoS::ExactlyOnce } else { QoS::AtLeastOnce };
            assert!(publisher.publish("t", number, qos).await);
        }
    });
    let receiving = tokio::spawn(async move {
        let got = subscriber.receive(400, LONG).await;
        (got, subscriber)
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    cluster.kill(1).await;
    publishing.await.unwrap();
    let (got, mut subscriber) = receiving.await.unwrap();
    let mut numbers = payloads(&got);
    numbers.sort_unstable();
    assert_eq!(numbers, (0..400).collect::<Vec<u64>>());
    assert!(subscriber.receive(1, QUIET).await.is_empty(), "nothing comes twice");
    cluster.restart(1).await;
    cluster.until_equal().await;
}

async fn the_wills_and_sessions_of_a_dead_node_are_not_lost_with_it(mut cluster: Cluster) {
    let mut subscriber = cluster.client(2, "sub").await;
    subscriber.subscribe("wills/#").await;
    for number in 0..5 {
        let mut connect = persistent(&format!("c-{number}"));
        connect.will = Some(will(&format!("wills/{number}")));
        let mut client = Client::connect_with(cluster.address(1), connect).await;
        client.subscribe("t").await;
        // It is the node's death that ends the connection.
        std::mem::forget(client);
    }
    cluster.kill(1).await;
    cluster.declare_dead(1);
    assert_eq!(subscriber.receive(5, LONG).await.len(), 5);
    assert!(subscriber.receive(1, QUIET).await.is_empty(), "a will comes once");
    let mut client = cluster.client(3, "c-3").await;
    assert!(client.session_present);
    let mut publisher = cluster.client(2, "p").await;
    assert!(publisher.publish("t", 1, QoS::AtLeastOnce).await);
    assert_eq!(payloads(&client.receive(1, LONG).await), [1]);
}
