//! What all clients of a run share: where the nodes are, what is wrong with them, and the record of every operation with its
//! outcome. It judges nothing.

use std::collections::HashSet;
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use e2e_tests::client::Read;
use e2e_tests::history::Message;
use e2e_tests::nodes::Number;
use e2e_tests::parse::ConnAck;
use e2e_tests::random::Random;
use e2e_tests::wire::{Props, kind, prop};
use e2e_tests::{Connect, RawClient, Version, pause};

use crate::excuses::Stay;

/// How long an answer may take before a client goes elsewhere. A node without a lease closes its connections earlier.
pub(crate) const ANSWER: Duration = Duration::from_secs(10);
/// Before a client that was not let in tries again.
const AGAIN: Duration = Duration::from_millis(50);

/// What a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Connect,
    Subscribe,
    Unsubscribe,
    Publish1,
    Publish2,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Ok,
    /// It did not happen: nobody listened, or it was refused by name.
    Refused,
    /// No answer.
    Unknown,
}

/// One attempt of an operation at a node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Op {
    pub(crate) kind: Kind,
    pub(crate) node: Number,
    pub(crate) began: Instant,
    pub(crate) ended: Instant,
    pub(crate) outcome: Outcome,
}

/// A time in which a node could have no quorum.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Alone {
    pub(crate) node: Number,
    pub(crate) from: Instant,
    pub(crate) to: Instant,
}

/// A run, as its clients see it.
pub(crate) struct World {
    addresses: Vec<SocketAddr>,
    over: AtomicBool,
    ops: Mutex<Vec<Op>>,
    /// Publishes that were acknowledged.
    pub(crate) acknowledged: AtomicU64,
    /// How often something befell the cluster, or was over.
    troubles: AtomicU64,
    /// What came to any member of each shared group.
    pub(crate) groups: [Mutex<HashSet<Message>>; 2],
    /// Connections of transient members of groups.
    stays: Mutex<Vec<Stay>>,
    /// What is wrong that no history shows.
    faults: Mutex<Vec<String>>,
}

impl World {
    /// Nodes whose clients connect to these addresses.
    pub(crate) fn new(addresses: Vec<SocketAddr>) -> Self {
        Self {
            addresses,
            over: AtomicBool::new(false),
            ops: Mutex::default(),
            acknowledged: AtomicU64::new(0),
            troubles: AtomicU64::new(0),
            groups: Default::default(),
            stays: Mutex::default(),
            faults: Mutex::default(),
        }
    }

    /// Nothing new is begun from now on.
    pub(crate) fn end(&self) {
        self.over.store(true, Ordering::Release);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// Something befalls the cluster, or is over and everybody is served again.
    pub(crate) fn trouble(&self) {
        self.troubles.fetch_add(1, Ordering::AcqRel);
    }

    /// Whether all is well, and how often that came to be.
    pub(crate) fn is_well(&self) -> Option<u64> {
        let troubles = self.troubles.load(Ordering::Acquire);
        troubles.is_multiple_of(2).then_some(troubles)
    }

    pub(crate) fn record(&self, kind: Kind, node: Number, began: Instant, outcome: Outcome) {
        let op = Op { kind, node, began, ended: Instant::now(), outcome };
        self.ops.lock().unwrap().push(op);
    }

    pub(crate) fn ops(&self) -> Vec<Op> {
        self.ops.lock().unwrap().clone()
    }

    /// A transient member of a group is on a node; which stay that is.
    pub(crate) fn arrives(&self, node: Number, from: Instant) -> usize {
        let mut stays = self.stays.lock().unwrap();
        stays.push(Stay { node, from, to: None });
        stays.len() - 1
    }

    /// Its connection has ended.
    pub(crate) fn leaves(&self, stay: usize) {
        self.stays.lock().unwrap()[stay].to = Some(Instant::now());
    }

    pub(crate) fn stays(&self) -> Vec<Stay> {
        self.stays.lock().unwrap().clone()
    }

    /// Something is wrong.
    pub(crate) fn fault(&self, what: String) {
        println!("WRONG: {what}");
        self.faults.lock().unwrap().push(what);
    }

    pub(crate) fn faults(&self) -> Vec<String> {
        self.faults.lock().unwrap().clone()
    }

    /// One attempt to connect to a node.
    pub(crate) fn try_connect(&self, node: Number, connect: &Connect) -> Option<(RawClient, ConnAck)> {
        let began = Instant::now();
        let Ok(stream) = TcpStream::connect_timeout(&self.addresses[node - 1], ANSWER) else {
            // Nobody was asked anything.
            return None;
        };
        stream.set_nodelay(true).unwrap();
        stream.set_write_timeout(Some(ANSWER)).unwrap();
        let mut client = RawClient::over(Box::new(stream));
        client.speak(connect.version);
        client.send(&connect.bytes());
        let connack = match client.read(ANSWER) {
            Read::Packet(packet) if packet.kind() == kind::CONNACK => packet.connack(connect.version),
            _ => {
                self.record(Kind::Connect, node, began, Outcome::Unknown);
                return None;
            }
        };
        let outcome = if connack.reason == 0 { Outcome::Ok } else { Outcome::Refused };
        self.record(Kind::Connect, node, began, outcome);
        (outcome == Outcome::Ok).then_some((client, connack))
    }

    /// Connects to whichever node lets the client in, the given one first.
    pub(crate) fn connect(
        &self,
        first: Number,
        connect: &Connect,
        random: &mut Random,
    ) -> (RawClient, ConnAck, Number) {
        let mut node = first;
        let since = Instant::now();
        loop {
            if let Some((client, connack)) = self.try_connect(node, connect) {
                return (client, connack, node);
            }
            assert!(since.elapsed() < e2e_tests::nodes::PATIENCE * 2, "nobody lets a client in");
            pause(AGAIN);
            node = self.any(random);
        }
    }

    /// Some node.
    pub(crate) fn any(&self, random: &mut Random) -> Number {
        1 + random.below(self.addresses.len() as u64) as Number
    }
}

/// A CONNECT of a session that outlives its connection, or of one that does not.
pub(crate) fn session(version: Version, client: &str, persistent: bool) -> Connect {
    let connect = Connect::new(version, client).clean(!persistent).keep_alive(600);
    if persistent { connect.props(Props::new().four(prop::SESSION_EXPIRY, 3_600)) } else { connect }
}
