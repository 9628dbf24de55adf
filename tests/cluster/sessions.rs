//! Any client, any node: sessions are found everywhere, and what was acknowledged is there whoever dies.

use std::collections::BTreeSet;
use std::time::Duration;

use e2e_tests::{RawClient, pause};
use serde_json::Value;

use crate::ctl::{status, until};
use crate::nodes::{Founding, Nodes};
use crate::stubborn::{Publisher, drain, subscribe};

fn payloads(name: &str, range: std::ops::Range<u32>) -> Vec<Vec<u8>> {
    range.map(|number| format!("{name}-{number:05}").into_bytes()).collect()
}

/// Everything came, and what was sent at QoS 2 came once.
fn assert_came(got: &[Vec<u8>], expected: &[Vec<u8>], once: &str) {
    let came: BTreeSet<_> = got.iter().collect();
    let missing: Vec<_> = expected.iter().filter(|one| !came.contains(one)).collect();
    assert!(missing.is_empty(), "lost: {missing:?}");
    for one in expected.iter().filter(|one| one.starts_with(once.as_bytes())) {
        assert_eq!(got.iter().filter(|other| *other == one).count(), 1, "{one:?}");
    }
}

#[test]
fn what_is_published_on_one_node_for_a_session_of_another_is_drained_on_a_third() {
    let nodes = Nodes::started();
    subscribe("sub", "t/#", &[nodes.mqtt(1)]);
    let mut publisher = Publisher::new("pub", vec![nodes.mqtt(2)]);
    let expected: Vec<_> = [("once", 2), ("least", 1)]
        .into_iter()
        .flat_map(|(name, qos)| {
            let sent = payloads(name, 0..50);
            sent.iter().for_each(|payload| publisher.publish(&format!("t/{name}"), payload, qos));
            sent
        })
        .collect();
    let got = drain("sub", expected.len(), &[nodes.mqtt(3)]);
    assert_came(&got, &expected, "once");
}

#[test]
fn what_was_acknowledged_is_there_after_a_node_was_killed_and_after_all_were() {
    let mut nodes = Nodes::started();
    nodes.until_replicated();
    subscribe("sub", "t/#", &nodes.all());
    let mut expected = Vec::new();
    for (round, victim) in [1, 2, 3].into_iter().enumerate() {
        let round = round as u32;
        let mut publisher = Publisher::new(&format!("pub-{round}"), nodes.all());
        let (before, after) = (
            payloads("once", round * 100..round * 100 + 40),
            payloads("least", round * 100..round * 100 + 40),
        );
        before.iter().for_each(|payload| publisher.publish("t/once", payload, 2));
        nodes.kill(victim);
        after.iter().for_each(|payload| publisher.publish("t/least", payload, 1));
        expected.extend(before.into_iter().chain(after));
        nodes.start(&[victim], Duration::ZERO);
    }
    (1..=3).for_each(|number| nodes.kill(number));
    nodes.start(&[2, 3, 1], Duration::ZERO);
    let got = drain("sub", expected.len(), &nodes.all());
    assert_came(&got, &expected, "once");
}

/// How often 16 MiB may pass while something else on the machine takes so much of it that a leader changes.
const ATTEMPTS: u8 = 5;

/// Who leads each group, and in which term.
fn leaders(nodes: &Nodes) -> Vec<(Value, Value)> {
    let told = status(&nodes.up[&1].addr("admin"));
    let groups = told["cluster"]["groups"].as_array().unwrap().clone();
    groups.into_iter().map(|group| (group["leader"].clone(), group["term"].clone())).collect()
}

#[test]
fn a_payload_of_16_mib_crosses_nodes_at_each_qos_in_time_and_survives_its_node() {
    let mut nodes = Nodes::down_with(Founding::Expected, "max_packet_size = \"17 MiB\"");
    nodes.start(&[1, 2, 3], Duration::ZERO);
    nodes.until_replicated();
    let (there, elsewhere) = (nodes.mqtt(2), nodes.mqtt(3));
    subscribe("sub", "t/#", &[nodes.mqtt(1)]);
    let mut reader = RawClient::v5(&elsewhere, "reader");
    reader.be_patient();
    reader.subscribe("t/#", 2);
    let mut publisher = RawClient::v5(&there, "publisher");
    publisher.be_patient();
    let mut expected = BTreeSet::new();
    let undisturbed = (1..=ATTEMPTS).any(|attempt| {
        // Leaderships go to where they belong first.
        let before = until("leaders that stay", || {
            let before = leaders(&nodes);
            pause(Duration::from_secs(4));
            (before == leaders(&nodes)).then_some(before)
        });
        for qos in 0..=2 {
            let payload = vec![attempt * 16 + qos; 16 << 20];
            publisher.publish("t/large", &payload, qos);
            assert_eq!(reader.receive().payload, payload, "at QoS {qos}");
            expected.extend((qos > 0).then_some(payload));
        }
        before == leaders(&nodes)
    });
    assert!(undisturbed, "leaders change whenever 16 MiB pass");
    for node in nodes.up.values() {
        assert!(!node.log().contains("a node is taken for dead"), "{}", node.log());
    }
    nodes.kill(2);
    let got = drain("sub", expected.len(), &[elsewhere, nodes.mqtt(1)]);
    assert_eq!(got.into_iter().collect::<BTreeSet<_>>(), expected);
}

#[test]
fn what_is_published_on_any_node_reaches_whoever_is_subscribed_on_any_other() {
    let nodes = Nodes::started();
    let mut subscribers: Vec<RawClient> = (1..=3)
        .map(|number| {
            let mut client = RawClient::v5(&nodes.mqtt(number), &format!("sub-{number}"));
            client.subscribe("t/#", 2);
            client
        })
        .collect();
    for number in 1..=3 {
        let mut publisher = Publisher::new(&format!("pub-{number}"), vec![nodes.mqtt(number)]);
        for qos in [1, 2] {
            publisher.publish("t/x", format!("{number}-{qos}").as_bytes(), qos);
        }
    }
    for client in &mut subscribers {
        let got: BTreeSet<_> = (0..6).map(|_| client.receive().payload).collect();
        let expected = (1..=3).flat_map(|number| [1, 2].map(|qos| format!("{number}-{qos}").into_bytes()));
        assert_eq!(got, expected.collect());
    }
}
