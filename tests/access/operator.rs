//! What `quelea ctl` has one node do: publish a message, read its settings again, log more or less, and show what it does.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use e2e_tests::client::Read;
use e2e_tests::wire::{kind, prop};
use e2e_tests::{BOUND, Broker, Connect, Props, RawClient, Version, ctl, pause, process};
use serde_json::Value;

use crate::fixture::{Fixture, USERS, wait_for};

const ADMIN: &str = "[admin]\nlisten = \"127.0.0.1:0\"\n";

/// A broker that is asked, whose configuration the test changes.
struct Asked(Broker);

impl Asked {
    fn new(toml: &str) -> Self {
        Self(Broker::with_config(&format!("{ADMIN}{toml}[http]\naddress = \"127.0.0.1:0\"\n")))
    }

    fn says(&self, arguments: &[&str]) -> String {
        ctl::says(&self.0.addr("admin"), arguments)
    }

    fn refuses(&self, arguments: &[&str]) -> (i32, String) {
        ctl::refuses(&self.0.addr("admin"), arguments)
    }

    /// Writes another configuration in the place of `old`.
    fn replace(&self, old: &str, new: &str) {
        let file = self.0.dir().unwrap().join("quelea.toml");
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains(old), "{text}");
        fs::write(file, text.replace(old, new)).unwrap();
    }

    /// The keep alive that a client is given.
    fn keep_alive(&self) -> Option<u32> {
        let connect = Connect::v5("client").keep_alive(1_000);
        RawClient::connect_ack(&self.0.mqtt(), &connect).1.props.number(prop::SERVER_KEEP_ALIVE)
    }
}

#[test]
fn a_message_arrives_with_all_that_was_said_of_it() {
    let asked = Asked::new("");
    let mut client = RawClient::v5(&asked.0.mqtt(), "sub");
    client.subscribe("a/#", 2);
    let said = asked.says(&["publish", "-t", "nobody", "-m", "x"]);
    assert_eq!(said, "published; nobody has subscribed to it\n");
    let all = [
        ["publish", "--topic", "a/b", "--message", "on", "--qos", "2", "--expiry", "2h"].as_slice(),
        &["--content-type", "text/plain", "--response-topic", "r", "--correlation-data", "c"],
        &["--user-property", "who=ann", "--user-property", "who=bob=1"],
    ];
    assert_eq!(asked.says(&all.concat()), "published\n");
    let got = client.receive();
    assert_eq!(
        (got.topic.as_str(), got.payload.as_slice(), got.qos, got.retain),
        ("a/b", b"on".as_slice(), 2, false)
    );
    assert_eq!(got.props.text(prop::CONTENT_TYPE), Some("text/plain".to_owned()));
    assert_eq!(got.props.text(prop::RESPONSE_TOPIC), Some("r".to_owned()));
    assert!(got.props.number(prop::MESSAGE_EXPIRY).is_some_and(|left| (7_000..=7_200).contains(&left)));
    let told: Value = serde_json::from_str(&asked.says(&["publish", "-t", "a", "-n", "--json"])).unwrap();
    assert_eq!(told["matched"], true);
    assert!(client.receive().payload.is_empty());
    // Retained, the last counts.
    for qos in ["1", "2"] {
        asked.says(&["publish", "-t", "a/kept", "-m", qos, "-q", qos, "-r"]);
        let got = client.receive();
        assert_eq!((got.payload.as_slice(), got.qos.to_string().as_str()), (qos.as_bytes(), qos));
    }
    let mut late = RawClient::v5(&asked.0.mqtt(), "late");
    late.subscribe("a/#", 2);
    let got = late.receive();
    assert_eq!((got.payload.as_slice(), got.retain), (b"2".as_slice(), true));
    // At QoS 0 nothing is promised.
    loop {
        asked.says(&["publish", "-t", "a/0", "-m", "fast", "-q", "0"]);
        if let Read::Packet(got) = late.read_among(kind::PUBLISH, BOUND) {
            let got = got.publish(Version::V5);
            assert_eq!((got.topic.as_str(), got.qos, got.packet_id), ("a/0", 0, 0));
            break;
        }
    }
    asked.says(&["publish", "-t", "a/kept", "-n", "-r"]);
    assert!(asked.says(&["retained", "--filter", "a/kept", "--json"]).contains("\"retained\": []"));
}

