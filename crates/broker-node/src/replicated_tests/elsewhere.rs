//! Publishes for transient subscribers and members of shared groups on other nodes: all of them arrive, once and in order,
//! from the SUBACK on, whatever becomes of the way and of the nodes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use mqtt_codec::{Connect, QoS};
use raft_consensus::cluster::Owner;
use session_store::ShardId;
use tokio::time::{sleep, timeout};

use super::client::{Client, PATIENCE, persistent};
use super::cluster::{Cluster, NODES};
use super::moving::take_part;
use super::{LONG, QUIET, payloads};

impl Cluster {
    /// A client whose session ends with its connection.
    async fn transient(&self, node: u32, name: &str) -> Client {
        Client::connect_with(self.address(node), transient(name)).await
    }
}

fn transient(name: &str) -> Connect {
    Connect { clean_start: true, session_expiry_s: None, ..persistent(name) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transient_subscribers_on_all_nodes_get_everything_once_and_in_its_order() {
    all_get_everything(Cluster::start().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transient_subscribers_get_the_same_by_links_between_processes() {
    all_get_everything(Cluster::linked().await).await;
}

async fn all_get_everything(cluster: Cluster) {
    let mut subscribers = Vec::new();
    for node in NODES {
        let mut client = cluster.transient(node, &format!("sub-{node}")).await;
        client.subscribe("t/#").await;
        client.subscribe("t/+").await;
        subscribers.push(client);
    }
    let mut publishers = Vec::new();
    for node in NODES {
        publishers.push(cluster.transient(node, &format!("transient-{node}")).await);
        publishers.push(cluster.client(node, &format!("persistent-{node}")).await);
    }
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        for number in 0..10 {
            for (publisher, client) in (0..).zip(&mut publishers) {
                assert!(client.publish("t/1", publisher * 100 + number, qos).await);
            }
        }
        for client in &mut subscribers {
            let got = payloads(&client.receive(60, LONG).await);
            for publisher in 0..6 {
                let of: Vec<u64> = got.iter().filter(|n| **n / 100 == publisher).map(|n| n % 100).collect();
                assert_eq!(of, (0..10).collect::<Vec<u64>>(), "{qos:?} of {publisher}");
            }
        }
    }
    for client in &mut subscribers {
        assert!(client.receive(1, QUIET).await.is_empty(), "nothing comes twice");
    }
}

/// A1: the second SUBSCRIBE changes no route, and yet what it relies on is still on its way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_suback_leaves_before_every_node_matches_against_the_filter_also_where_it_was_known() {
    let cluster = Cluster::start().await;
    let mut publisher = cluster.transient(3, "p").await;
    for connect in [transient, persistent] {
        let topic = if connect("").clean_start { "transient" } else { "persistent" };
        let mut clients = Vec::new();
        for name in ["one", "two"] {
            let connect = connect(&format!("{name}-{topic}"));
            clients.push(Client::connect_with(cluster.address(2), connect).await);
        }
        cluster.group.hold(3, true);
        let mut subscribing = Vec::new();
        for mut client in clients {
            subscribing.push(tokio::spawn(async move {
                client.subscribe(topic).await;
                client
            }));
            sleep(QUIET).await;
        }
        assert!(subscribing.iter().all(|of| !of.is_finished()), "{topic}: before all nodes know of it");
        cluster.group.hold(3, false);
        for subscribing in subscribing {
            let mut client = timeout(PATIENCE, subscribing).await.expect("a SUBACK in time").unwrap();
            assert!(publisher.publish(topic, 7, QoS::AtLeastOnce).await);
            assert!(payloads(&client.receive(1, LONG).await).contains(&7), "{topic}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_published_elsewhere_right_after_suback_arrives_while_nodes_lag() {
    const ROUNDS: u64 = 40;
    let cluster = Cluster::start().await;
    let group = cluster.group.clone();
    let lagging = tokio::spawn(async move {
        loop {
            for node in NODES {
                group.hold(node, true);
                sleep(Duration::from_millis(15)).await;
                group.hold(node, false);
            }
        }
    });
    let mut publishers = [cluster.transient(3, "p3").await, cluster.client(1, "p1").await];
    for round in 0..ROUNDS {
        let topic = format!("t/{}", round / 2);
        let connect = if round % 4 < 2 { transient } else { persistent };
        let mut client = Client::connect_with(cluster.address(2), connect(&format!("s-{round}"))).await;
        client.subscribe(&topic).await;
        let [first, second] = &mut publishers;
        assert!(first.publish(&topic, round, QoS::AtLeastOnce).await);
        assert!(second.publish(&topic, round + 1_000, QoS::ExactlyOnce).await);
        let got: BTreeSet<u64> = payloads(&client.receive(2, LONG).await).into_iter().collect();
        assert_eq!(got, [round, round + 1_000].into());
    }
    lagging.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn words_that_are_lost_or_come_twice_between_hosts_change_nothing() {
    const EACH: u64 = 12;
    let cluster = Cluster::start().await;
    let mut subscriber = cluster.transient(2, "sub").await;
    subscriber.subscribe("t").await;
    let mut in_group = cluster.transient(2, "member").await;
    in_group.subscribe("$share/g/t").await;
    cluster.hosts.trouble(true);
    let publishing =
        [(1, QoS::AtLeastOnce), (1, QoS::ExactlyOnce), (3, QoS::AtLeastOnce), (3, QoS::ExactlyOnce)];
    let mut publishers = Vec::new();
    for (name, (node, qos)) in (0..).zip(publishing) {
        let connect = if name % 2 == 0 { transient } else { persistent };
        let mut client = Client::connect_with(cluster.address(node), connect(&format!("p-{name}"))).await;
        publishers.push(tokio::spawn(async move {
            for number in 0..EACH {
                assert!(client.publish("t", name * 100 + number, qos).await);
            }
        }));
    }
    let all: Vec<u64> = (0..4).flat_map(|name| (0..EACH).map(move |number| name * 100 + number)).collect();
    for client in [&mut subscriber, &mut in_group] {
        let mut got = payloads(&client.receive(all.len(), LONG).await);
        got.extend(payloads(&client.receive(1, QUIET).await));
        for name in 0..4 {
            let of: Vec<u64> = got.iter().copied().filter(|n| n / 100 == name).collect();
            assert_eq!(of, all.iter().copied().filter(|n| n / 100 == name).collect::<Vec<u64>>());
        }
    }
    for publisher in publishers {
        publisher.await.unwrap();
    }
    assert!(cluster.hosts.troubled() > 10, "{} words were lost or came twice", cluster.hosts.troubled());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_member_of_a_group_gets_each_message_wherever_it_is() {
    const MESSAGES: u64 = 60;
    let cluster = Cluster::start().await;
    let mut members = Vec::new();
    for node in NODES {
        members.push(cluster.transient(node, &format!("t-{node}")).await);
    }
    members.push(cluster.client(2, "p-2").await);
    for member in &mut members {
        member.subscribe("$share/g/t").await;
    }
    let mut publishers = [cluster.transient(3, "a").await, cluster.client(1, "b").await];
    let mut sent = Vec::new();
    for number in 0..MESSAGES {
        for (client, qos) in (0..).zip([QoS::AtLeastOnce, QoS::ExactlyOnce]) {
            let payload = client * 1_000 + number;
            let publisher = &mut publishers[usize::try_from(client).unwrap()];
            assert!(publisher.publish("t", payload, qos).await);
            sent.push(payload);
        }
    }
    let mut got = Vec::new();
    let mut counts = Vec::new();
    let came = Arc::new(AtomicUsize::new(0));
    let taking = members.into_iter().map(|member| take_part(member, Arc::clone(&came), sent.len()));
    for mine in futures_util::future::join_all(taking).await {
        counts.push(mine.len());
        got.extend(mine);
    }
    assert!(
        counts.iter().all(|count| *count as u64 > MESSAGES / 3),
        "{counts:?}: less than two thirds of its share"
    );
    got.sort_unstable();
    sent.sort_unstable();
    assert_eq!(got, sent);
}

/// C6: the view of the publisher's node says that there is a member where there is none any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_for_a_member_that_has_left_goes_to_another_node() {
    const MESSAGES: u64 = 20;
    let cluster = Cluster::start().await;
    let mut stays = cluster.transient(1, "stays").await;
    stays.subscribe("$share/g/t").await;
    let mut leaves = cluster.transient(2, "leaves").await;
    leaves.subscribe("$share/g/t").await;
    let mut publisher = cluster.transient(3, "p").await;
    cluster.group.hold(3, true);
    leaves.disconnect().await;
    for number in 0..MESSAGES {
        let qos = if number % 2 == 0 { QoS::AtLeastOnce } else { QoS::ExactlyOnce };
        assert!(publisher.publish("t", number, qos).await);
    }
    let mut got = payloads(&stays.receive(usize::try_from(MESSAGES).unwrap(), LONG).await);
    got.sort_unstable();
    assert_eq!(got, (0..MESSAGES).collect::<Vec<u64>>());
    cluster.group.hold(3, false);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_for_a_host_that_is_known_to_be_dead_and_its_groups_go_elsewhere() {
    let mut cluster = Cluster::start().await;
    let mut dies = cluster.transient(2, "dies").await;
    dies.subscribe("t").await;
    dies.subscribe("$share/g/t").await;
    let mut stays = cluster.transient(1, "stays").await;
    stays.subscribe("$share/g/t").await;
    let mut publishers = Vec::new();
    for name in 0..6 {
        publishers.push(cluster.transient(3, &format!("p-{name}")).await);
    }
    std::mem::forget(dies);
    cluster.kill(2).await;
    let publishing: Vec<_> = (0..)
        .zip(publishers)
        .map(|(number, mut publisher)| {
            tokio::spawn(async move { publisher.publish("t", number, QoS::AtLeastOnce).await })
        })
        .collect();
    sleep(QUIET).await;
    assert!(publishing.iter().all(|of| !of.is_finished()), "its subscribers may live");
    cluster.declare_dead(2);
    for publishing in publishing {
        assert!(timeout(PATIENCE, publishing).await.expect("a PUBACK in time").unwrap());
    }
    let mut got = payloads(&stays.receive(6, LONG).await);
    got.sort_unstable();
    assert_eq!(got, (0..6).collect::<Vec<u64>>());
    assert!(
        !cluster
            .group
            .routes()
            .iter()
            .any(|(owner, _)| matches!(owner, Owner::Host(host) if host.node.0 == 2))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn routes_of_shards_are_announced_by_whoever_leads_and_go_with_their_sessions() {
    let cluster = Cluster::start().await;
    let mut clients = Vec::new();
    for (round, node) in (0..).zip([1, 2, 3, 1]) {
        cluster.lead_all(node).await;
        let mut client = cluster.client(node % 3 + 1, &format!("c-{round}")).await;
        client.subscribe(&format!("t/{round}")).await;
        client.subscribe("$share/g/t").await;
        clients.push(client);
    }
    let expected = |left: usize| -> BTreeSet<(Owner, String)> {
        let of = |round: usize| {
            let shard = Owner::Shard(ShardId(cluster.home_of(&format!("c-{round}"))));
            [(shard, format!("t/{round}")), (shard, "$share/g/t".to_owned())]
        };
        (0..left).flat_map(of).collect()
    };
    let announced = || cluster.group.routes().into_iter().collect::<BTreeSet<_>>();
    assert_eq!(announced(), expected(4));
    while let Some(client) = clients.pop() {
        client.disconnect_with(Some(0)).await;
        cluster.lead_all(u32::try_from(clients.len() % 3).unwrap() + 1).await;
        let gone = async {
            while announced() != expected(clients.len()) {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, gone).await.expect("routes that go in time");
    }
}

/// Wills, too, are for whoever has subscribed anywhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outbox_reaches_each_transient_subscriber_once_while_its_leader_changes() {
    const MESSAGES: u64 = 60;
    let cluster = Arc::new(Cluster::start().await);
    let mut subscribers = Vec::new();
    for node in NODES {
        let mut client = cluster.transient(node, &format!("sub-{node}")).await;
        client.subscribe("t").await;
        subscribers.push(client);
    }
    let mut publisher = cluster.client(1, "p").await;
    let publishing = async {
        for number in 0..MESSAGES {
            assert!(publisher.publish("t", number, QoS::ExactlyOnce).await);
        }
    };
    cluster.while_moving(publishing).await;
    for client in &mut subscribers {
        let mut got = payloads(&client.receive(usize::try_from(MESSAGES).unwrap(), LONG).await);
        got.extend(payloads(&client.receive(1, QUIET).await));
        assert_eq!(got, (0..MESSAGES).collect::<Vec<u64>>());
    }
}
