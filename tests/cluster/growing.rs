//! A cluster that grows from one node to three and to five, and shrinks to three again, its first node among those that leave,
//! while clients publish: no session, no queued message, no will and no retained message is lost.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use e2e_tests::client::Read;
use e2e_tests::wire::kind;
use e2e_tests::{Connect, RawClient, Version, Will, pause};
use serde_json::Value;

use crate::ctl::{equal_replicas, says, status, until};
use crate::load::{Load, assert_has_all};
use crate::nodes::{Founding, Nodes, Number, PATIENCE, Setup, free_ports};
use crate::stubborn::{Publisher, drain, subscribe};

const NODES: usize = 5;
/// Sessions that are away all the time, and have a queue.
const SESSIONS: usize = 4;
/// Retained messages that are there before the cluster grows, of which each step replaces some.
const RETAINED: usize = 30;

/// Waits until each group has so many voters, all of them on nodes that are there to stay, and a leader.
fn until_voters(nodes: &Nodes, asked: Number, wanted: usize, of: &[Number]) {
    let admin = nodes.up[&asked].addr("admin");
    let numbers: Vec<u64> = of.iter().map(|node| nodes.identity(*node).1).collect();
    let is_whole = |group: &Value| {
        let replicas = group["replicas"].as_array().map_or(&[] as &[Value], Vec::as_slice);
        let votes: Vec<&Value> = replicas.iter().filter(|one| one["role"] != "learner").collect();
        let live = |one: &&Value| one["node"].as_u64().is_some_and(|number| numbers.contains(&number));
        let most = if group["shard"].is_null() { of.len() } else { wanted };
        group["leader"] != 0 && votes.len() == most && votes.iter().all(live)
    };
    until("voters of all groups", || {
        let groups = status(&admin)["cluster"]["groups"].as_array().cloned().unwrap_or_default();
        (groups.len() == 7 && groups.iter().all(is_whole)).then_some(())
    });
}

/// What is retained, and a publisher of it.
struct Retained {
    publisher: Publisher,
    values: BTreeMap<String, Vec<u8>>,
}

impl Retained {
    /// Each of these topics has another value.
    fn set(&mut self, topics: impl Iterator<Item = usize>, step: &str) {
        for topic in topics {
            let (topic, value) = (format!("kept/{topic}"), format!("{topic} at {step}").into_bytes());
            self.publisher.retain(&topic, &value);
            self.values.insert(topic, value);
        }
    }

    /// Whoever subscribes anew on a node sees all of it.
    fn assert_seen(&self, node: &str) {
        let mut client = RawClient::v5(node, "looks");
        client.be_patient();
        client.subscribe("kept/#", 1);
        let mut seen = BTreeMap::new();
        while seen.len() < self.values.len() {
            let publish = client.receive();
            seen.insert(publish.topic, publish.payload);
        }
        assert_eq!(seen, self.values);
        client.disconnect();
    }
}

/// A client with a will of its own at a node, which is due when the connection ends without a word.
fn mortal(nodes: &Nodes, number: Number, step: &str) -> (RawClient, Vec<u8>) {
    let payload = format!("will of {number} at {step}");
    let connect = Connect::v5(format!("mortal-{number}-{step}")).will(Will::new("wills", &payload).qos(2));
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut client = RawClient::open(&nodes.mqtt(number));
        client.speak(Version::V5);
        client.send(&connect.bytes());
        if let Read::Packet(packet) = client.read(PATIENCE)
            && packet.kind() == kind::CONNACK
            && packet.connack(Version::V5).reason == 0
        {
            return (client, payload.into_bytes());
        }
        assert!(Instant::now() < deadline, "node {number} lets nobody in");
        pause(Duration::from_millis(50));
    }
}

#[test]
fn a_cluster_of_one_grows_to_five_and_shrinks_to_three_under_load_and_loses_nothing() {
    let mut nodes = Nodes::of(|| {
        let ports = free_ports(2 * NODES);
        let (ways, clients) = ports.split_at(NODES);
        let ways = ways.iter().map(|port| (*port, *port)).collect();
        Setup { ways, clients: clients.to_vec(), ..Setup::new(Founding::Joined) }
    });
    let all: Vec<String> = (1..=NODES).map(|number| nodes.at_home(number)).collect();
    nodes.start(&[1], Duration::ZERO);
    let sessions: Vec<String> = (0..SESSIONS).map(|number| format!("away-{number}")).collect();
    sessions.iter().for_each(|session| subscribe(session, "load/#", &all[..1]));
    subscribe("watcher", "wills", &all[..1]);
    let mut kept = Retained { publisher: Publisher::new("keeper", all.clone()), values: BTreeMap::new() };
    kept.set(0..RETAINED, "one");
    let (mut mortals, mut wills) = (Vec::new(), Vec::new());
    let mut lives = |nodes: &Nodes, number: Number, step: &str| {
        let (client, will) = mortal(nodes, number, step);
        mortals.push(client);
        wills.push(will);
    };
    lives(&nodes, 1, "one");
    let load = Load::begin(&all[..3]);

    nodes.start(&[2, 3], Duration::ZERO);
    until_voters(&nodes, 1, 3, &[1, 2, 3]);
    kept.set((0..RETAINED).step_by(3), "three");
    lives(&nodes, 3, "three");

    nodes.start(&[4, 5], Duration::ZERO);
    until_voters(&nodes, 4, 3, &[1, 2, 3, 4, 5]);
    kept.set((0..RETAINED).step_by(4), "five");
    lives(&nodes, 5, "five");
    all.iter().for_each(|node| kept.assert_seen(node));

    for gone in [1, 4] {
        says(&nodes.up[&2].addr("admin"), &["leave", &format!("node-{gone}")]);
        assert!(nodes.until_ended(gone).contains("the node has left the cluster"));
    }
    let rest: Vec<String> = [2, 3, 5].map(|number| nodes.at_home(number)).into();
    until_voters(&nodes, 5, 3, &[2, 3, 5]);
    kept.set((0..RETAINED).step_by(5), "three again");
    lives(&nodes, 2, "three again");

    let sent = load.end();
    assert!(!sent.is_empty());
    mortals.into_iter().for_each(RawClient::drop_connection);
    let mut came = drain("watcher", wills.len(), &rest);
    came.sort_unstable();
    wills.sort_unstable();
    assert_eq!(came, wills, "each will comes once");
    sessions.iter().for_each(|session| assert_has_all(session, &sent, &rest));
    rest.iter().for_each(|node| kept.assert_seen(node));
    let wrong = equal_replicas(&nodes.up[&3].addr("admin"), 3);
    assert!(wrong.is_empty(), "{wrong:#?}");
    println!("{} messages to each of {SESSIONS} sessions, {} wills", sent.len(), came.len());
}
