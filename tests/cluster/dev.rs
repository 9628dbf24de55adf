//! `quelea dev`: what it says of its nodes is so, a killed one stays dead until it is started again, and all of them end
//! with it.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use e2e_tests::pause;
use e2e_tests::process::{binary, bound_to_us, fresh_dir, spawn};
use serde_json::Value;

use crate::nodes::{self, PATIENCE};
use crate::stubborn::{Publisher, drain, session, subscribe};

fn places(data: &Path) -> Option<Vec<Value>> {
    let text = fs::read(data.join("cluster.json")).ok()?;
    Some(serde_json::from_slice::<Value>(&text).unwrap().as_array().unwrap().clone())
}

fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "no {what}");
        pause(Duration::from_millis(50));
    }
}

fn pid_of(places: &[Value], name: &str) -> u64 {
    places.iter().find(|place| place["name"] == name).unwrap()["pid"].as_u64().unwrap()
}

fn kill(signal: &str, pid: u64) {
    assert!(Command::new("kill").args([signal, &pid.to_string()]).status().unwrap().success());
}

fn start(data: &Path) -> Child {
    let mut command = bound_to_us(&binary());
    command
        .args(["dev", "--base-port", &nodes::three_free_ports().to_string(), "--sensors", "2", "--data-dir"])
        .arg(data);
    command.env("QUELEA__CLUSTER__PROFILE", "zones").stdout(Stdio::null()).stderr(Stdio::null());
    spawn(command).unwrap()
}

#[test]
fn a_cluster_of_one_command_survives_a_kill_and_ends_with_it() {
    let _alone = nodes::alone();
    let data = fresh_dir();
    let mut dev = start(&data);
    let found = until("cluster.json", || places(&data));
    let mqtt: Vec<String> = found.iter().map(|place| place["mqtt"].as_str().unwrap().to_owned()).collect();
    assert_eq!(mqtt.len(), 3);
    subscribe("log", "t", &[mqtt[0].clone()]);
    // Sensors are there, whichever node one listens at.
    let mut listener = session("listener", &[mqtt[2].clone()]);
    listener.subscribe("ESP32/TEM", 1);
    let reading = listener.receive();
    assert!(reading.topic == "ESP32/TEM" && reading.payload.contains(&b'.'), "{reading:?}");
    listener.disconnect();

    kill("-KILL", pid_of(&found, "quelea-1"));
    let mut publisher = Publisher::new("pub", vec![mqtt[1].clone(), mqtt[2].clone()]);
    publisher.publish("t", b"while it was dead", 1);
    let of_one = || places(&data).map(|places| pid_of(&places, "quelea-1"));
    until("word of the death", || of_one().filter(|pid| *pid == 0));
    let restart = |name: &str| {
        let mut command = Command::new(binary());
        command.args(["dev", "restart", name, "--data-dir"]).arg(&data).output().unwrap()
    };
    assert!(restart("quelea-1").status.success());
    assert_ne!(of_one(), Some(0));
    for (name, word) in [("quelea-1", "runs already"), ("quelea-7", "quelea-7")] {
        let refused = restart(name);
        let said = String::from_utf8(refused.stderr).unwrap();
        assert!(!refused.status.success() && said.contains(word), "{said}");
    }
    assert!(drain("log", 1, &[mqtt[0].clone()]).contains(&b"while it was dead".to_vec()));

    kill("-TERM", u64::from(dev.id()));
    assert!(dev.wait().unwrap().success());
    assert!(mqtt.iter().all(|address| TcpStream::connect(address).is_err()), "a node outlived it");
    let _gone = fs::remove_dir_all(&data);
}
