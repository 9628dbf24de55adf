//! The guard of every hostile test: a broker of its own and neighbours whose talk goes on as if nothing happened.
//! Used by every test of this suite; what it checks at the end it checks by itself, when it is dropped.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use e2e_tests::client::Read;
use e2e_tests::wire::kind;
use e2e_tests::{BOUND, Broker, Connect, RawClient, Version, unique};

/// What the broker counts when nobody but the three clients of the guard is there, and nothing is queued.
const GAUGES: [(&str, &str); 4] = [
    ("$SYS/broker/clients/connected", "3"),
    ("$SYS/broker/clients/total", "3"),
    ("$SYS/broker/subscriptions/count", "5"),
    ("$SYS/broker/queues/messages", "0"),
];

/// More than the interval of `$SYS`: what was counted when this began has been told when it is over.
const SYS_ROUND: Duration = Duration::from_millis(1_200);

/// A broker, its neighbours, and what was open and stored before the test began.
///
/// Declare it first: what a test opens afterwards is dropped before it. When it is dropped the neighbours still talk,
/// sockets and gauges are back to what they were, and the process is alive and did not panic.
pub(crate) struct Guard {
    broker: Broker,
    addr: String,
    neighbours: Neighbours,
    sockets: usize,
}

/// Two clients that talk to each other, and one that watches what the broker counts.
struct Neighbours {
    speaker: RawClient,
    listener: RawClient,
    watch: RawClient,
    topic: String,
}

impl Neighbours {
    fn meet(addr: &str) -> Self {
        let client = |version| RawClient::connect(addr, &Connect::new(version, unique("n")).keep_alive(0));
        let (speaker, mut listener) = (client(Version::V5), client(Version::V3_1_1));
        let topic = unique("neighbours");
        listener.subscribe(&topic, 2);
        let mut watch = client(Version::V3_1_1);
        GAUGES.iter().for_each(|(gauge, _)| drop(watch.subscribe(gauge, 0)));
        Self { speaker, listener, watch, topic }
    }

    #[track_caller]
    fn talk(&mut self) {
        for qos in 0..3 {
            self.speaker.publish(&self.topic, [qos], qos);
            let heard = self.listener.receive();
            assert_eq!((heard.payload, heard.qos), (vec![qos], qos), "the neighbours' traffic");
        }
    }
}

impl Guard {
    /// With the default configuration.
    pub(crate) fn new() -> Self {
        Self::with_config("")
    }

    /// With this configuration, as [`Broker::with_config`].
    pub(crate) fn with_config(toml: &str) -> Self {
        let broker = Broker::with_config(&format!("{toml}\n[sys]\ninterval = \"1s\"\n"));
        let addr = broker.mqtt();
        let neighbours = Neighbours::meet(&addr);
        let sockets = if broker.is_external() { 0 } else { broker.open_sockets() };
        let mut guard = Self { broker, addr, neighbours, sockets };
        guard.neighbours_talk();
        guard
    }

    /// The plain listener's address.
    pub(crate) fn addr(&self) -> &str {
        &self.addr
    }

    /// The broker, for its numbers and other listeners.
    pub(crate) fn broker(&self) -> &Broker {
        &self.broker
    }

    /// Whether the broker is somebody else's, whose numbers and configuration are not ours.
    pub(crate) fn is_external(&self) -> bool {
        self.broker.is_external()
    }

    /// A clean client of this version.
    pub(crate) fn client(&self, version: Version) -> RawClient {
        RawClient::connect(&self.addr, &Connect::new(version, unique("c")))
    }

    /// A clean 5.0 client.
    pub(crate) fn v5(&self) -> RawClient {
        self.client(Version::V5)
    }

    /// A clean 3.1.1 client.
    pub(crate) fn v3(&self) -> RawClient {
        self.client(Version::V3_1_1)
    }

    /// A connection that is read as 3.1.1 and on which nothing was sent yet.
    pub(crate) fn open_v3(&self) -> RawClient {
        let mut client = RawClient::open(&self.addr);
        client.speak(Version::V3_1_1);
        client
    }

