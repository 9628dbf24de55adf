//! `quelea dev`: what it says of its nodes is so, a killed one stays dead until it is started again, and all of them end
//! with it.

use std::net::TcpStream;

use e2e_tests::Dev;
use e2e_tests::dev::{alone, signal};

use crate::stubborn::{Publisher, drain, session, subscribe};

#[test]
fn a_cluster_of_one_command_survives_a_kill_and_ends_with_it() {
    let _alone = alone();
    let mut dev = Dev::start(&["--sensors", "2"]);
    let mqtt = dev.all();
    subscribe("log", "t", &[mqtt[0].clone()]);
    // Sensors are there, whichever node one listens at.
    let mut listener = session("listener", &[mqtt[2].clone()]);
    listener.subscribe("ESP32/TEM", 1);
    let reading = listener.receive();
    assert!(reading.topic == "ESP32/TEM" && reading.payload.contains(&b'.'), "{reading:?}");
    listener.disconnect();

    dev.kill(1);
    let mut publisher = Publisher::new("pub", vec![mqtt[1].clone(), mqtt[2].clone()]);
    publisher.publish("t", b"while it was dead", 1);
    assert_eq!(dev.pid(1), 0, "it stays dead");
    // The first of its nodes does not answer any more.
    let told = dev.ctl(&["nodes"]);
    assert!(told.status.success() && String::from_utf8_lossy(&told.stdout).contains("quelea-3"), "{told:?}");
    assert!(dev.restart("quelea-1").status.success());
    assert_ne!(dev.pid(1), 0);
    for (name, word) in [("quelea-1", "runs already"), ("quelea-7", "quelea-7")] {
        let refused = dev.restart(name);
        let said = String::from_utf8(refused.stderr).unwrap();
        assert!(!refused.status.success() && said.contains(word), "{said}");
    }
    assert!(drain("log", 1, &[mqtt[0].clone()]).contains(&b"while it was dead".to_vec()));

    assert!(dev.stop().success());
    assert!(mqtt.iter().all(|address| TcpStream::connect(address).is_err()), "a node outlived it");
}

/// As a busy machine may bring it about: it belongs to the cluster, and stands still before it can say so.
#[test]
fn a_node_that_is_taken_for_dead_while_it_starts_begins_again() {
    let _alone = alone();
    let mut dev = Dev::launch(&[]);
    let pid = dev.starting_pid(3);
    dev.until_logged("a node belongs to the cluster node=2");
    dev.until_logged("a node belongs to the cluster node=3");
    signal(pid, "STOP");
    dev.until_logged("a node is taken for dead");
    signal(pid, "CONT");
    assert!(dev.is_up(), "{}", dev.logs());
    dev.until_logged("the node begins another run");
}
