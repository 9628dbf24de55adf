//! `quelea ctl` and the HTTP port, as the tests of this folder use them. It decides nothing about what is right.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use e2e_tests::{pause, process};
use serde_json::Value;

use crate::nodes::PATIENCE;

/// Runs `quelea ctl` against the node with this admin port.
pub(crate) fn run(admin: &str, arguments: &[&str]) -> Output {
    Command::new(process::binary()).args(["ctl", "--admin", admin]).args(arguments).output().unwrap()
}

/// What it prints where it does what it is told.
#[track_caller]
pub(crate) fn says(admin: &str, arguments: &[&str]) -> String {
    let output = run(admin, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Its exit code and what it says where it does not.
#[track_caller]
pub(crate) fn refuses(admin: &str, arguments: &[&str]) -> (i32, String) {
    let output = run(admin, arguments);
    assert!(!output.status.success(), "{arguments:?} was done");
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

/// `status --json`.
#[track_caller]
pub(crate) fn status(admin: &str) -> Value {
    serde_json::from_str(&says(admin, &["status", "--json"])).unwrap()
}

/// Waits until something is so, and says what was found.
#[track_caller]
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "no {what}");
        pause(Duration::from_millis(50));
    }
}

/// What a node's HTTP port answers, status line and body; nothing while nobody listens there.
pub(crate) fn get(http: &str, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(http).ok()?;
    stream
        .write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes())
        .ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

/// A node in a status, by its name.
pub(crate) fn node<'a>(status: &'a Value, name: &str) -> &'a Value {
    let nodes = status["cluster"]["nodes"].as_array().unwrap();
    nodes.iter().find(|node| node["name"] == name).unwrap_or_else(|| panic!("no {name} in {status:#}"))
}

/// How many groups a node leads.
pub(crate) fn leads(status: &Value, name: &str) -> usize {
    let number = &node(status, name)["number"];
    let groups = status["cluster"]["groups"].as_array().unwrap();
    groups.iter().filter(|group| group["leader"] == *number).count()
}
