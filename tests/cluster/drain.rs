//! Nodes that are emptied: by an operator, before they stop, and for good. Nobody's session and no acknowledged message is lost
//! with them, and no client sees more than that it has to connect again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use e2e_tests::client::Read;
use e2e_tests::wire::kind;
use e2e_tests::{Connect, RawClient};

use crate::ctl::{get, leads, node, says, status, until};
use crate::nodes::{Nodes, PATIENCE};
use crate::stubborn::{Publisher, drain, session, subscribe};

/// What clients publish while nodes come and go, to a session of each node.
struct Load {
    goes_on: Arc<AtomicBool>,
    publishers: Vec<JoinHandle<Vec<Vec<u8>>>>,
}

impl Load {
    /// A publisher at each of these nodes; the odd ones publish at QoS 1, the others at QoS 2.
    fn begin(nodes: &[String]) -> Self {
        let goes_on = Arc::new(AtomicBool::new(true));
        let publisher = |at: usize| {
            let (goes_on, mut nodes) = (Arc::clone(&goes_on), nodes.to_vec());
            nodes.rotate_left(at);
            thread::spawn(move || {
                let qos = if at % 2 == 1 { 1 } else { 2 };
                let mut publisher = Publisher::new(&format!("pub-{at}"), nodes);
                let mut sent = Vec::new();
                while goes_on.load(Ordering::Relaxed) {
                    let payload = format!("{qos}-{at}-{:05}", sent.len()).into_bytes();
                    publisher.publish(&format!("load/{at}"), &payload, qos);
                    sent.push(payload);
                }
                sent
            })
        };
        let publishers = (0..nodes.len()).map(publisher).collect();
        Self { goes_on, publishers }
    }

    /// Everything that was acknowledged.
    fn end(self) -> Vec<Vec<u8>> {
        self.goes_on.store(false, Ordering::Relaxed);
        self.publishers.into_iter().flat_map(|publisher| publisher.join().unwrap()).collect()
    }
}

/// Each session has everything that was acknowledged, at QoS 2 once.
fn assert_has_all(session: &str, sent: &[Vec<u8>], nodes: &[String]) {
    let got = drain(session, sent.len(), nodes);
    let came: BTreeSet<_> = got.iter().collect();
    let lost: Vec<_> = sent.iter().filter(|one| !came.contains(one)).collect();
    assert!(lost.is_empty(), "{session} lost {lost:?}");
    let twice = got.iter().filter(|one| one.starts_with(b"2-")).count();
    assert_eq!(
        twice,
        came.iter().filter(|one| one.starts_with(b"2-")).count(),
        "{session}: QoS 2 came twice"
    );
}

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
