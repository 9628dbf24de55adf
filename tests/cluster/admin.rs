//! The admin API over three nodes: one call sees all of them, whoever is asked, and a leader moves where it is told to; peers
//! that send garbage, nothing or too much cost nobody else anything.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use crate::ctl::{equal_replicas, leads, node, refuses, run, says, status, until};
use crate::nodes::Nodes;

/// What an HTTP/2 client says first, with empty settings.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// Connections of somebody who wants all of them.
const FLOOD: usize = 200;

fn admin(nodes: &Nodes, number: usize) -> String {
    nodes.up[&number].addr("admin")
}

/// Every group has three voters that all answer.
fn is_whole(status: &Value) -> bool {
    let groups = status["cluster"]["groups"].as_array().unwrap();
    groups.len() == 7
        && groups.iter().all(|group| {
            let replicas = group["replicas"].as_array().unwrap();
            group["leader"] != 0
                && replicas.len() == 3
                && replicas.iter().all(|one| one["role"] != "learner" && one["positions"].is_object())
        })
}

#[test]
fn any_node_tells_of_all_nodes_and_leaders_go_where_they_are_sent() {
    let mut nodes = Nodes::started();
    nodes.until_replicated();
    let asked = admin(&nodes, 2);
    let told = until("whole cluster", || Some(status(&asked)).filter(is_whole));
    assert_eq!(told["answered_by"], "node-2");
    let id = &told["cluster"]["id"];
    for number in 1..=3 {
        // On a busy machine a lease may lapse for a moment.
        let told = until("leases of all", || {
            let told = status(&admin(&nodes, number));
            let holds = |name: &&str| node(&told, name)["report"]["lease"] == "held";
            ["node-1", "node-2", "node-3"].iter().all(holds).then_some(told)
        });
        assert_eq!(told["cluster"]["id"], *id);
        for name in ["node-1", "node-2", "node-3"] {
            let node = node(&told, name);
            assert_eq!((&node["standing"], &node["lives"]), (&"serves".into(), &true.into()), "{node:#}");
        }
    }
    // All of them, one after the other, whoever led before; where it belongs it goes back to by itself. An election that
    // comes between is no refusal for good.
    for (group, name) in [("4", "node-1"), ("4", "node-3"), ("4", "node-2"), ("cluster", "node-3")] {
        until("new leader", || {
            run(&asked, &["move-leader", group, "--to", name]).status.success().then_some(())
        });
    }
    for (arguments, words) in [
        (["move-leader", "4", "--to", "node-9"].as_slice(), ["node-9", "node-1 ("]),
        (&["move-leader", "6", "--to", "node-1"], ["no shard 6", "0 to 5"]),
        (&["join", "--via", "127.0.0.1:1"], ["belongs to cluster", id.as_str().unwrap()]),
    ] {
        let (code, why) = refuses(&asked, arguments);
        assert!(code == 1 && words.iter().all(|word| why.contains(word)), "{arguments:?}: {code} {why}");
    }
    let (code, _usage) = refuses(&asked, &["move-leader", "x", "--to", "node-1"]);
    assert_eq!(code, 2);
    until("ready nodes", || says(&asked, &["status"]).contains("3 of 3 nodes serve").then_some(()));
    assert!(says(&asked, &["shards"]).contains("shard 5"));

    let wrong = equal_replicas(&asked, 2);
    assert!(wrong.is_empty(), "{wrong:#?}");
    nodes.kill(1);
    let told = until("word of the death", || {
        Some(status(&asked)).filter(|told| node(told, "node-1")["lives"] == false)
    });
    assert!(node(&told, "node-1")["silent"].is_string(), "{told:#}");
    until("other leaders", || Some(status(&asked)).filter(|told| leads(told, "node-1") == 0));
    assert!(says(&asked, &["nodes"]).contains("silent: "));
}

#[test]
fn garbage_silence_and_floods_at_the_admin_port_cost_nobody_else_anything() {
    let broker = e2e_tests::Broker::with_config("[admin]\nlisten = \"127.0.0.1:0\"\n");
    let asked = broker.addr("admin");
    for garbage in [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".as_slice(),
        b"\x10\x10\0\x04MQTT\x05\x02\0\x3c\0\0\x03abc",
        &[0xFF; 4_096],
        // A frame that is longer than any may be, and headers that never end.
        &[PREFACE, b"\xFF\xFF\xFF\x00\x00\x00\x00\x00\x01"].concat(),
        &[PREFACE, b"\0\0\x04\x01\0\0\0\0\x01\x88\x88\x88\x88"].concat(),
    ] {
        let mut stream = TcpStream::connect(&asked).unwrap();
        let _closed = stream.write_all(garbage);
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        // It says why, if it is HTTP/2 at all, and closes.
        let _reset = stream.read_to_end(&mut Vec::new());
    }
    // Whoever asks nothing is hung up on, also one that holds all connections there are.
    let silent: Vec<TcpStream> = (0..FLOOD)
        .map(|_| {
            let mut stream = TcpStream::connect(&asked).unwrap();
            let _turned_away = stream.write_all(PREFACE);
            stream
        })
        .collect();
    until("answer", || run(&asked, &["status"]).status.success().then_some(()));
    drop(silent);
    assert!(status(&asked)["cluster"]["nodes"].as_array().unwrap().len() == 1);
    e2e_tests::RawClient::v5(&broker.mqtt(), "c").ping();
}
