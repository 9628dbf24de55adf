//! Who may connect, said once for all nodes: what the admin API has answered is in force everywhere, also at nodes that were away,
//! and for what is connected (G18). No test asserts speed: what counts is what happens after the answer.

use e2e_tests::client::Read;
use e2e_tests::packets::Connect;
use e2e_tests::wire::{kind, prop};
use e2e_tests::{PATIENCE, Props, RawClient, Version};

use crate::ctl::{run, until};
use crate::nodes::{Nodes, Number};
use crate::stubborn::{Publisher, drain, session, subscribe};

const BANNED: u8 = 0x8A;

/// Has the cluster do something, asked at a node: a node may be without a lease for a moment, or a group without a leader.
fn done(nodes: &Nodes, number: Number, arguments: &[&str]) {
    until(&format!("{arguments:?}"), || {
        let output = run(&nodes.up[&number].addr("admin"), arguments);
        output.status.success().then_some(())
    });
}

/// What a node says to a CONNECT; nothing where it says nothing, as one that begins again.
fn answer(nodes: &Nodes, number: Number, client: &str) -> Option<u8> {
    std::net::TcpStream::connect(nodes.mqtt(number)).ok()?;
    let mut connection = RawClient::open(&nodes.mqtt(number));
    connection.speak(Version::V5);
    let mut connect = Connect::v5(client).props(Props::new().four(prop::SESSION_EXPIRY, 3_600));
    connect.clean = false;
    connection.send(&connect.bytes());
    match connection.read(PATIENCE) {
        Read::Packet(packet) if packet.kind() == kind::CONNACK => Some(packet.connack(Version::V5).reason),
        _ => None,
    }
}

/// A node refuses the client, from its first word on.
fn is_banned(nodes: &Nodes, number: Number, client: &str) {
    until(&format!("word of node {number}"), || {
        let code = answer(nodes, number, client);
        assert_ne!(code, Some(0), "node {number} lets {client} in");
        (code == Some(BANNED)).then_some(())
    });
}

/// The connection of a client ends, and it is sent nothing before.
#[track_caller]
fn ends_without_a_message(client: &mut RawClient) {
    loop {
        match client.read(PATIENCE) {
            Read::Packet(packet) => {
                assert_ne!(packet.kind(), kind::PUBLISH, "{:?}", packet.publish(Version::V5));
            }
            Read::Closed => return,
            Read::Nothing => panic!("it is connected"),
        }
    }
}

#[test]
fn g18_a_ban_is_in_force_on_all_nodes_when_it_is_answered() {
    let mut nodes = Nodes::started();
    nodes.until_replicated();
    for client in ["bad-2", "bad-3", "good"] {
        subscribe(client, "ban/#", &[nodes.mqtt(3)]);
    }
    let mut connected =
        [("bad-2", 2), ("bad-3", 3)].map(|(client, at)| (client, session(client, &[nodes.mqtt(at)])));
    for (client, _) in &connected {
        done(&nodes, 1, &["ban", "--client-id", client]);
    }
    // For one of them on another node, for the other on its own, and for neither before or after it is told to go.
    let mut publisher = Publisher::new("pub", nodes.all());
    for number in 0..20_u8 {
        publisher.publish("ban/after", &[number], 1 + number % 2);
    }
    for (client, connection) in &mut connected {
        ends_without_a_message(connection);
        for number in 1..=3 {
            is_banned(&nodes, number, client);
        }
    }
    assert_eq!(drain("good", 20, &[nodes.mqtt(2)]).len(), 20);
    // A node that was away meanwhile has heard of it before it lets anybody in.
    nodes.kill(2);
    done(&nodes, 3, &["ban", "--client-id", "late"]);
    nodes.start(&[2], std::time::Duration::ZERO);
    is_banned(&nodes, 2, "late");
    is_banned(&nodes, 2, "bad-3");
    done(&nodes, 2, &["unban", "--client-id", "bad-3"]);
    let kept = drain("bad-3", 20, &[nodes.mqtt(1)]);
    assert_eq!(kept.len(), 20, "its session was there all the time");
    is_banned(&nodes, 1, "bad-2");
}
