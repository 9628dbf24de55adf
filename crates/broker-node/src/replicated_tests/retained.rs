//! Retained messages that are on their way to the home of their topic while somebody subscribes: another subscriber of the same
//! host has had them already, so that nobody sends them there again.

use mqtt_codec::{Connect, QoS};
use tokio::time::timeout;

use super::client::{Client, PATIENCE, persistent};
use super::cluster::Cluster;
use super::{LONG, QUIET, payloads};
use crate::testing::SHARDS;

/// Where the subscribers are, and whoever leads the homes of topics.
const HOME: u32 = 2;
const ELSEWHERE: u32 = 1;

fn transient(name: &str) -> Connect {
    Connect { clean_start: true, session_expiry_s: None, ..persistent(name) }
}

/// What is on its way from the publisher to the home of its topic is lost there, and said again when it hears again. The first
/// subscriber has it meanwhile, and the second one comes then.
async fn who_comes_behind_another_misses_nothing(cluster: &Cluster, publisher: Client, qos: QoS) {
    let connect = |name| Client::connect_with(cluster.address(HOME), transient(name));
    let (mut first, mut second) = (connect("first").await, connect("second").await);
    first.subscribe("t").await;
    let hears_again = cluster.lose_words_to(HOME);
    let mut publisher = publisher;
    let publishing = tokio::spawn(async move { publisher.retain_at("t", 7, qos).await });
    assert_eq!(payloads(&first.receive(1, LONG).await), [7]);
    second.subscribe("t").await;
    hears_again();
    assert_eq!(payloads(&second.receive(1, LONG).await), [7]);
    let published = timeout(PATIENCE, publishing).await.expect("an acknowledgement in time");
    assert!(published.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_subscriber_gets_what_a_client_has_on_its_way_to_the_home_of_the_topic() {
    let cluster = Cluster::start().await;
    cluster.lead_all(HOME).await;
    let publisher = Client::connect_with(cluster.address(3), transient("p")).await;
    who_comes_behind_another_misses_nothing(&cluster, publisher, QoS::AtLeastOnce).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_subscriber_gets_what_a_shard_has_on_its_way_to_the_home_of_the_topic() {
    let cluster = Cluster::start().await;
    cluster.lead_all(HOME).await;
    let topic_home = cluster.home_of("t");
    let mut names = (0..).map(|n| format!("p-{n}")).filter(|name| cluster.home_of(name) != topic_home);
    let name = names.next().unwrap();
    cluster.lead(cluster.home_of(&name), ELSEWHERE).await;
    let publisher = cluster.client(3, &name).await;
    who_comes_behind_another_misses_nothing(&cluster, publisher, QoS::ExactlyOnce).await;
}

/// Between two leaders nobody says of a shard's outbox what is on its way: a look-up waits until somebody does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_subscriber_waits_for_who_sends_what_a_shard_has() {
    let cluster = Cluster::start().await;
    cluster.lead_all(HOME).await;
    let mut publisher = cluster.client(3, "p").await;
    assert!(publisher.retain("t", 7).await);
    let other = (0..SHARDS).find(|shard| *shard != cluster.home_of("t")).unwrap();
    let mut first = Client::connect_with(cluster.address(3), transient("first")).await;
    first.subscribe("t").await;
    assert_eq!(payloads(&first.receive(1, LONG).await), [7]);
    let nobody_sends = cluster.nodes[&HOME].shards.is_not_sending(other);
    let mut second = Client::connect_with(cluster.address(3), transient("second")).await;
    second.subscribe("t").await;
    assert!(second.receive(1, QUIET).await.is_empty());
    drop(nobody_sends);
    assert_eq!(payloads(&second.receive(1, LONG).await), [7]);
}