#[test]
fn a_session_that_is_away_has_what_was_published_meanwhile_also_after_a_crash() {
    let mut asked = Asked::new("");
    let persistent =
        || Connect::v5("away").clean(false).props(Props::new().four(prop::SESSION_EXPIRY, 3_600));
    let mut client = RawClient::connect(&asked.0.mqtt(), &persistent());
    client.subscribe("a", 1);
    client.disconnect();
    assert_eq!(asked.says(&["publish", "-t", "a", "-m", "kept"]), "published\n");
    asked.0.kill();
    asked.0.restart(&[]);
    let mut client = RawClient::connect(&asked.0.mqtt(), &persistent());
    assert_eq!(client.receive().payload, b"kept");
}

#[test]
fn a_message_that_no_client_could_send_is_refused_and_goes_nowhere() {
    let asked = Asked::new("[mqtt]\nmax_packet_size = \"8 KiB\"\n[retained]\nmessages_max = 6\n");
    let mut client = RawClient::v5(&asked.0.mqtt(), "sub");
    for filter in ["a/#", "file", "stdin"] {
        client.subscribe(filter, 1);
    }
    let large = "x".repeat(9_000);
    for (arguments, code, words) in [
        (["-t", "a/#", "-m", "x"].as_slice(), 1, "the message: "),
        (&["-t", "", "-m", "x"], 1, "the message: "),
        (&["-t", "$SYS/broker/x", "-m", "x"], 1, "\"$SYS/broker/x\" is the broker's own"),
        (&["-t", "a", "-m", "x", "-q", "3"], 1, "qos: 3, expected 0, 1 or 2"),
        (&["-t", "a", "-m", &large], 1, "the message: "),
        (&["-t", "a", "-f", "/nowhere/at/all"], 1, "cannot read /nowhere/at/all"),
        (&["-t", "a"], 2, "--message"),
        (&["-t", "a", "-m", "x", "-n"], 2, "cannot be used with"),
        (&["-t", "a", "-m", "x", "--expiry", "soon"], 2, "as 90s or 2h"),
        (&["-t", "a", "-m", "x", "--user-property", "x"], 2, "NAME=VALUE"),
    ] {
        let (status, said) = asked.refuses(&[&["publish"], arguments].concat());
        assert!(status == code && said.contains(words), "{arguments:?}: {status} {said}");
    }
    let file = asked.0.dir().unwrap().join("payload");
    fs::write(&file, vec![0; 48 * 1_024 + 1]).unwrap();
    let (_, said) = asked.refuses(&["publish", "-t", "a", "-f", file.to_str().unwrap()]);
    assert!(said.contains("is larger than 49152 bytes"), "{said}");
    // There is room for a few retained messages only.
    let admin = asked.0.addr("admin");
    let retained = |at: u32| ctl::run(&admin, &["publish", "-t", &format!("kept/{at}"), "-m", "x", "-r"]);
    let refused = (0..20).map(retained).find(|output| !output.status.success()).unwrap();
    assert!(String::from_utf8(refused.stderr).unwrap().contains("Quota exceeded (0x97)"));
    // What is from a file or from standard input comes whole, whatever is in it.
    fs::write(&file, b"\0\xff").unwrap();
    asked.says(&["publish", "-t", "file", "-f", file.to_str().unwrap()]);
    let mut command = Command::new(process::binary());
    command.args(["ctl", "--admin", &asked.0.addr("admin"), "publish", "-t", "stdin", "-f", "-"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"\xfe\n").unwrap();
    assert!(child.wait().unwrap().success());
    let got: Vec<(String, Vec<u8>)> = (0..2)
        .map(|_| {
            let got = client.receive();
            (got.topic, got.payload)
        })
        .collect();
    let expected: [(&str, &[u8]); 2] = [("file", b"\0\xff"), ("stdin", b"\xfe\n")];
    assert_eq!(got, expected.map(|(topic, payload)| (topic.to_owned(), payload.to_vec())));
}

#[test]
fn settings_are_read_again_and_who_asks_is_told_what_came_of_it() {
    let asked = Asked::new("[mqtt]\nmax_keep_alive = \"100s\"\n");
    let name = ctl::status(&asked.0.addr("admin"))["answered_by"].as_str().unwrap().to_owned();
    let said = asked.says(&["reload"]);
    assert_eq!(
        said,
        format!("node {name} has read its settings again; nothing of the configuration has changed\n")
    );
    asked.replace("\"100s\"", "\"50s\"\nmax_session_expiry = \"1h\"");
    let told: Value = serde_json::from_str(&asked.says(&["reload", &name, "--json"])).unwrap();
    assert_eq!(told["node"], *name);
    assert_eq!(told["changed"], serde_json::json!(["mqtt.max_keep_alive", "mqtt.max_session_expiry"]));
    // It counts when the command returns.
    assert_eq!(asked.keep_alive(), Some(50));
    for (bad, named) in [
        (
            "\"40s\"\nreceive_maximum = 7",
            "mqtt.receive_maximum: cannot change while the node runs, restart it for that",
        ),
        ("\"40s\"\nmax_keepalive = 7", "unknown configuration key \"mqtt.max_keepalive\""),
        ("\"forty\"", "mqtt.max_keep_alive"),
    ] {
        asked.replace("\"50s\"", bad);
        let (code, said) = asked.refuses(&["reload"]);
        assert!(code == 1 && said.contains(named), "{said}");
        assert_eq!(
            (asked.keep_alive(), asked.0.metric("quelea_config_stale") > 0.5),
            (Some(50), true),
            "{bad}"
        );
        asked.replace(bad, "\"50s\"");
    }
    asked.says(&["reload"]);
    assert!(asked.0.metric("quelea_config_stale") < 0.5);
    let (code, said) = asked.refuses(&["reload", "nobody"]);
    assert!(code == 1 && said.contains("there is no node \"nobody\"") && said.contains(&name), "{said}");
}

#[test]
fn users_are_read_again_too() {
    let fixture = Fixture::with(ADMIN, USERS, None);
    let ann = USERS.lines().find(|line| line.starts_with("ann")).unwrap();
    let mut bob = fixture.client(Version::V5, "b", "bob");
    fixture.replace("users", format!("{ann}\n"));
    ctl::says(&fixture.broker().addr("admin"), &["reload"]);
    bob.expect_closed();
}

#[test]
fn what_a_node_logs_changes_until_its_settings_are_read_again() {
    let asked = Asked::new("[log]\nlevel = \"info,sled=error\"\n");
    let level = |arguments: &[&str]| {
        let told: Value =
            serde_json::from_str(&asked.says(&[&["log"], arguments, &["--json"]].concat())).unwrap();
        told["level"].as_str().unwrap().to_owned()
    };
    assert_eq!(level(&[]), "info,sled=error");
    let garbage = || RawClient::open(&asked.0.mqtt()).send(b"GET / HTTP/1.1\r\n\r\n");
    garbage();
    assert!(!asked.0.log().contains("DEBUG"), "{}", asked.0.log());
    assert_eq!(level(&["quelea::connection=debug"]), "info,sled=error,quelea::connection=debug");
    wait_for("lines of clients that speak no MQTT", || {
        garbage();
        asked.0.log().contains("DEBUG quelea::connection")
    });
    assert_eq!(level(&["warn"]), "info,sled=error,warn,quelea::connection=debug");
    assert_eq!(level(&["quelea::connection=info"]), "info,sled=error,warn,quelea::connection=info");
    for wrong in ["loud", "a=loud", "a[b]=info", "info,debug"] {
        let (code, said) = asked.refuses(&["log", wrong]);
        assert!(code == 1 && said.contains(&format!("level: {wrong:?}")) && said.contains("trace"), "{said}");
    }
    let (code, said) = asked.refuses(&["log", "info", "--node", "nobody"]);
    assert!(code == 1 && said.contains("there is no node \"nobody\""), "{said}");
    asked.says(&["reload"]);
    assert_eq!(level(&[]), "info,sled=error");
}

#[test]
fn top_shows_rates_of_what_clients_do_and_ends_where_it_is_told_to() {
    let asked = Asked::new("");
    let mut client = RawClient::v5(&asked.0.mqtt(), "c");
    let text = asked.says(&["top", "--once", "--every", "100ms"]);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("1 of 1 nodes serve 1 clients, 7 of 7 groups"), "{text}");
    assert!(
        lines[2].starts_with("NODE") && lines[3].contains("0.0") && lines[3].ends_with("ready"),
        "{text}"
    );
    let mut command = Command::new(process::binary());
    command.args([
        "ctl",
        "--admin",
        &asked.0.addr("admin"),
        "top",
        "--count",
        "3",
        "--every",
        "1s",
        "--json",
    ]);
    let child = command.stdout(Stdio::piped()).spawn().unwrap();
    // For as long as it looks, which is never longer than what follows.
    let ended = std::thread::spawn(move || child.wait_with_output().unwrap());
    while !ended.is_finished() {
        client.publish("a", b"x", 1);
        // There are 65,535 packet identifiers.
        pause(Duration::from_millis(5));
    }
    let output = ended.join().unwrap();
    assert!(output.status.success(), "{output:?}");
    let looks: Vec<Value> = output
        .stdout
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    assert_eq!(looks.len(), 3);
    for look in &looks {
        let node = &look["nodes"][0];
        assert_eq!((&node["clients"], &node["ready"]), (&1.into(), &true.into()), "{look:#}");
        assert!(node["memory_bytes"].as_u64().unwrap() > 0);
    }
    let rate = |look: &Value| look["nodes"][0]["received_per_second"].as_f64().unwrap();
    assert!(looks.iter().any(|look| rate(look) > 0.0), "{looks:#?}");
    for wrong in [["top", "--every", "1ms"].as_slice(), &["top", "--once", "--count", "2"]] {
        assert_eq!(asked.refuses(wrong).0, 2);
    }
}