    /// A clean 5.0 client that sends `bytes` must get DISCONNECT with one of `codes`, then the end.
    #[track_caller]
    pub(crate) fn v5_ends_with(&self, bytes: &[u8], codes: &[u8], what: &str) {
        let mut client = self.v5();
        client.send(bytes);
        let before = client.expect_closed();
        let reason =
            before.last().filter(|last| last.kind() == kind::DISCONNECT).map(|last| last.reasoned().reason);
        let right = reason.is_some_and(|reason| codes.contains(&reason));
        assert!(right, "{what}: DISCONNECT with one of {codes:02x?} was due, got {before:02x?}");
    }

    /// A clean 3.1.1 client that sends `bytes` must be closed; no packet says why.
    #[track_caller]
    pub(crate) fn v3_ends(&self, bytes: &[u8], what: &str) {
        let mut client = self.v3();
        client.send(bytes);
        let before = client.expect_closed();
        let silent = before.iter().all(|packet| packet.kind() != kind::DISCONNECT);
        assert!(silent, "{what}: 3.1.1 has no DISCONNECT from the server, got {before:02x?}");
    }

    /// These first bytes of a connection must be answered by CONNACK with one of `codes` and the end, or just by the
    /// end.
    #[track_caller]
    pub(crate) fn no_entry(&self, version: Version, bytes: &[u8], codes: &[u8], what: &str) {
        let mut client = RawClient::open(&self.addr);
        client.speak(version);
        client.send(bytes);
        let before = client.expect_closed();
        match before.as_slice() {
            [] => {}
            [connack] => {
                let code = connack.body.get(1).copied().unwrap_or_default();
                let right = connack.kind() == kind::CONNACK && codes.contains(&code);
                assert!(
                    right,
                    "{what}: CONNACK with one of {codes:02x?} or nothing was due, got {connack:02x?}"
                );
            }
            more => panic!("{what}: more than a CONNACK before the end: {more:02x?}"),
        }
    }

    /// Shows that the neighbours' traffic goes on: a message at each QoS from one to the other.
    #[track_caller]
    pub(crate) fn neighbours_talk(&mut self) {
        self.neighbours.talk();
    }

    /// New neighbours in place of those that the broker rightly closed.
    pub(crate) fn neighbours_return(&mut self) {
        self.neighbours = Neighbours::meet(&self.addr);
    }

    /// Kills the broker and starts it again on what it has on disk, and new neighbours with it. What was open before is
    /// gone.
    pub(crate) fn kill_and_restart(&mut self) {
        self.broker.kill();
        self.broker.restart(&[]);
        self.addr = self.broker.mqtt();
        self.neighbours_return();
        self.sockets = self.broker.open_sockets();
    }

    /// Waits until no more sockets are open than before the test.
    #[track_caller]
    pub(crate) fn sockets_are_back(&self) {
        if !self.is_external() {
            self.broker.expect_sockets_at_most(self.sockets);
        }
    }

    /// Shows that no retained message is left.
    fn nothing_is_retained(&self) {
        let mut late = self.v3();
        late.subscribe("#", 0);
        late.expect_nothing();
    }

    /// Waits until every gauge is what it is without the test's clients.
    fn gauges_are_back(&mut self) {
        let expected = GAUGES.map(|(gauge, value)| (gauge.to_owned(), value.to_owned())).into();
        let mut said: BTreeMap<String, String> = BTreeMap::new();
        let started = Instant::now();
        while started.elapsed() < SYS_ROUND || said != expected {
            assert!(started.elapsed() < BOUND, "the broker counts {said:?}, it should be {expected:?}");
            if let Read::Packet(packet) = self.neighbours.watch.read(Duration::from_millis(50)) {
                let publish = packet.publish(Version::V3_1_1);
                said.insert(publish.topic.clone(), publish.text());
            }
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        self.neighbours_talk();
        if !self.is_external() {
            self.nothing_is_retained();
            self.sockets_are_back();
            self.gauges_are_back();
        }
        self.broker.assert_well();
    }
}
