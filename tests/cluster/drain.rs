//! Nodes that are emptied: by an operator, before they stop, and for good. Nobody's session and no acknowledged message is lost
//! with them, and no client sees more than that it has to connect again.

use std::time::Duration;

use e2e_tests::client::Read;
use e2e_tests::wire::kind;
use e2e_tests::{Connect, RawClient};

use crate::ctl::{get, leads, node, says, status, until};
use crate::load::{Load, assert_has_all};
use crate::nodes::{Nodes, PATIENCE};
use crate::stubborn::{Publisher, drain, session, subscribe};

/// The reason of a DISCONNECT, which is the last packet of a connection.
#[track_caller]
fn reason_of_end(client: &mut RawClient) -> u8 {
    match client.read(PATIENCE) {
        Read::Packet(packet) => {
            assert_eq!(packet.kind(), kind::DISCONNECT, "{packet:?}");
            packet.reasoned().reason
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_drained_node_is_empty_until_it_is_told_otherwise() {
    let nodes = Nodes::started();
    nodes.until_replicated();
    let asked = nodes.up[&1].addr("admin");
    let (there, http) = (nodes.mqtt(2), nodes.up[&2].addr("http"));
    let mut present = session("present", std::slice::from_ref(&there));
    present.subscribe("t", 2);
    says(&asked, &["drain", "node-2"]);
    assert_eq!(reason_of_end(&mut present), 0x98);
    until("drain", || get(&http, "/readyz").filter(|answer| answer.contains("the node drains")));
    let refused = |connect: &Connect| RawClient::open(&there).handshake(connect).reason;
    assert_eq!(refused(&Connect::v5("late")), 0x88);
    assert_eq!(refused(&Connect::v3("late3")), 3);
    until("leaders elsewhere", || Some(status(&asked)).filter(|told| leads(told, "node-2") == 0));
    assert_eq!(node(&status(&asked), "node-2")["standing"], "drains");
    until("last client", || {
        Some(status(&asked)).filter(|told| node(told, "node-2")["report"]["clients"] == 0)
    });
    // Its session goes on elsewhere.
    Publisher::new("pub", vec![nodes.mqtt(3)]).publish("t", b"while away", 1);
    assert_eq!(drain("present", 1, &[nodes.mqtt(1)]), [b"while away".to_vec()]);

    says(&asked, &["undrain", "node-2"]);
    until("undrain", || get(&http, "/readyz").filter(|answer| answer.starts_with("HTTP/1.1 200")));
    RawClient::v5(&there, "back").ping();
}

#[test]
fn clients_are_told_where_to_go() {
    let mut nodes = Nodes::down_with_sections(
        "[drain]\nserver_reference = \"elsewhere.example.org:1883\"\nclients_per_second = 5\n",
    );
    nodes.start(&[1, 2, 3], Duration::ZERO);
    nodes.until_replicated();
    let there = nodes.mqtt(3);
    let mut present = RawClient::v5(&there, "present");
    says(&nodes.up[&1].addr("admin"), &["drain", "node-3"]);
    match present.read(PATIENCE) {
        Read::Packet(packet) => {
            let end = packet.reasoned();
            assert_eq!(end.reason, 0x9C);
            assert_eq!(end.props.text(0x1C).as_deref(), Some("elsewhere.example.org:1883"));
        }
        other => panic!("{other:?}"),
    }
    let refused = RawClient::open(&there).handshake(&Connect::v5("late"));
    assert_eq!(refused.reason, 0x9C);
    assert_eq!(refused.props.text(0x1C).as_deref(), Some("elsewhere.example.org:1883"));
    assert_eq!(RawClient::open(&there).handshake(&Connect::v3("late3")).reason, 3);
}

#[test]
fn a_rolling_restart_of_all_nodes_under_load_loses_nothing() {
    let mut nodes = Nodes::down_at_home();
    nodes.start(&[1, 2, 3], Duration::ZERO);
    nodes.until_replicated();
    let all = nodes.all();
    for (at, address) in all.iter().enumerate() {
        subscribe(&format!("sub-{at}"), "load/#", std::slice::from_ref(address));
    }
    let load = Load::begin(&all);
    for number in [2, 3, 1] {
        let mut guest = RawClient::v5(&nodes.mqtt(number), &format!("guest-{number}"));
        nodes.stop(number);
        assert_eq!(reason_of_end(&mut guest), 0x8B);
        nodes.start(&[number], Duration::ZERO);
    }
    let sent = load.end();
    assert!(!sent.is_empty());
    (0..3).for_each(|at| assert_has_all(&format!("sub-{at}"), &sent, &all));
}

#[test]
fn a_node_that_leaves_under_load_keeps_every_session() {
    let mut nodes = Nodes::down_at_home();
    nodes.start(&[1, 2, 3], Duration::ZERO);
    nodes.until_replicated();
    let all = nodes.all();
    let rest = [all[0].clone(), all[1].clone()];
    for (at, address) in all.iter().enumerate() {
        subscribe(&format!("sub-{at}"), "load/#", std::slice::from_ref(address));
    }
    let load = Load::begin(&all);
    says(&nodes.up[&1].addr("admin"), &["leave", "node-3"]);
    let asked = nodes.up[&2].addr("admin");
    until("two nodes", || {
        Some(status(&asked)).filter(|told| told["cluster"]["nodes"].as_array().unwrap().len() == 2)
    });
    assert!(nodes.until_ended(3).contains("the node has left the cluster"));
    let sent = load.end();
    (0..3).for_each(|at| assert_has_all(&format!("sub-{at}"), &sent, &rest));
}
