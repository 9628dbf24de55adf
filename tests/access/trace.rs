//! `quelea ctl trace`: what a client, a topic or an address sends and gets, live, and nothing of anybody else.

use std::process::{Child, Output, Stdio};

use e2e_tests::wire::kind;
use e2e_tests::{RawClient, Version, ctl, packets, process};
use serde_json::Value;

use crate::fixture::{Fixture, USERS, answer, log_in};

const ADMIN: &str = "[admin]\nlisten = \"127.0.0.1:0\"\n";

/// A trace that shows so many packets and ends, while something goes on.
fn traced(fixture: &Fixture, arguments: &[&str], count: &str, mut go_on: impl FnMut()) -> Vec<Value> {
    let mut command = process::bound_to_us(&process::binary());
    command.args(["ctl", "--admin", &fixture.broker().addr("admin"), "trace", "--json", "--count", count]);
    command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = process::spawn(command).unwrap();
    ctl::until("end of the trace", || {
        go_on();
        child.try_wait().unwrap()
    });
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    let lines = String::from_utf8(stdout).unwrap();
    let is_asked_for = arguments.contains(&"--payload");
    assert!(lines.contains("a payload") == is_asked_for && !lines.contains("pass-"), "{lines}");
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn texts(lines: &[Value]) -> Vec<&str> {
    lines.iter().filter_map(|line| line["text"].as_str()).collect()
}

fn publish(client: &mut RawClient, topic: &str) {
    client.publish(topic, "a payload", 1);
}

#[test]
fn packets_of_a_client_are_shown_and_of_nobody_else() {
    let fixture = Fixture::with(ADMIN, USERS, None);
    let mut ann = fixture.client(Version::V5, "ann", "ann");
    let mut bob = fixture.client(Version::V5, "bob", "bob");
    let lines = traced(&fixture, &["--client", "ann"], "6", || {
        publish(&mut ann, "a");
        publish(&mut bob, "b");
    });
    assert!(lines.iter().all(|line| line["client_id"] == "ann"), "{lines:#?}");
    assert!(lines[0]["address"].as_str().unwrap().starts_with("127.0.0.1:"), "{lines:#?}");
    assert!(lines[0]["at"].as_str().unwrap().ends_with('Z') && lines[0]["node"].is_string(), "{lines:#?}");
    let texts = texts(&lines);
    assert!(
        texts
            .iter()
            .any(|text| text.starts_with("received PUBLISH (d0, q1, r0")
                && text.contains("'a', ... (9 bytes))")),
        "{texts:?}"
    );
    assert!(texts.iter().any(|text| text.starts_with("sent PUBACK (m")), "{texts:?}");
}

#[test]
fn a_topic_is_followed_from_its_publisher_to_its_subscribers() {
    let fixture = Fixture::with(ADMIN, USERS, None);
    let mut ann = fixture.client(Version::V5, "ann", "ann");
    let mut bob = fixture.client(Version::V5, "bob", "bob");
    ann.subscribe("#", 1);
    let lines = traced(&fixture, &["--topic", "a/+"], "8", || {
        publish(&mut bob, "a/1");
        publish(&mut bob, "b/1");
        for _ in 0..2 {
            ann.receive();
        }
    });
    let texts = texts(&lines);
    assert!(texts.iter().all(|text| text.contains("'a/1'")), "{texts:?}");
    let of = |client: &str, what: &str| {
        lines
            .iter()
            .any(|line| line["client_id"] == client && line["text"].as_str().unwrap().starts_with(what))
    };
    assert!(of("bob", "received PUBLISH") && of("ann", "sent PUBLISH"), "{lines:#?}");
}

#[test]
fn payloads_are_shown_to_whoever_asks_for_them_as_far_as_they_say() {
    let fixture = Fixture::with(ADMIN, USERS, None);
    let mut ann = fixture.client(Version::V5, "ann", "ann");
    let lines = traced(&fixture, &["--topic", "a", "--payload", "9"], "2", || {
        ann.publish("a", "a payload, of which this is not shown", 1);
    });
    for line in &lines {
        assert_eq!(
            (&line["payload"], &line["payload_base64"]),
            (&"a payload".into(), &"YSBwYXlsb2Fk".into())
        );
        assert!(line["text"].as_str().unwrap().contains("(37 bytes)"), "{line}");
    }
}

#[test]
fn who_is_refused_or_goes_is_shown_with_the_reason() {
    let fixture = Fixture::with(ADMIN, USERS, None);
    let lines = traced(&fixture, &["--address", "127.0.0.0/8", "--client", "c"], "8", || {
        answer(&fixture.addr(), &log_in(Version::V5, "c", "ann").password("pass-wrong"));
        let mut client = fixture.client(Version::V5, "c", "ann");
        client.send(&packets::disconnect());
        client.expect_closed();
    });
    let texts = texts(&lines);
    for what in
        ["received CONNECT (5.0, ", "sent CONNACK (", "received DISCONNECT (", "the connection ends: "]
    {
        assert!(texts.iter().any(|text| text.starts_with(what)), "{what}: {texts:?}");
    }
    assert!(texts.iter().any(|text| text.contains("0x86")), "{texts:?}");
}

#[test]
fn a_trace_of_nothing_or_of_nonsense_is_refused_and_so_is_one_too_many() {
    let fixture = Fixture::with(ADMIN, USERS, None);
    let admin = fixture.broker().addr("admin");
    for (arguments, code, words) in [
        (["trace"].as_slice(), 1, "expected a client, a filter or an address"),
        (&["trace", "--topic", "a#"], 1, "filter: \"a#\""),
        (&["trace", "--address", "here"], 1, "address: expected"),
        (&["trace", "--client", "c", "--payload", "1025"], 1, "payload_bytes: 1025 is too much"),
        (&["trace", "--client", "c", "--for", "soon"], 2, "--for"),
    ] {
        let (status, said) = ctl::refuses(&admin, arguments);
        assert!(status == code && said.contains(words), "{arguments:?}: {said}");
    }
    assert_eq!(ctl::says(&admin, &["trace", "--client", "nobody", "--for", "100ms"]), "");
    let mut client = fixture.client(Version::V5, "c", "ann");
    let begin = || {
        let mut command = process::bound_to_us(&process::binary());
        command.args(["ctl", "--admin", &admin, "trace", "--client", "c"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        process::spawn(command).unwrap()
    };
    let mut traces: Vec<Child> = (0..12).map(|_| begin()).collect();
    let mut refused = 0;
    ctl::until("refusal of some", || {
        client.ping();
        refused = traces.iter_mut().filter_map(|child| child.try_wait().unwrap()).count();
        (refused >= 3).then_some(())
    });
    for mut child in traces {
        if child.try_wait().unwrap().is_none() {
            child.kill().unwrap();
        }
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() != Some(1) || said.contains("8 traces are under way"), "{said}");
    }
    client.send(&packets::pingreq());
    assert_eq!(client.expect(kind::PINGRESP).kind(), kind::PINGRESP);
}
