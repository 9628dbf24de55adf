//! The process from outside: exit codes, messages, the lines that say where it listens, and how it stops.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails that way")]

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, ChildStderr, Command, Output, Stdio},
    time::{Duration, Instant},
};

fn quelea(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quelea"));
    command.args(args).env_clear().stdin(Stdio::null());
    command
}

fn output(args: &[&str]) -> (Output, String) {
    let output = quelea(args).output().unwrap();
    let error = String::from_utf8(output.stderr.clone()).unwrap();
    (output, error)
}

/// A node on free ports; killed when dropped.
struct Node {
    child: Child,
    lines: BufReader<ChildStderr>,
    mqtt: String,
    http: String,
}

impl Node {
    fn start(data_dir: &Path) -> Self {
        let data_dir = data_dir.to_str().unwrap();
        let args = ["run", "--mqtt", "127.0.0.1:0", "--http", "127.0.0.1:0", "--data-dir", data_dir];
        let mut child = quelea(&args).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap());
        let mut node = Self { child, lines, mqtt: String::new(), http: String::new() };
        loop {
            let line = node.line();
            let address = line.split("address=").nth(1).map(|rest| rest.trim().to_owned());
            match address {
                Some(address) if line.contains("listener=\"mqtt\"") => node.mqtt = address,
                Some(address) if line.contains("listener=\"http\"") => node.http = address,
                _ if line.contains(" INFO quelea: ready") => return node,
                _ => {}
            }
        }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        assert!(self.lines.read_line(&mut line).unwrap() > 0, "the node ended");
        line
    }

    fn signal(&self, name: &str) {
        let kill = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status();
        assert!(kill.unwrap().success());
    }

    /// The exit code, within the time that a stop may take.
    fn wait(&mut self) -> Option<i32> {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(60) {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::park_timeout(Duration::from_millis(10));
        }
        panic!("the node did not stop");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_node_says_where_it_listens_serves_and_stops_when_told() {
    for signal in ["TERM", "INT"] {
        let dir = tempfile::tempdir().unwrap();
        let mut node = Node::start(&dir.path().join("data"));
        TcpStream::connect(&node.mqtt).unwrap();
        let mut http = TcpStream::connect(&node.http).unwrap();
        http.write_all(b"GET /readyz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        http.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        node.signal("HUP");
        node.signal(signal);
        assert_eq!(node.wait(), Some(0));
        let mut rest = String::new();
        node.lines.read_to_string(&mut rest).unwrap();
        assert!(rest.ends_with(" INFO quelea: stopped\n") && !rest.contains("ERROR"), "{rest}");
    }
}

#[test]
fn a_data_directory_has_one_node() {
    let dir = tempfile::tempdir().unwrap();
    let _node = Node::start(dir.path());
    let path = dir.path().to_str().unwrap();
    let (second, error) = output(&["run", "--mqtt", "127.0.0.1:0", "--http", "off", "--data-dir", path]);
    assert_eq!(second.status.code(), Some(1));
    assert!(error.contains(path) && error.contains("in use by another node"), "{error}");
}

#[test]
fn a_bad_configuration_is_exit_code_2_and_a_message() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("quelea.toml");
    let path = file.to_str().unwrap();
    for (text, words) in [
        ("[mqtt]\nreceive_maximun = 5", ["mqtt.receive_maximun", "mqtt.receive_maximum"]),
        ("[mqtt]\nreceive_maximum = 70000", ["mqtt.receive_maximum", "70000"]),
        ("[listener.lan]\naddress = \":0\"", ["lan", "auth.allow_anonymous"]),
        (
            "[listener.t]\nprotocol = \"tls\"\ntls = { certificate = \"/no/cert\", key = \"/no/key\" }",
            ["listener.t.tls", "/no/"],
        ),
    ] {
        fs::write(&file, text).unwrap();
        let data_dir = dir.path().join("data");
        let run = ["run", "--config", path, "--http", "off", "--data-dir", data_dir.to_str().unwrap()];
        for args in [&run[..], &["config", "check", "--config", path]] {
            let (output, error) = output(args);
            assert_eq!(output.status.code(), Some(2), "{text}: {error}");
            assert!(words.iter().all(|word| error.contains(word)), "{text}: {error}");
        }
    }
    let (missing, error) = output(&["run", "--config", "/no/such/file"]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(error.contains("/no/such/file"), "{error}");
    assert_eq!(output(&["run", "--no-such-flag"]).0.status.code(), Some(2));
}

#[test]
fn the_configuration_in_force_can_be_shown_and_checked() {
    let mut show = quelea(&["config", "show", "--node-name", "n7"]);
    let shown = show.env("QUELEA__MQTT__RECEIVE_MAXIMUM", "7").output().unwrap();
    assert!(shown.status.success());
    let text = String::from_utf8(shown.stdout).unwrap();
    assert!(text.contains("name = \"n7\"") && text.contains("receive_maximum = 7"), "{text}");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("shown.toml");
    fs::write(&file, text).unwrap();
    let (checked, error) = output(&["config", "check", "--config", file.to_str().unwrap()]);
    assert!(checked.status.success(), "{error}");
}

#[test]
fn a_second_signal_does_not_wait_for_clients() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = Node::start(dir.path());
    let _client = TcpStream::connect(&node.mqtt).unwrap();
    node.signal("TERM");
    while !node.line().contains("stopping") {}
    node.signal("TERM");
    let code = node.wait();
    assert!(matches!(code, Some(0 | 130)), "{code:?}");
}
