//! Nodes that find each other by names alone, as behind a headless service: all addresses of a name, or those of a service. An
//! address behind which nobody is any more is waited out.

use std::net::Ipv4Addr;
use std::time::Duration;

use e2e_tests::dev::alone;
use e2e_tests::dns::{NameServer, Record};
use e2e_tests::pause;

use crate::ctl::{get, status, until};
use crate::nodes::free_ports;
use crate::waiting::Waiting;

/// Loopback addresses of the nodes, as pods have one each.
const HOSTS: [Ipv4Addr; 3] =
    [Ipv4Addr::new(127, 0, 0, 11), Ipv4Addr::new(127, 0, 0, 12), Ipv4Addr::new(127, 0, 0, 13)];
/// That of a pod that is gone.
const STALE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 14);

fn addresses(of: &[Ipv4Addr]) -> Vec<Record> {
    of.iter().copied().map(Record::A).collect()
}

/// Starts one node a host, which found a cluster once all three of them are found.
fn start(names: &NameServer, port: u16, seed: &str) -> Vec<Waiting> {
    let dns = names.address.to_string();
    let nodes = HOSTS.iter().zip(1..).map(|(host, number)| {
        let environment =
            [("QUELEA__CLUSTER__DNS_SERVER", dns.as_str()), ("QUELEA__CLUSTER__EXPECTED_NODES", "3")];
        let at = format!("{host}:{port}");
        Waiting::start_at(&at, &format!("pod-{number}"), &["--join", seed], &environment)
    });
    nodes.collect()
}

fn is_one_cluster(nodes: &[Waiting]) {
    nodes.iter().for_each(|node| until("cluster", || node.is_ready().then_some(())));
    let told = status(&nodes[2].admin);
    assert_eq!(told["cluster"]["nodes"].as_array().unwrap().len(), 3, "{told:#}");
    for node in nodes {
        assert_eq!(status(&node.admin)["cluster"]["id"], told["cluster"]["id"]);
    }
}

#[test]
fn nodes_behind_one_name_are_one_cluster_once_nobody_else_is_behind_it() {
    let _alone = alone();
    let (names, port) = (NameServer::start(), free_ports(1)[0]);
    let nodes = start(&names, port, &format!("dns:quelea.test:{port}"));
    let says = |what: &str| {
        until(what, || get(&nodes[0].http, "/readyz").filter(|answer| answer.contains(what)));
    };
    says("dns:quelea.test");
    names.set("quelea.test", &addresses(&[HOSTS[0], HOSTS[1], HOSTS[2], STALE]));
    says(&STALE.to_string());
    pause(Duration::from_secs(1));
    assert!(nodes.iter().all(|node| !node.is_ready()), "one of all addresses has not answered");
    names.set("quelea.test", &addresses(&HOSTS));
    is_one_cluster(&nodes);
}

#[test]
fn nodes_of_one_service_are_one_cluster() {
    let _alone = alone();
    let (names, port) = (NameServer::start(), free_ports(1)[0]);
    let services: Vec<Record> = HOSTS
        .iter()
        .zip(1..)
        .map(|(host, number)| {
            let name = format!("pod-{number}.quelea.test");
            names.set(&name, &addresses(&[*host]));
            Record::Srv(port, name)
        })
        .collect();
    names.set("_quelea._tcp.quelea.test", &services);
    is_one_cluster(&start(&names, port, "srv:_quelea._tcp.quelea.test"));
}
