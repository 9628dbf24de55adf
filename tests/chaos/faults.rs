//! The faults of a run, in an order and with victims that follow from its seed. Each is over, and clients are served again,
//! before the next begins.

use std::time::{Duration, Instant};

use e2e_tests::nodes::Number;
use e2e_tests::pause;
use e2e_tests::random::Random;

use crate::crowd;
use crate::handshakes;
use crate::proxy::Fate;
use crate::run::Cluster;
use crate::world::Alone;

/// How long a fault lasts that is to outlast every lease and election.
const LONG: Duration = Duration::from_secs(4);
/// Longer than a lease, and shorter than it takes until a node is taken for dead.
const BLINK: Duration = Duration::from_millis(1_300);

/// A kind of fault, and what does it.
pub(crate) type Fault = (&'static str, fn(&mut Cluster, &mut Random));

/// F1 to F14, F30 and F31, as far as they concern processes and what lies between them.
pub(crate) const ALL: [Fault; 15] = [
    ("F1 F2 kill -9 of a node", kill_one),
    ("F1 F2 kill -9 of another node", kill_one),
    ("F4 kill -9 of two", kill_two),
    ("F5 G2 kill -9 of all at once", kill_all),
    ("F7 a node stands still for longer than its lease", blink),
    ("F7 F8 a node stands still until it is taken for dead", stop),
    ("F9 a node is cut off", cut_off),
    ("F10 a node is not heard", not_heard),
    ("F10 a node does not hear", does_not_hear),
    ("F11 F14 two nodes do not reach each other", bridge),
    ("F13 slow ways, on which some is sent again", slow),
    ("a node that lives refuses connections", refuse),
    ("F30 a thousand clients come back at once", crowd::comes_back),
    ("QoS 2 clients lose their node at each step", handshakes::each_step),
    ("F31 a client id flaps between nodes", crowd::flaps),
];

/// Those that packets suffer.
pub(crate) const OF_PACKETS: [Fault; 4] = [
    ("F9 a node is cut off", cut_off),
    ("F10 a node is not heard", not_heard),
    ("F10 a node does not hear", does_not_hear),
    ("F11 two nodes do not reach each other", bridge),
];

/// These faults, in some order.
pub(crate) fn befall(cluster: &mut Cluster, random: &mut Random, faults: &[Fault]) {
    let mut order: Vec<usize> = (0..faults.len()).collect();
    for at in (1..order.len()).rev() {
        order.swap(at, random.below(at as u64 + 1) as usize);
    }
    for at in order {
        let (name, fault) = faults[at];
        cluster.begins(name.to_owned());
        fault(cluster, random);
        cluster.ends();
    }
}

fn some_node(random: &mut Random) -> Number {
    1 + random.below(3) as Number
}

/// The nodes, a random one first.
fn shuffled(random: &mut Random) -> [Number; 3] {
    let first = some_node(random);
    let others = [first % 3 + 1, (first + 1) % 3 + 1];
    if random.below(2) == 0 { [first, others[0], others[1]] } else { [first, others[1], others[0]] }
}

fn kill_one(cluster: &mut Cluster, random: &mut Random) {
    let node = some_node(random);
    cluster.kill(node);
    cluster.until_progress();
    cluster.start(&[node]);
}

fn kill_two(cluster: &mut Cluster, random: &mut Random) {
    let [left, one, other] = shuffled(random);
    cluster.kill(one);
    cluster.kill(other);
    let from = Instant::now();
    pause(LONG);
    cluster.alone.push(Alone { node: left, from, to: Instant::now() });
    cluster.start(&[one, other]);
}

fn kill_all(cluster: &mut Cluster, random: &mut Random) {
    cluster.kill_all();
    cluster.start(&shuffled(random));
}

fn stop_for(cluster: &mut Cluster, node: Number, time: Duration) {
    cluster.nodes.signal(node, "STOP");
    pause(time);
    cluster.nodes.signal(node, "CONT");
}

fn blink(cluster: &mut Cluster, random: &mut Random) {
    for node in shuffled(random) {
        stop_for(cluster, node, BLINK);
        cluster.until_progress();
    }
}

fn stop(cluster: &mut Cluster, random: &mut Random) {
    stop_for(cluster, some_node(random), LONG);
}

/// Something is done to the ways of a node for a while, in which it has no quorum.
fn apart(cluster: &mut Cluster, node: Number, set: impl FnOnce(&Cluster)) {
    set(cluster);
    let from = Instant::now();
    pause(LONG);
    cluster.alone.push(Alone { node, from, to: Instant::now() });
    cluster.network.heal();
}

fn cut_off(cluster: &mut Cluster, random: &mut Random) {
    let node = some_node(random);
    apart(cluster, node, |cluster| cluster.network.set_around(node, Fate::Held));
}

fn not_heard(cluster: &mut Cluster, random: &mut Random) {
    let [node, one, other] = shuffled(random);
    apart(cluster, node, |cluster| {
        [one, other].into_iter().for_each(|to| cluster.network.set(node, to, Fate::Held));
    });
}

fn does_not_hear(cluster: &mut Cluster, random: &mut Random) {
    let [node, one, other] = shuffled(random);
    apart(cluster, node, |cluster| {
        [one, other].into_iter().for_each(|from| cluster.network.set(from, node, Fate::Held));
    });
}

/// Nobody is without a quorum, and nothing says that connections are broken. One of the two is taken for dead in the end.
fn bridge(cluster: &mut Cluster, random: &mut Random) {
    let [one, other, _] = shuffled(random);
    cluster.network.set(one, other, Fate::Held);
    cluster.network.set(other, one, Fate::Held);
    pause(LONG);
    cluster.until_progress();
    cluster.network.heal();
}

fn slow(cluster: &mut Cluster, random: &mut Random) {
    let time = Duration::from_millis(5 + random.below(20));
    (1..=3).for_each(|node| cluster.network.set_around(node, Fate::Slow(time)));
    cluster.until_progress();
}

fn refuse(cluster: &mut Cluster, random: &mut Random) {
    let node = some_node(random);
    cluster.network.refuse(node);
    pause(LONG / 2);
    cluster.network.heal();
}
