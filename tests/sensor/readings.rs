//! Who hears what devices publish: a persistent session, that is there again after the broker was.
//! Used by the scenarios. What comes twice, as QoS 1 allows, is counted once.

use std::collections::BTreeMap;
use std::time::Instant;

use e2e_tests::client::Read;
use e2e_tests::stubborn::session;
use e2e_tests::wire::{kind, prop};
use e2e_tests::{Connect, PATIENCE, Packet, Props, RawClient, Version, unique};

pub(crate) struct Subscriber {
    name: String,
    /// Nodes of a cluster: where it goes when it is sent away. A broker by itself has no reason to send it.
    nodes: Vec<String>,
    client: RawClient,
    /// What came on each topic, without repeats, in order of first arrival.
    came: BTreeMap<String, Vec<String>>,
}

impl Subscriber {
    /// Subscribes to a filter at QoS 1 at the broker of this address.
    pub(crate) fn new(address: &str, filter: &str) -> Self {
        let name = unique("listener");
        let mut client = RawClient::connect(address, &connect(&name));
        client.subscribe(filter, 1);
        Self { name, nodes: Vec::new(), client, came: BTreeMap::new() }
    }

    /// Subscribes to a filter at QoS 1 at the first of these nodes that lets it in.
    pub(crate) fn at(nodes: &[String], filter: &str) -> Self {
        let name = unique("listener");
        let mut client = session(&name, nodes);
        client.subscribe(filter, 1);
        Self { name, nodes: nodes.to_vec(), client, came: BTreeMap::new() }
    }

    /// Goes on at this address; the broker has the session.
    pub(crate) fn again(&mut self, address: &str) {
        let (client, connack) = RawClient::connect_ack(address, &connect(&self.name));
        assert!(connack.session_present, "the broker has forgotten the session");
        self.client = client;
    }

    /// Hears until this topic has so many payloads.
    #[track_caller]
    pub(crate) fn hear(&mut self, topic: &str, count: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.on(topic).len() < count {
            match self.client.read(deadline.saturating_duration_since(Instant::now())) {
                Read::Packet(packet) if packet.kind() == kind::PUBLISH => self.take(&packet),
                // What was on its way comes again, and what came meanwhile is kept: it is a persistent session.
                Read::Closed if !self.nodes.is_empty() => self.client = session(&self.name, &self.nodes),
                Read::Packet(packet) if packet.kind() == kind::DISCONNECT && !self.nodes.is_empty() => {}
                other => panic!("{} of {count} came on {topic}, then {other:02x?}", self.on(topic).len()),
            }
        }
    }

    fn take(&mut self, packet: &Packet) {
        let publish = packet.publish(Version::V5);
        self.client.answer(&publish);
        let came = self.came.entry(publish.topic.clone()).or_default();
        if !came.contains(&publish.text()) {
            came.push(publish.text());
        }
    }

    /// What came on a topic.
    pub(crate) fn on(&self, topic: &str) -> &[String] {
        self.came.get(topic).map_or(&[], Vec::as_slice)
    }

    /// Hears until all readings of a device have come, and fails unless they came in their order.
    #[track_caller]
    pub(crate) fn expect_all(&mut self, prefix: &str, readings: &[(String, String)]) {
        for (topic, expected) in by_topic(prefix, readings) {
            self.hear(&topic, expected.len());
            assert_eq!(self.on(&topic), expected, "{topic}");
        }
    }

    /// The same for a device that was on several nodes: between them the order is not promised.
    #[track_caller]
    pub(crate) fn expect_all_in_any_order(&mut self, prefix: &str, readings: &[(String, String)]) {
        for (topic, mut expected) in by_topic(prefix, readings) {
            self.hear(&topic, expected.len());
            let mut came = self.on(&topic).to_vec();
            came.sort_unstable();
            expected.sort_unstable();
            assert_eq!(came, expected, "{topic}");
        }
    }
}

/// What is to come on each topic of a device.
fn by_topic(prefix: &str, readings: &[(String, String)]) -> [(String, Vec<String>); 2] {
    let (celsius, percent) = readings.iter().cloned().unzip();
    [(format!("{prefix}/TEM"), celsius), (format!("{prefix}/HUM"), percent)]
}

fn connect(name: &str) -> Connect {
    Connect::v5(name).clean(false).props(Props::new().four(prop::SESSION_EXPIRY, 3_600))
}
