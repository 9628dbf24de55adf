//! What `quelea ctl` has nodes do, asked of another one: messages that reach clients and sessions of all nodes, settings that are read
//! again, and logs.

use std::fs;
use std::path::Path;

use e2e_tests::client::Read;
use e2e_tests::wire::kind;
use e2e_tests::{Connect, PATIENCE, Packet, Props, RawClient, Version};
use e2e_tests::{packets, process};
use serde_json::Value;

use crate::ctl::{refuses, run, until};
use crate::nodes::Nodes;
use crate::stubborn::{Publisher, drain, session, subscribe};

fn admin(nodes: &Nodes, number: usize) -> String {
    nodes.up[&number].addr("admin")
}

/// What is said to programs, once it is done: a node may be without a lease for a moment.
fn told(asked: &str, arguments: &[&str]) -> Value {
    until(&format!("answer to {arguments:?}"), || {
        let output = run(asked, &[arguments, &["--json"]].concat());
        output.status.success().then(|| serde_json::from_slice(&output.stdout).unwrap())
    })
}

/// The next packet of this type, unless the connection ends before.
fn next(client: &mut RawClient, expected: u8) -> Option<Packet> {
    match client.read_among(expected, PATIENCE) {
        Read::Packet(packet) if packet.kind() == expected => Some(packet),
        _ => None,
    }
}

/// A client of this node without a session subscribes, and has what is published where it is asked.
fn arrives(asked: &str, node: &str, qos: &str) -> Option<()> {
    let mut client = RawClient::open(node);
    client.speak(Version::V5);
    client.send(&Connect::v5("transient").bytes());
    let connack = next(&mut client, kind::CONNACK)?.connack(Version::V5);
    client.send(&packets::subscribe(Version::V5, 1, &[("acts/+", 2)], &Props::new()));
    let suback = next(&mut client, kind::SUBACK).filter(|_| connack.reason == 0)?;
    assert_eq!(suback.ack(Version::V5).codes, [2]);
    let matched = told(asked, &["publish", "-t", "acts/now", "-m", qos, "-q", qos]);
    assert_eq!(matched["matched"], true);
    let got = next(&mut client, kind::PUBLISH)?.publish(Version::V5);
    assert_eq!((got.payload, got.qos.to_string().as_str()), (qos.into(), qos));
    Some(())
}

#[test]
fn a_message_of_an_operator_reaches_clients_and_sessions_of_all_nodes() {
    let nodes = Nodes::started();
    nodes.until_replicated();
    let names: Vec<String> = (0..6).map(|at| format!("away-{at}")).collect();
    names.iter().for_each(|name| subscribe(name, "acts/later", &[nodes.mqtt(1)]));
    let matched = told(&admin(&nodes, 3), &["publish", "-t", "acts/later", "-m", "kept"]);
    assert_eq!(matched["matched"], true);
    for name in &names {
        assert!(drain(name, 1, &[nodes.mqtt(2)]).contains(&b"kept".to_vec()), "{name}");
    }
    for (asked, at) in [(1, 2), (2, 3), (3, 3)] {
        // At QoS 0 nothing is promised.
        for qos in ["1", "2"] {
            until("message", || arrives(&admin(&nodes, asked), &nodes.mqtt(at), qos));
        }
    }
}

#[test]
fn settings_and_logs_of_a_node_change_whoever_is_asked() {
    let mut nodes = Nodes::started();
    let asked = admin(&nodes, 1);
    let file = nodes.dir(2).join("quelea.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("{text}\n[drain]\ntimeout = \"7s\"\n")).unwrap();
    let of = |node: &str| told(&asked, &["reload", node]);
    assert_eq!(of("node-2"), serde_json::json!({ "node": "node-2", "changed": ["drain.timeout"] }));
    assert_eq!(of("node-3")["changed"], serde_json::json!([]));
    fs::write(&file, "[drain]\ntimeout = 7\n").unwrap();
    let why = until("refusal", || {
        let output = run(&asked, &["reload", "node-2"]);
        let said = String::from_utf8(output.stderr).unwrap();
        said.contains("node node-2: ").then_some(said)
    });
    assert!(why.contains("drain.timeout"), "{why}");

    let level =
        |node: &str, more: &[&str]| told(&asked, &[&["log", "--node", node], more].concat())["level"].clone();
    let before = level("node-3", &[]);
    let now = level("node-3", &["quelea::routes=debug"]);
    assert_eq!(now, format!("{},quelea::routes=debug", before.as_str().unwrap()));
    assert_eq!((level("node-3", &[]), level("node-1", &[])), (now, before));

    nodes.kill(3);
    for arguments in [["reload", "node-3"].as_slice(), &["log", "--node", "node-3"]] {
        let (code, said) = refuses(&asked, arguments);
        assert!(code == 1 && said.contains("node node-3 did not answer: "), "{said}");
    }
}

