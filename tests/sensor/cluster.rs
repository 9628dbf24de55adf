//! The sensor and a cluster of three: it knows all nodes, and its readings are heard on another than its own.
//! What the nodes do for that is tested in `tests/cluster`; this is what a device sees of it.

#[expect(dead_code, reason = "the whole of it is for the tests of the cluster itself")]
#[path = "../cluster/nodes.rs"]
mod nodes;

use crate::device::{Board, Device};
use crate::faults::signal;
use crate::readings::Subscriber;
use nodes::Nodes;

/// The node that the device is on dies, with everything in it that was not on other nodes too.
pub(crate) fn its_node_is_killed(board: Board) {
    let mut nodes = nodes();
    let mut subscriber = Subscriber::new(&nodes.mqtt(2), "ESP32/#");
    let mut device = Device::start(board, &ports(&nodes, 1), "client_id=attic interval_ms=250 readings=80");
    device.wait_for("acknowledged", 8);
    nodes.kill(1);
    device.finish();
    assert_moved(&device);
    subscriber.expect_all_in_any_order("ESP32", &device.readings());
}

#[test]
fn no_reading_is_lost_when_the_devices_node_is_frozen() {
    crate::run(its_node_is_frozen, Board::Emulated);
}

#[test]
fn twenty_devices_on_three_nodes() {
    crate::run(twenty_on_three_nodes, Board::Emulated);
}

/// It stops for longer than the device and the other nodes wait, and goes on when all is over.
fn its_node_is_frozen(board: Board) {
    let nodes = nodes();
    let mut subscriber = Subscriber::new(&nodes.mqtt(2), "ESP32/#");
    let mut device = Device::start(board, &ports(&nodes, 1), "client_id=attic interval_ms=250 readings=120");
    device.wait_for("acknowledged", 8);
    signal(&nodes.up[&1], "STOP");
    device.finish();
    signal(&nodes.up[&1], "CONT");
    assert_moved(&device);
    subscriber.expect_all_in_any_order("ESP32", &device.readings());
}

/// Twenty devices, each with another node first in its list than the one before.
fn twenty_on_three_nodes(board: Board) {
    let nodes = nodes();
    let mut subscriber = Subscriber::new(&nodes.mqtt(2), "fleet/#");
    let words = |n| format!("client_id=device-{n} prefix=fleet/{n} interval_ms=200 readings=10");
    let mut devices: Vec<Device> =
        (0..20).map(|n| Device::start(board, &ports(&nodes, 1 + n % 3), &words(n))).collect();
    for (n, device) in devices.iter_mut().enumerate() {
        device.finish();
        subscriber.expect_all_in_any_order(&format!("fleet/{n}"), &device.readings());
    }
}

/// Three, of which any one may die.
fn nodes() -> Nodes {
    let nodes = Nodes::started();
    nodes.until_replicated();
    nodes
}

/// The ports of all nodes, this one's first.
fn ports(nodes: &Nodes, first: usize) -> Vec<u16> {
    let port = |number| nodes.mqtt(number).rsplit_once(':').unwrap().1.parse().unwrap();
    (0..3).map(|number| port((first - 1 + number) % 3 + 1)).collect()
}

/// It is on another node now, which has its session.
fn assert_moved(device: &Device) {
    let connected = device.lines("connected");
    let has_moved = connected.len() >= 2 && connected.iter().any(|line| line.contains("resumed=true"));
    assert!(has_moved, "{}", device.log());
}
