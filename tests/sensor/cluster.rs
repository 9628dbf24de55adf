//! The sensor and the three nodes of a `quelea dev`, all of which it knows: its readings are heard on another node than its own,
//! whatever happens to nodes and link. What the nodes do for that is tested in `tests/cluster`; this is what a device sees.

use std::time::{Duration, Instant};

use e2e_tests::client::Read;
use e2e_tests::dev::alone;
use e2e_tests::stubborn::session;
use e2e_tests::wire::kind;
use e2e_tests::{Dev, PATIENCE, Props, Version, packets, unique};

use crate::device::{Board, Device};
use crate::link::Link;
use crate::readings::Subscriber;

/// How long a look waits for something retained, before it is made again.
const LOOK: Duration = Duration::from_secs(10);
/// All values of a simulated sensor differ for so many readings.
const READINGS_MAX: usize = 131;

/// The ports of all nodes, this one's first.
pub(crate) fn ports(dev: &Dev, first: usize) -> Vec<u16> {
    (0..3).map(|number| dev.port((first - 1 + number) % 3 + 1)).collect()
}

/// Nothing happens.
pub(crate) fn readings_arrive(board: Board) {
    let (dev, name) = (Dev::shared(), unique("attic"));
    let mut subscriber = Subscriber::at(&[dev.mqtt(3)], &format!("{name}/#"));
    let words = format!("client_id={name} prefix={name} interval_ms=200 readings=10");
    let mut device = Device::start(board, &ports(&dev, 1), &words);
    device.finish();
    assert_eq!(device.readings()[0], ("26.70".to_owned(), "48.00".to_owned()));
    assert_eq!(device.readings().len(), 10);
    expect(&mut subscriber, &name, &device);
    // It has left: its will was published.
    let status = format!("{name}/STATUS");
    subscriber.hear(&status, 2);
    assert_eq!(subscriber.on(&status), ["online", "offline"]);
}

/// While it is there, and when it is gone without a word.
pub(crate) fn the_status_is_retained(board: Board) {
    let (dev, name) = (Dev::shared(), unique("attic"));
    let words = format!("client_id={name} prefix={name}");
    let device = Device::start(board, &ports(&dev, 1), &words);
    // What comes behind the status.
    device.wait_for("acknowledged", 1);
    let status = format!("{name}/STATUS");
    until_retained(&dev, &status, "online");
    drop(device);
    until_retained(&dev, &status, "offline");
}

fn until_retained(dev: &Dev, topic: &str, payload: &str) {
    let deadline = Instant::now() + PATIENCE;
    while retained(dev, topic).as_deref() != Some(payload) {
        assert!(Instant::now() < deadline, "{payload} is not retained on {topic}");
    }
}

/// What is retained on a topic, asked at a node that no device begins with; `None` where it sends whoever asks away. What is
/// published meanwhile may come first.
fn retained(dev: &Dev, topic: &str) -> Option<String> {
    let mut client = session(&unique("looker"), &[dev.mqtt(2)]);
    client.send(&packets::subscribe(Version::V5, 1, &[(topic, 0)], &Props::new()));
    loop {
        let Read::Packet(packet) = client.read(LOOK) else { return None };
        if packet.kind() == kind::PUBLISH {
            let publish = packet.publish(Version::V5);
            assert_eq!(publish.topic, topic);
            if publish.retain {
                return Some(publish.text());
            }
        }
    }
}

/// Silence, as when the WiFi is gone.
pub(crate) fn the_link_is_cut(board: Board) {
    let (dev, name) = (Dev::shared(), unique("cellar"));
    let links = [1, 2, 3].map(|node| Link::to(&dev.mqtt(node)));
    let mut subscriber = Subscriber::at(&[dev.mqtt(3)], &format!("{name}/#"));
    let words = format!("client_id={name} prefix={name} interval_ms=250 readings=100");
    let ports = links.each_ref().map(Link::port);
    let mut device = Device::start(board, &ports, &words);
    device.wait_for("acknowledged", 8);
    let has_plug = device.plug(false);
    links.iter().for_each(|link| link.cut(!has_plug));
    device.wait_for("lost", 1);
    device.plug(true);
    links.iter().for_each(|link| link.cut(false));
    device.finish();
    assert_resumed(&device);
    expect(&mut subscriber, &name, &device);
}