/// The packets of a trace that were shown so far.
fn shown(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).unwrap();
    // The last line may be on its way.
    let lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|line: &Value| line["text"].is_string())
        .collect()
}

#[test]
fn a_trace_shows_what_comes_and_goes_on_all_nodes_whoever_is_asked() {
    let nodes = Nodes::started();
    nodes.until_replicated();
    subscribe("gets", "trace/+", &[nodes.mqtt(3)]);
    let dir = process::fresh_dir();
    let file = dir.join("shown");
    let mut command = process::bound_to_us(&process::binary());
    command.args([
        "ctl",
        "--admin",
        &admin(&nodes, 2),
        "trace",
        "--topic",
        "trace/+",
        "--payload",
        "100",
        "--json",
    ]);
    command.stdout(fs::File::create(&file).unwrap());
    let mut tracing = process::spawn(command).unwrap();
    let mut publisher = Publisher::new("sends", vec![nodes.mqtt(1)]);
    until("packets of both nodes", || {
        publisher.publish("trace/1", b"a payload", 1);
        drain("gets", 1, &[nodes.mqtt(3)]);
        assert!(tracing.try_wait().unwrap().is_none(), "the trace goes on");
        let lines = shown(&file);
        let is_there = |node: &str, client: &str, what: &str| {
            lines.iter().any(|line| {
                line["node"] == node
                    && line["client_id"] == client
                    && line["text"].as_str().unwrap().starts_with(what)
            })
        };
        (is_there("node-1", "sends", "received PUBLISH") && is_there("node-3", "gets", "sent PUBLISH"))
            .then_some(())
    });
    for line in shown(&file) {
        assert!(
            line["payload"] == "a payload" && line["text"].as_str().unwrap().contains("'trace/1'"),
            "{line}"
        );
    }
    let is_told = || {
        nodes.up[&2]
            .log()
            .lines()
            .any(|line| line.contains(" audit: ") && line.contains("topic trace/+, with payloads"))
    };
    until("line of the audit log", || is_told().then_some(()));
    tracing.kill().unwrap();
    tracing.wait().unwrap();
    fs::remove_dir_all(dir).unwrap();
}

/// Whoever is asked finds the client's session, wherever it is led, and its connection, wherever that is.
#[test]
fn why_a_client_gets_nothing_is_told_by_any_node() {
    let nodes = Nodes::started();
    nodes.until_replicated();
    subscribe("away", "why/+", &[nodes.mqtt(1)]);
    Publisher::new("pub", vec![nodes.mqtt(2)]).publish("why/1", b"waits", 1);
    let _here = session("here", &[nodes.mqtt(3)]);
    let finds = |asked: usize, client: &str, verdict: &str, words: &str| {
        let told = told(&admin(&nodes, asked), &["why", "why/1", "--client", client]);
        let is_it = |one: &Value| one["verdict"] == verdict && one["words"].as_str().unwrap().contains(words);
        (told["unheard"] == serde_json::json!([]) && told["findings"].as_array().unwrap().iter().any(is_it))
            .then_some(())
    };
    for asked in 1..=3 {
        until("the one that is away", || finds(asked, "away", "not connected", "1 messages wait for it"));
        until("the one without subscriptions", || {
            finds(asked, "here", "no route", "it has no subscription that matches")
        });
        until("one that nobody knows", || finds(asked, "nobody", "not connected", ""));
    }
}