/// Needs bash, which Debian has; what others read is there.
#[test]
fn shells_complete_commands_and_options() {
    let script = |shell: &str| {
        let output = Command::new(process::binary()).args(["completions", shell]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(script("zsh").starts_with("#compdef quelea"));
    assert!(script("fish").contains("complete -c quelea"));
    let file = process::fresh_dir().join("quelea.bash");
    fs::write(&file, script("bash")).unwrap();
    for (words, expected) in [
        ("quelea ctl dra", "drain"),
        ("quelea ctl clients --client-p", "--client-prefix"),
        ("quelea comp", "completions"),
    ] {
        let count = words.split(' ').count();
        let last = words.split(' ').next_back().unwrap();
        let run = format!(
            "source {}; COMP_WORDS=({words}); COMP_CWORD={}; _quelea quelea {last} x; echo \"${{COMPREPLY[@]}}\"",
            file.display(),
            count - 1
        );
        let output = Command::new("bash").args(["--norc", "-c", &run]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(said.trim(), expected, "{words}: {}", String::from_utf8_lossy(&output.stderr));
    }
    drop(fs::remove_dir_all(file.parent().unwrap()));
    let output = Command::new(process::binary()).args(["completions", "ksh"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && said.contains("ksh") && said.contains("fish"), "{said}");
}