/// Twenty devices, each with another node first in its list than the one before.
pub(crate) fn twenty_at_once(board: Board) {
    let (dev, fleet) = (Dev::shared(), unique("fleet"));
    let mut subscriber = Subscriber::at(&[dev.mqtt(2)], &format!("{fleet}/#"));
    let words = |n| format!("client_id={fleet}-{n} prefix={fleet}/{n} interval_ms=200 readings=10");
    let mut devices: Vec<Device> =
        (0..20).map(|n| Device::start(board, &ports(&dev, 1 + n % 3), &words(n))).collect();
    for (n, device) in devices.iter_mut().enumerate() {
        device.finish();
        assert_eq!(device.readings().len(), 10);
        expect(&mut subscriber, &format!("{fleet}/{n}"), device);
    }
}

/// Kill -9 of the node that the device is on.
pub(crate) fn its_node_is_killed(board: Board) {
    let _alone = alone();
    let dev = Dev::start(&[]);
    let mut subscriber = Subscriber::at(&[dev.mqtt(2), dev.mqtt(3)], "ESP32/#");
    let mut device = Device::start(board, &ports(&dev, 1), "client_id=attic interval_ms=250 readings=50");
    device.wait_for("acknowledged", 8);
    dev.kill(1);
    device.finish();
    assert_resumed(&device);
    expect(&mut subscriber, "ESP32", &device);
}

#[test]
fn no_reading_is_lost_when_nodes_are_frozen_and_thawed() {
    crate::run(nodes_are_frozen, Board::Emulated);
}

/// The device's node stands still for longer than the device and the other nodes wait, and goes on. Then all of them do.
fn nodes_are_frozen(board: Board) {
    let _alone = alone();
    let dev = Dev::start(&[]);
    let mut subscriber = Subscriber::at(&[dev.mqtt(2), dev.mqtt(3)], "ESP32/#");
    let mut device = Device::start(board, &ports(&dev, 1), "client_id=attic interval_ms=250 readings=60");
    device.wait_for("acknowledged", 8);
    dev.signal(1, "STOP");
    device.wait_for("connected", 2);
    dev.signal(1, "CONT");
    device.finish();
    assert_resumed(&device);
    expect(&mut subscriber, "ESP32", &device);
    // The thawed one is one of the three again.
    let words = "client_id=cellar prefix=cellar interval_ms=250 readings=60";
    let mut subscriber = Subscriber::at(&[dev.mqtt(1)], "cellar/#");
    let mut device = Device::start(board, &ports(&dev, 2), words);
    device.wait_for("acknowledged", 8);
    (1..=3).for_each(|node| dev.signal(node, "STOP"));
    // What is unacknowledged was waited for, and then an answer to CONNECT.
    device.wait_for("lost cause=silent", 2);
    (1..=3).for_each(|node| dev.signal(node, "CONT"));
    device.finish();
    assert_resumed(&device);
    expect(&mut subscriber, "cellar", &device);
}

/// All its readings come: in order, where it had one connection; between two nodes the order is not promised.
pub(crate) fn expect(subscriber: &mut Subscriber, prefix: &str, device: &Device) {
    let readings = device.readings();
    // That is how repeats are known.
    assert!(readings.len() <= READINGS_MAX);
    match device.lines("dialing").len() {
        1 => subscriber.expect_all(prefix, &readings),
        _ => subscriber.expect_all_in_any_order(prefix, &readings),
    }
}

/// It has connected again, and its session was there.
fn assert_resumed(device: &Device) {
    let connected = device.lines("connected");
    let resumed = connected.len() >= 2 && connected.iter().any(|line| line.contains("resumed=true"));
    assert!(resumed, "{}", device.log());
}
