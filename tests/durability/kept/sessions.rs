//! Whether a session is there (G7): said right in CONNACK, across the downtime, and wiped by a clean start.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use e2e_tests::client::Read;
use e2e_tests::wire::{Version, kind};
use e2e_tests::{Connect, RawClient, pause, unique};

use super::{VERSIONS, World, expiry, persistent};

#[test]
fn g7_session_present_is_said_exactly_where_a_session_was_kept() {
    let Some(mut world) = World::start() else { return };
    for version in VERSIONS {
        let kept = persistent(version, &unique("c"));
        let transient = Connect::new(version, unique("c"));
        let never = persistent(version, &unique("c"));
        assert!(!world.connect_ack(&kept).1.session_present);
        let _connected = world.connect_ack(&transient);
        world.kill_and_restart();
        assert!(world.connect_ack(&kept).1.session_present);
        assert!(!world.connect_ack(&transient.clone().clean(version == Version::V3_1_1)).1.session_present);
        assert!(!world.connect_ack(&never).1.session_present);
    }
}

#[test]
fn a_clean_start_wipes_the_session_for_good() {
    let Some(mut world) = World::start() else { return };
    for version in VERSIONS {
        let id = unique("c");
        world.absent(&persistent(version, &id), "t", 2);
        world.client().publish("t", "queued", 2);
        // In 5.0 the new session outlives its connection too; in 3.1.1 none does.
        let (_client, connack) = world.connect_ack(&persistent(version, &id).clean(true));
        assert!(!connack.session_present);
        world.kill_and_restart();
        let (mut client, connack) = world.connect_ack(&persistent(version, &id));
        assert_eq!(connack.session_present, version == Version::V5);
        world.client().publish("t", "nobody's", 2);
        client.expect_nothing();
    }
}

#[test]
fn g11_sessions_expire_while_the_node_is_down() {
    let Some(mut world) = World::start() else { return };
    for (id, seconds) in [("soon", 1), ("late", 1000)] {
        world.absent(&Connect::v5(id).clean(false).props(expiry(seconds)), "t", 1);
    }
    world.0.kill();
    pause(Duration::from_millis(2_100));
    world.0.restart(&[]);
    assert!(!world.connect_ack(&persistent(Version::V5, "soon")).1.session_present);
    let mut late = world.resume(&persistent(Version::V5, "late"));
    world.client().publish("t", "x", 1);
    assert_eq!(late.receive().text(), "x");
}

#[test]
fn an_expiry_that_disconnect_changed_is_the_one_that_counts() {
    let Some(mut world) = World::start() else { return };
    let mut client = world.connect(&persistent(Version::V5, "c"));
    client.send(&e2e_tests::packets::disconnect_v5(0, &expiry(0)));
    client.expect_closed();
    world.kill_and_restart();
    assert!(!world.connect_ack(&persistent(Version::V5, "c")).1.session_present);
}

/// Makes sessions until the broker is gone; gives those whose CONNACK came.
fn connect_until(addr: &str, gone: &AtomicBool) -> Vec<String> {
    let mut acknowledged = Vec::new();
    while !gone.load(Ordering::Relaxed) {
        let id = unique("c");
        let Ok(stream) = std::net::TcpStream::connect(addr) else { break };
        let mut client = RawClient::over(Box::new(stream));
        client.send(&persistent(Version::V5, &id).bytes());
        match client.read(Duration::from_secs(60)) {
            Read::Packet(packet) if packet.kind() == kind::CONNACK => acknowledged.push(id),
            Read::Closed => break,
            other => panic!("{other:02x?}"),
        }
    }
    acknowledged
}

#[test]
fn g7_every_session_that_was_acknowledged_is_there_after_a_kill_during_connects() {
    let Some(mut world) = World::start() else { return };
    for _ in 0..3 {
        let (addr, gone) = (world.0.mqtt(), AtomicBool::new(false));
        let acknowledged: Vec<String> = std::thread::scope(|threads| {
            let threads: Vec<_> = (0..4).map(|_| threads.spawn(|| connect_until(&addr, &gone))).collect();
            pause(Duration::from_millis(300));
            world.0.kill();
            gone.store(true, Ordering::Relaxed);
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        assert!(!acknowledged.is_empty());
        world.0.restart(&[]);
        for id in &acknowledged {
            world.resume(&persistent(Version::V5, id));
        }
    }
}
