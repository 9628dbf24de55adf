//! Python's paho-mqtt, driven by the scripts in `py/`: each prints a transcript, which is compared line by line.
//! The scripts hold no expectations of their own; they are all here.

use crate::child::run;
use crate::node::Node;
use crate::tools::{self, need};

/// Runs a script against a fresh broker and compares what it prints.
macro_rules! transcript {
    ($script:literal, $version:expr, $expected:expr) => {{
        let mut command = need!(tools::python(concat!($script, ".py")));
        let node = Node::start();
        command.args(["--port", &node.port("mqtt"), "--version", $version]);
        assert_eq!(run(command).lines(), $expected, "version {}", $version);
    }};
}

#[test]
fn every_qos_retained_and_live_in_all_versions() {
    for version in ["3.1", "3.1.1", "5"] {
        let mut expected: Vec<_> = (0..3).map(|qos| format!("granted [{qos}, {qos}, {qos}]")).collect();
        for topic in [&format!("paho/{version}/qos"), "/hum", "센서/온도"] {
            for (sent, asked) in (0..9).map(|case| (case / 3, case % 3)) {
                let got = sent.min(asked);
                expected.push(format!("{topic} published {sent} asked {asked} got {got} retain 0 {sent} 도"));
            }
        }
        for asked in [0, 1, 1] {
            expected.push(format!("live {asked} 0 00ff01"));
            expected.push(format!("kept {asked} 1 00ff01"));
        }
        expected.push("nothing twice True".to_owned());
        transcript!("qos", version, expected);
    }
}

#[test]
fn sessions_keep_their_messages_and_end_when_they_should() {
    let expected = |five: bool| {
        let mut lines = vec!["session present 0", "granted [0, 1, 2]", "session present 1"];
        lines.extend(["sessions/1 0 1 0", "sessions/1 1 1 0", "sessions/1 2 1 0"]);
        lines.extend(["sessions/2 0 2 0", "sessions/2 1 2 0", "sessions/2 2 2 0", "no more True"]);
        lines.extend(["taken over, session present 1", "to the new connection"]);
        if five {
            lines.extend(["after its expiry, session present 0 True", "session present 1", "fresh True"]);
        }
        lines.push("clean, session present 0");
        lines
    };
    transcript!("sessions", "3.1.1", expected(false));
    transcript!("sessions", "5", expected(true));
}

#[test]
fn qos_2_is_exactly_once_over_connections_that_break() {
    for version in ["3.1.1", "5"] {
        transcript!(
            "exactly_once",
            version,
            [
                "break 0 session present 1",
                "break 1 session present 1",
                "break 2 session present 1",
                "break 3 session present 1",
                "messages 2000 in order True each once True",
                "no more True",
                "every publish completed",
            ]
        );
    }
}

#[test]
fn properties_pass_unchanged() {
    transcript!(
        "properties",
        "5",
        [
            "live 0 [] [268435455]",
            "live 1 [] [268435455]",
            "live 2 [] [268435455]",
            "live []",
            "kept 1 [] [7]",
            "kept 1 [] [8]",
            "bare b'' []",
        ]
    );
}

#[test]
fn subscription_options_do_what_they_say() {
    transcript!(
        "options",
        "5",
        [
            "session present False client id assigned False",
            "granted [1]",
            "no local b'yours' True",
            "retain handling 0 first sent",
            "retain handling 0 again sent",
            "retain handling 1 first sent",
            "retain handling 1 again silent",
            "retain handling 2 first silent",
            "retain handling 2 again silent",
            "retain as published False False",
            "retain as published True True",
            "identifiers [1, 2] True",
            "named by the broker True",
        ]
    );
}

#[test]
fn topic_aliases_shorten_and_never_change_a_topic() {
    transcript!(
        "alias",
        "5",
        [
            "aliases allowed True",
            "alias/온도 first 1 same without True alias/온도",
            "alias/온도 second 1 same without True alias/온도",
            "/hum first 2 same without True /hum",
            "/hum second 2 same without True /hum",
            "alias/three first 3 same without True alias/three",
            "alias/three second 3 same without True alias/three",
            "alias/three moved same without True alias/three",
            "alias/three after the move same without True alias/three",
        ]
    );
}

#[test]
fn wills_wait_for_their_delay() {
    transcript!(
        "wills",
        "5",
        [
            "wills/at-once 유언 1 ['will', 'wills/답', b'\\x00\\x01', 1, [('b', '1'), ('a', '2')]]",
            "expiry True",
            "wills/later after its delay True",
            "session present True no will True",
            "wills/replaced when its session ends before the delay",
            "no will after DISCONNECT True",
        ]
    );
}

#[test]
fn a_receive_maximum_is_never_exceeded() {
    transcript!(
        "flow",
        "5",
        [
            "without an acknowledgement ['0', '1', '2']",
            "QoS 0 passes ['needs no room']",
            "after one ['3']",
            "after three ['4', '5', '6']",
            "then ['7', '8', '9']",
            "then []",
        ]
    );
}
