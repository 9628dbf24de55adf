//! How nodes come to be one cluster, in every order, and how they come back to it.

use std::time::Duration;

use e2e_tests::{Broker, RawClient, Start};

use crate::nodes::{Founding, Nodes};

/// Whatever comes first or late, there is one cluster.
fn is_one_cluster(founding: Founding, order: [usize; 3], apart: Duration) {
    let mut nodes = Nodes::down(founding);
    nodes.start(&order, apart);
    nodes.assert_one_cluster();
    for number in 1..=3 {
        RawClient::v5(&nodes.mqtt(number), &format!("c{number}")).ping();
    }
}

const ORDERS: [[usize; 3]; 6] = [[1, 2, 3], [1, 3, 2], [2, 1, 3], [2, 3, 1], [3, 1, 2], [3, 2, 1]];

#[test]
fn expected_nodes_are_one_cluster_in_whatever_order_they_start() {
    for (at, order) in ORDERS.into_iter().enumerate() {
        is_one_cluster(Founding::Expected, order, Duration::from_millis([0, 700][at % 2]));
    }
}

#[test]
fn with_one_node_told_to_found_it_there_is_one_cluster_in_whatever_order_they_start() {
    for (at, order) in ORDERS.into_iter().enumerate() {
        is_one_cluster(Founding::Told(2), order, Duration::from_millis([700, 0][at % 2]));
    }
}

#[test]
fn all_nodes_come_back_after_all_of_them_were_killed() {
    let mut nodes = Nodes::started();
    nodes.until_replicated();
    let before: Vec<_> = (1..=3).map(|number| nodes.identity(number)).collect();
    (1..=3).for_each(|number| nodes.kill(number));
    nodes.start(&[3, 1, 2], Duration::ZERO);
    assert_eq!((1..=3).map(|number| nodes.identity(number)).collect::<Vec<_>>(), before);
    RawClient::v5(&nodes.mqtt(1), "c").ping();
}

#[test]
fn a_node_that_lost_its_disk_joins_under_another_number() {
    let mut nodes = Nodes::started();
    nodes.until_replicated();
    let (cluster, before) = nodes.identity(2);
    nodes.lose(2);
    nodes.start(&[2], Duration::ZERO);
    let (same, after) = nodes.identity(2);
    assert_eq!(same, cluster);
    assert!(after > 3 && after != before, "{after}");
    RawClient::v5(&nodes.mqtt(2), "c").ping();
}

#[test]
fn a_node_that_is_told_nothing_of_a_cluster_says_what_to_do() {
    let config = "[cluster]\nlisten = \"127.0.0.1:0\"\n";
    let failed = Broker::try_start(Start { toml: config.to_owned(), ..Start::default() }).err();
    let failed = failed.expect("it belongs to no cluster");
    assert_eq!(failed.code, Some(1));
    assert!(failed.log.contains("--join") && failed.log.contains("--bootstrap"), "{}", failed.log);
}
