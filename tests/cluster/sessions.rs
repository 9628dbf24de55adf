//! Any client, any node: sessions are found everywhere, and what was acknowledged is there whoever dies.

use std::collections::BTreeSet;
use std::time::Duration;

use e2e_tests::RawClient;

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

#[test]
fn a_payload_of_16_mib_crosses_nodes_at_each_qos() {
    let mut nodes = Nodes::down_with(Founding::Expected, "max_packet_size = \"17 MiB\"");
    nodes.start(&[1, 2, 3], Duration::ZERO);
    subscribe("sub", "t/#", &[nodes.mqtt(1)]);
    let mut publisher = Publisher::new("pub", vec![nodes.mqtt(2)]);
    let large = |byte: u8| vec![byte; 16 << 20];
    let expected: Vec<_> =
        [1, 2, 1].into_iter().enumerate().map(|(at, qos)| (large(at as u8), qos)).collect();
    expected.iter().for_each(|(payload, qos)| publisher.publish("t/large", payload, *qos));
    let got = drain("sub", expected.len(), &[nodes.mqtt(3)]);
    assert!(expected.iter().all(|(payload, _)| got.contains(payload)));
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
