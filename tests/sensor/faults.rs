//! A broker that is one node, or two that know nothing of each other: readings arrive, whatever happens to it. Each scenario
//! runs on both boards; `cluster` has those with three nodes that are one.

use e2e_tests::Broker;
use e2e_tests::dev::signal;

use crate::device::{Board, Device};
use crate::link::Link;
use crate::readings::Subscriber;

/// Kill -9, and a restart on what is on the disk.
pub(crate) fn the_broker_is_killed(board: Board) {
    let mut broker = Broker::start();
    let link = Link::to(&broker.mqtt());
    let mut subscriber = Subscriber::new(&broker.mqtt(), "ESP32/#");
    let mut device = Device::start(board, &[link.port()], "client_id=attic interval_ms=200 readings=60");
    device.wait_for("acknowledged", 8);
    broker.kill();
    device.wait_for("lost", 2);
    broker.restart(&[]);
    link.lead_to(&broker.mqtt());
    subscriber.again(&broker.mqtt());
    device.finish();
    assert!(!device.lines("resumed=true").is_empty(), "{}", device.log());
    subscriber.expect_all("ESP32", &device.readings());
}

/// A broker that does nothing for longer than the device waits, and then goes on as if nothing had been.
pub(crate) fn the_broker_is_frozen(board: Board) {
    let broker = Broker::start();
    let link = Link::to(&broker.mqtt());
    let mut subscriber = Subscriber::new(&broker.mqtt(), "ESP32/#");
    let mut device = Device::start(board, &[link.port()], "client_id=attic interval_ms=250 readings=100");
    device.wait_for("acknowledged", 8);
    signal(broker.pid(), "STOP");
    // What is unacknowledged was waited for, and then an answer to CONNECT.
    device.wait_for("lost cause=silent", 2);
    signal(broker.pid(), "CONT");
    device.finish();
    assert!(!device.lines("resumed=true").is_empty(), "{}", device.log());
    // The livelock of a client that takes a full session for a broken connection: hundreds of attempts.
    assert!(device.lines("dialing").len() < 12, "{}", device.log());
    subscriber.expect_all("ESP32", &device.readings());
}

/// Two brokers that know nothing of each other, as the device does not either.
pub(crate) fn the_broker_stays_away(board: Board) {
    let (mut first, second) = (Broker::start(), Broker::start());
    let links = [Link::to(&first.mqtt()), Link::to(&second.mqtt())];
    let mut subscriber = Subscriber::new(&second.mqtt(), "ESP32/#");
    let ports = links.map(|link| link.port());
    let device = Device::start(board, &ports, "client_id=attic interval_ms=200 readings=40");
    device.wait_for("acknowledged", 8);
    first.kill();
    goes_on(device, &mut subscriber);
}

/// After the device's broker died: what it had not acknowledged, and all that follows, comes to a subscriber elsewhere.
fn goes_on(mut device: Device, subscriber: &mut Subscriber) {
    device.finish();
    let (readings, topic) = (device.readings(), "ESP32/TEM");
    let last = readings.last().unwrap().0.clone();
    while !subscriber.on(topic).contains(&last) {
        let so_far = subscriber.on(topic).len();
        subscriber.hear(topic, so_far + 1);
    }
    let came = subscriber.on(topic);
    let expected: Vec<_> = readings.iter().map(|(celsius, _)| celsius.clone()).collect();
    assert_eq!(came, &expected[expected.len() - came.len()..], "none is missing from the first on");
    // The first broker has acknowledged eight measurements at least, which is four readings, and no more than were taken.
    assert!((2..=expected.len() - 4).contains(&came.len()), "{}", came.len());
}
