//! `quelea ctl` and the HTTP port, as the tests of clusters use them. It decides nothing about what is right but that equal
//! positions are equal states.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{PATIENCE, pause, process};

/// Runs `quelea ctl` against the node with this admin port.
pub fn run(admin: &str, arguments: &[&str]) -> Output {
    Command::new(process::binary()).args(["ctl", "--admin", admin]).args(arguments).output().unwrap()
}

/// What it prints where it does what it is told.
#[track_caller]
pub fn says(admin: &str, arguments: &[&str]) -> String {
    let output = run(admin, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Its exit code and what it says where it does not.
#[track_caller]
pub fn refuses(admin: &str, arguments: &[&str]) -> (i32, String) {
    let output = run(admin, arguments);
    assert!(!output.status.success(), "{arguments:?} was done");
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

/// `status --json`.
#[track_caller]
pub fn status(admin: &str) -> Value {
    serde_json::from_str(&says(admin, &["status", "--json"])).unwrap()
}

/// Waits until something is so, and says what was found.
#[track_caller]
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
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
pub fn get(http: &str, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(http).ok()?;
    stream
        .write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes())
        .ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

/// A node in a status, by its name.
pub fn node<'a>(status: &'a Value, name: &str) -> &'a Value {
    let nodes = status["cluster"]["nodes"].as_array().unwrap();
    nodes.iter().find(|node| node["name"] == name).unwrap_or_else(|| panic!("no {name} in {status:#}"))
}

/// How many groups a node leads.
pub fn leads(status: &Value, name: &str) -> usize {
    let number = &node(status, name)["number"];
    let groups = status["cluster"]["groups"].as_array().unwrap();
    groups.iter().filter(|group| group["leader"] == *number).count()
}

/// Waits until so many replicas of each group have applied the same, and says where two that did are not equal (G14).
#[track_caller]
pub fn equal_replicas(admin: &str, count: usize) -> Vec<String> {
    let (mut done, mut wrong) = (BTreeSet::new(), Vec::new());
    until("equal positions of all groups", || {
        let output = run(admin, &["shards", "--digests", "--json"]);
        let told: Value = serde_json::from_slice(&output.stdout).ok()?;
        let groups = told.as_array().filter(|_| output.status.success())?;
        for (number, group) in groups.iter().enumerate() {
            if are_equal(group, count, &mut wrong) {
                done.insert(number);
            }
        }
        (done.len() == groups.len() || !wrong.is_empty()).then_some(())
    });
    wrong
}

/// Whether so many replicas of a group are at one position.
fn are_equal(group: &Value, count: usize, wrong: &mut Vec<String>) -> bool {
    let mut digests: BTreeMap<u64, Vec<&Value>> = BTreeMap::new();
    for positions in group["replicas"].as_array().into_iter().flatten().map(|one| &one["positions"]) {
        if let Some(at) = positions["digest_at"].as_u64() {
            digests.entry(at).or_default().push(&positions["digest"]);
        }
    }
    if digests.values().any(|of| of.iter().any(|one| *one != of[0])) {
        wrong.push(format!("G14: replicas at the same position differ: {group:#}"));
    }
    digests.values().any(|of| of.len() >= count)
}
