//! A little of everything that clients do, at each of three nodes, until it is told to stop. A thread for each node.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use e2e_tests::wire::Props;
use e2e_tests::{Connect, PATIENCE, Publish, RawClient, Version, Will, pause};

/// How often clients begin, at most.
const ATTEMPTS: usize = 20;
/// Session Expiry Interval.
const SESSION_EXPIRY: u8 = 0x11;

/// Clients that are at work.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    /// Begins, at nodes with these addresses for clients.
    pub(crate) fn start(nodes: &[String; 3]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..nodes.len()).map(|number| {
            let (nodes, stop) = (nodes.clone(), Arc::clone(&stop));
            std::thread::spawn(move || work((number, &nodes), &stop))
        });
        let threads = threads.collect();
        Self { stop, threads }
    }

    /// Fails where clients were sent away again and again.
    pub(crate) fn goes_on(&self) {
        assert!(self.threads.iter().all(|thread| !thread.is_finished()), "clients failed: see above");
    }

    /// Ends it.
    pub(crate) fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().expect("no client failed"));
    }
}

/// Rounds at a node until it is told to stop. A client may be sent away, as when the machine stood still for longer than leases
/// last: then all of this node's begin anew. What clients must get is tested elsewhere.
fn work((number, nodes): (usize, &[String; 3]), stop: &AtomicBool) {
    let rounds = || {
        let mut at = Place::new(number, nodes);
        while !stop.load(Ordering::Relaxed) {
            at.round();
            pause(Duration::from_millis(50));
        }
    };
    let ended = |_| {
        let ended = catch_unwind(AssertUnwindSafe(rounds)).is_ok();
        if !ended {
            pause(Duration::from_secs(2));
        }
        ended
    };
    assert!((0..ATTEMPTS).any(ended), "clients of node {number} were sent away {ATTEMPTS} times");
}

/// What is at work at one node.
struct Place {
    number: usize,
    here: String,
    next: String,
    rounds: usize,
    publisher: RawClient,
    /// With a transient session, at the next node.
    transient: RawClient,
    /// With a session that stays.
    persistent: RawClient,
    /// The client that is taken over, by whichever connection of it is the last.
    moving: RawClient,
}

fn connect(node: &str, id: &str, expiry_s: u32) -> RawClient {
    let hello = Connect::v5(id).clean(false).props(Props::new().four(SESSION_EXPIRY, expiry_s));
    let mut client = RawClient::open(node);
    client.be_patient();
    client.speak(Version::V5);
    client.handshake(&hello);
    client
}

/// Reads until this payload is there.
fn receive(client: &mut RawClient, payload: &str) {
    let deadline = Instant::now() + PATIENCE;
    while client.receive().payload != payload.as_bytes() {
        assert!(Instant::now() < deadline, "{payload} does not come");
    }
}

impl Place {
    fn new(number: usize, nodes: &[String; 3]) -> Self {
        let (here, next) = (nodes[number].clone(), nodes[(number + 1) % nodes.len()].clone());
        let name = |what: &str| format!("{what}-{number}");
        let mut transient = connect(&next, &name("transient"), 0);
        transient.subscribe(&format!("load/{number}"), 2);
        transient.subscribe(&format!("$share/group/shared/{number}"), 1);
        let mut persistent = connect(&here, &name("persistent"), 3_600);
        persistent.subscribe(&format!("load/{number}"), 1);
        let mut away = connect(&here, &name("away"), 3_600);
        away.subscribe(&format!("away/{number}"), 1);
        away.disconnect();
        let publisher = connect(&here, &name("publisher"), 0);
        let moving = connect(&here, &name("moving"), 3_600);
        Self { number, here, next, rounds: 0, publisher, transient, persistent, moving }
    }

    /// Some of everything.
    fn round(&mut self) {
        self.rounds += 1;
        let Self { number, publisher, transient, persistent, .. } = self;
        for (turn, qos) in [0, 1, 1, 1, 1, 2].into_iter().enumerate() {
            let payload = format!("{}.{turn}", self.rounds);
            publisher.publish(&format!("load/{number}"), &payload, qos);
            // At QoS 0 nobody promises that it comes: a node whose lease has lapsed for a moment drops it.
            if qos > 0 {
                receive(transient, &payload);
                receive(persistent, &payload);
            }
        }
        publisher.publish(&format!("shared/{number}"), "payload", 1);
        receive(transient, "payload");
        publisher.publish(&format!("away/{number}"), "payload", 1);
        let retained = Publish::v5(format!("kept/{number}/{}", self.rounds % 8), "payload").retain();
        publisher.publish_packet(retained, 1);
        if self.rounds.is_multiple_of(4) {
            publisher.publish_packet(Publish::v5(format!("kept/{number}/1"), "").retain(), 1);
        }
        persistent.subscribe("now/and/then", 0);
        persistent.unsubscribe(&["now/and/then"]);
        self.come_and_go();
    }

    /// Sessions that end, wills, and a client that is at another node by now.
    fn come_and_go(&mut self) {
        let (number, rounds) = (self.number, self.rounds);
        let passing = connect(&self.here, &format!("passing-{number}-{rounds}"), 1);
        passing.disconnect();
        let hello = Connect::v5(format!("dying-{number}")).will(Will::new("wills", "gone"));
        let mut dying = RawClient::open(&self.here);
        dying.be_patient();
        dying.handshake(&hello);
        dying.drop_connection();
        let node = if rounds.is_multiple_of(2) { &self.here } else { &self.next };
        self.moving = connect(node, &format!("moving-{number}"), 3_600);
    }
}
