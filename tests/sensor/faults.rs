//! The scenarios: readings arrive, whatever happens to the broker and to the link. Each runs on both boards.
//! The broker is one node here, or two that know nothing of each other; `cluster` has three that are one.

use std::process::Command;

use e2e_tests::{Broker, RawClient};

use crate::device::{Board, Device};
use crate::link::Link;
use crate::readings::Subscriber;

/// All values of a simulated sensor differ for so many readings: that is how repeats are known.
const READINGS_MAX: usize = 131;

/// Nothing happens.
pub(crate) fn readings_arrive(board: Board) {
    let broker = Broker::start();
    let link = Link::to(&broker.mqtt());
    let mut subscriber = Subscriber::new(&broker.mqtt(), "ESP32/#");
    let mut device = Device::start(board, &[link.port()], "client_id=attic interval_ms=200 readings=10");
    device.wait_for("acknowledged", 1);
    assert_eq!(retained(&broker, "ESP32/STATUS"), "online");
    device.finish();
    assert_eq!(device.readings()[0], ("26.70".to_owned(), "48.00".to_owned()));
    assert_eq!(device.readings().len(), 10);
    subscriber.expect_all("ESP32", &device.readings());
    // It has left: its will was published.
    subscriber.hear("ESP32/STATUS", 2);
    assert_eq!(retained(&broker, "ESP32/STATUS"), "offline");
}

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
    signal(&broker, "STOP");
    // What is unacknowledged was waited for, and then an answer to CONNECT.
    device.wait_for("lost cause=silent", 2);
    signal(&broker, "CONT");
    device.finish();
    assert!(!device.lines("resumed=true").is_empty(), "{}", device.log());
    // The livelock of a client that takes a full session for a broken connection: hundreds of attempts.
    assert!(device.lines("dialing").len() < 12, "{}", device.log());
    subscriber.expect_all("ESP32", &device.readings());
}

/// Silence, as when the WiFi is gone.
pub(crate) fn the_link_is_cut(board: Board) {
    let broker = Broker::start();
    let link = Link::to(&broker.mqtt());
    let mut subscriber = Subscriber::new(&broker.mqtt(), "ESP32/#");
    let mut device = Device::start(board, &[link.port()], "client_id=attic interval_ms=250 readings=100");
    device.wait_for("acknowledged", 8);
    link.cut(!device.plug(false));
    device.wait_for("lost", 1);
    device.plug(true);
    link.cut(false);
    device.finish();
    assert!(!device.lines("resumed=true").is_empty(), "{}", device.log());
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

/// Each with a name and topics of its own.
pub(crate) fn twenty_at_once(board: Board) {
    let broker = Broker::start();
    let link = Link::to(&broker.mqtt());
    let mut subscriber = Subscriber::new(&broker.mqtt(), "fleet/#");
    let words = |n| format!("client_id=device-{n} prefix=fleet/{n} interval_ms=200 readings=10");
    let mut devices: Vec<Device> = (0..20).map(|n| Device::start(board, &[link.port()], &words(n))).collect();
    for (n, device) in devices.iter_mut().enumerate() {
        device.finish();
        let readings = device.readings();
        assert!(readings.len() == 10 && readings.len() < READINGS_MAX);
        subscriber.expect_all(&format!("fleet/{n}"), &readings);
    }
}

/// What is retained on a topic.
fn retained(broker: &Broker, topic: &str) -> String {
    let mut client = RawClient::v5(&broker.mqtt(), &e2e_tests::unique("looker"));
    client.subscribe(topic, 0);
    let publish = client.expect_publish();
    assert!(publish.retain && publish.topic == topic);
    publish.text()
}

/// Sends a signal by name to a broker's process.
pub(crate) fn signal(broker: &Broker, name: &str) {
    let sent = Command::new("kill").args(["-s", name, &broker.pid().to_string()]).status();
    assert!(sent.is_ok_and(|status| status.success()), "kill -s {name}");
}
