//! Two nodes that do not reach each other, for long. One of them gets no lease any more, is taken for dead, and begins anew
//! without one. It is a member of a majority all the same: what it led is led by others, and does not come back to it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use e2e_tests::ctl;
use e2e_tests::nodes::{Number, PATIENCE};
use e2e_tests::pause;
use e2e_tests::random::Random;
use e2e_tests::wire::Version;

use crate::probes;
use crate::proxy::Fate;
use crate::run::Cluster;
use crate::subscriber::subscribe;
use crate::world::session;

const SHARDS: u32 = 6;
/// So many that each shard has some.
const SESSIONS: u32 = 48;
/// Longer than it takes until leaderships go to where they belong.
const GOES_ON: Duration = Duration::from_secs(5);

/// Fails where a publish through the node that both reach has no acknowledgement in time.
pub(crate) fn leads_nothing(cluster: &Cluster, random: &mut Random) {
    // Whoever grants leases reaches both, so that the one that begins anew is let in again.
    let between = leads(cluster);
    let [one, other] = [between % 3 + 1, (between + 1) % 3 + 1];
    println!("nodes {one} and {other} do not reach each other");
    for number in 0..SESSIONS {
        let connect = session(Version::V5, &format!("away {number}"), true);
        let (mut client, _, node) = cluster.world.connect(between, &connect, random);
        let suback = subscribe(&mut client, (Version::V5, node), "all", 1, &cluster.world);
        assert!(suback.is_some(), "the cluster is well");
    }
    let before = runs(cluster, between);
    cluster.network.set(one, other, Fate::Held);
    cluster.network.set(other, one, Fate::Held);
    let began = Instant::now();
    while runs(cluster, between) == before {
        publish(cluster, between);
        assert!(began.elapsed() < PATIENCE, "neither of them is taken for dead");
    }
    let anew = runs(cluster, between);
    let barred = anew.keys().find(|name| anew.get(*name) != before.get(*name)).unwrap();
    let admin = cluster.nodes.up[&between].addr("admin");
    for shard in 0..SHARDS {
        // Refused, or it gives it back.
        drop(ctl::run(&admin, &["move-leader", &shard.to_string(), "--to", barred]));
        publish(cluster, between);
    }
    let settled = Instant::now();
    while settled.elapsed() < GOES_ON {
        publish(cluster, between);
    }
    cluster.network.heal();
    publish(cluster, one);
    publish(cluster, other);
}

/// Publishes to all sessions through a node, again and again until that is acknowledged.
fn publish(cluster: &Cluster, node: Number) {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some((mut client, _)) =
            cluster.world.try_connect(node, &session(Version::V5, "publisher", false))
            && probes::publish(&mut client, node, ("all", b"message"), &cluster.world)
        {
            return;
        }
        assert!(Instant::now() < until, "node {node} acknowledges nothing\n{}", cluster.statuses());
        pause(Duration::from_millis(50));
    }
}

/// Who leads the cluster group.
fn leads(cluster: &Cluster) -> Number {
    let until = Instant::now() + PATIENCE;
    loop {
        let status = ctl::status(&cluster.nodes.up[&1].addr("admin"));
        let leader = status["cluster"]["groups"][0]["leader"].as_u64();
        let is_it = |number: &Number| Some(cluster.nodes.identity(*number).1) == leader;
        if let Some(number) = (1..=3).find(is_it) {
            return number;
        }
        assert!(Instant::now() < until, "nobody leads the cluster group: {status}");
        pause(Duration::from_millis(50));
    }
}

/// Which run of each node lives, as one of them knows.
fn runs(cluster: &Cluster, asked: Number) -> BTreeMap<String, u64> {
    let admin = cluster.nodes.up[&asked].addr("admin");
    let status = ctl::status(&admin);
    let nodes = status["cluster"]["nodes"].as_array().cloned().unwrap_or_default();
    let run =
        |node: &serde_json::Value| Some((node["name"].as_str()?.to_owned(), node["incarnation"].as_u64()?));
    nodes.iter().filter_map(run).collect()
}
