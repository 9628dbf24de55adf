//! G18: a right that is taken away counts for what is connected, at each stage, whatever is on its way.

use e2e_tests::client::Read;
use e2e_tests::wire::{kind, prop};
use e2e_tests::{Connect, Props, Publish, QUIET, RawClient, Version, Will};

use crate::fixture::{Fixture, NOT_AUTHORIZED, USERS, log_in, wait_for};

const BEFORE: &str = "allow all x/#\nallow all y/#\n";
/// Of `bob` alone something is taken away.
const AFTER: &str = "deny all x/# user=bob\nallow all x/#\nallow all y/#\n";

struct Revoking {
    fixture: Fixture,
    ann: RawClient,
}

impl Revoking {
    fn new() -> Self {
        let fixture = Fixture::new(USERS, Some(BEFORE));
        let ann = fixture.client(Version::V5, "ann", "ann");
        Self { fixture, ann }
    }

    /// Takes the right away, and waits until the broker has read of it, as a client of bob sees.
    fn revoke(&self) {
        self.fixture.replace("rules", AFTER);
        let mut probe = self.fixture.client(Version::V5, "probe", "bob");
        wait_for("the right is gone", || {
            probe.subscribe_with(&[("x/probe", 1)], &Props::new()).codes == [NOT_AUTHORIZED]
        });
    }

    /// What a client gets next is what may come, published behind what may not.
    #[track_caller]
    fn gets_the_rest(&mut self, client: &mut RawClient) {
        self.ann.publish("y/last", "last", 1);
        let got = client.receive();
        assert_eq!((got.text().as_str(), got.topic.as_str()), ("last", "y/last"));
    }
}

fn persistent(user: &str, id: &str, clean: bool) -> Connect {
    let expiry = Props::new().four(prop::SESSION_EXPIRY, 3600);
    log_in(Version::V5, id, user).clean(clean).props(expiry)
}

#[test]
fn publish() {
    let this = Revoking::new();
    let mut bob = this.fixture.client(Version::V5, "bob", "bob");
    bob.publish("x/a", "x", 2);
    this.revoke();
    // It was connected all the time, and is no later than the probe by much.
    wait_for("the right is gone here too", || {
        bob.send(&Publish::v5("x/a", "x").qos(1, 7).bytes());
        bob.expect_ack(kind::PUBACK).code() == NOT_AUTHORIZED
    });
    bob.publish("y/a", "x", 1);
}

#[test]
fn subscribe_and_live_forwarding() {
    for (version, refused) in [(Version::V5, NOT_AUTHORIZED), (Version::V3_1_1, 0x80)] {
        let mut this = Revoking::new();
        let mut bob = this.fixture.client(version, "bob", "bob");
        bob.subscribe_with(&[("x/#", 1), ("y/#", 1), ("x/0", 0)], &Props::new());
        this.ann.publish("x/a", "x", 1);
        assert_eq!(bob.receive().text(), "x");
        this.revoke();
        // It looks again before it reads anything more.
        bob.ping();
        assert!(this.fixture.metric("quelea_subscriptions_revoked_total") >= 2.0);
        for qos in 0..3 {
            this.ann.publish("x/a", "denied", qos);
        }
        this.gets_the_rest(&mut bob);
        assert_eq!(bob.subscribe_with(&[("x/#", 1), ("x/a", 0)], &Props::new()).codes, [refused; 2]);
        bob.expect_nothing();
    }
}

/// Also what is retained, and comes only with a subscription.
#[test]
fn retained_delivery() {
    let mut this = Revoking::new();
    this.ann.publish_packet(Publish::v5("x/r", "denied").retain(), 1);
    let mut bob = this.fixture.client(Version::V5, "bob", "bob");
    this.revoke();
    wait_for("a subscription is refused", || {
        let codes = bob.subscribe_with(&[("x/r", 1)], &Props::new()).codes;
        while let Read::Packet(_) = bob.read(QUIET) {}
        codes == [NOT_AUTHORIZED]
    });
    bob.subscribe("y/#", 1);
    this.gets_the_rest(&mut bob);
}

/// Queued for a persistent session: what came while its client was away, and could be sent then.
#[test]
fn queued_delivery_and_session_resume() {
    let mut this = Revoking::new();
    let addr = this.fixture.addr();
    let mut bob = RawClient::connect(&addr, &persistent("bob", "bob", true));
    bob.subscribe_with(&[("x/#", 2), ("y/#", 2)], &Props::new());
    // One that is in flight, and never acknowledged.
    this.ann.publish("x/flight", "denied later", 1);
    assert_eq!(bob.expect_publish().text(), "denied later");
    bob.drop_connection();
    for n in 0..20 {
        this.ann.publish("x/queued", format!("denied {n}"), n % 2 + 1);
    }
    this.revoke();
    this.ann.publish("x/queued", "denied after", 1);
    this.ann.publish("y/queued", "allowed", 1);
    let (mut bob, connack) = RawClient::connect_ack(&addr, &persistent("bob", "bob", false));
    assert!(connack.session_present);
    assert_eq!(bob.receive().text(), "allowed");
    this.ann.publish("x/live", "denied live", 0);
    this.ann.publish("x/live", "denied live", 2);
    this.gets_the_rest(&mut bob);
    assert!(this.fixture.metric(r#"quelea_messages_dropped_total{session="any",reason="denied"}"#) >= 23.0);
    // What was not sent is done with: none of it comes when the right is given back.
    this.fixture.replace("rules", BEFORE);
    wait_for("the right is back", || {
        bob.send(&Publish::v5("x/probe", "back").qos(1, 77).bytes());
        let back = bob.expect_among(kind::PUBACK).ack(Version::V5).code() != NOT_AUTHORIZED;
        while let Read::Packet(packet) = bob.read(QUIET) {
            let publish = packet.publish(Version::V5);
            assert_eq!(publish.text(), "back");
            bob.answer(&publish);
        }
        back
    });
}

/// What waits for the window of a client is not sent either.
#[test]
fn messages_that_wait_for_their_client() {
    let mut this = Revoking::new();
    for (id, connect) in [("t", log_in(Version::V5, "t", "bob")), ("p", persistent("bob", "p", true))] {
        let mut connect = connect;
        connect.props = connect.props.two(prop::RECEIVE_MAXIMUM, 1);
        let mut bob = RawClient::connect(&this.fixture.addr(), &connect);
        bob.subscribe_with(&[("x/#", 1), ("y/#", 1)], &Props::new());
        for n in 0..5 {
            this.ann.publish("x/waits", format!("{id} {n}"), 1);
        }
        let first = bob.expect_publish();
        this.revoke();
        bob.answer(&first);
        this.gets_the_rest(&mut bob);
        this.fixture.replace("rules", BEFORE);
        wait_for("the right is back", || {
            bob.send(&Publish::v5("x", "x").qos(1, 78).bytes());
            let code = bob.expect_among(kind::PUBACK).ack(Version::V5).code();
            while let Read::Packet(packet) = bob.read(QUIET) {
                bob.answer(&packet.publish(Version::V5));
            }
            code != NOT_AUTHORIZED
        });
    }
}

/// A will that was allowed with its CONNECT and is not when the connection ends.
#[test]
fn will() {
    let mut this = Revoking::new();
    this.ann.subscribe("x/#", 1);
    this.ann.subscribe("y/#", 1);
    let with_will = |id: &str, topic: &str| {
        let connect = log_in(Version::V5, id, "bob").will(Will::new(topic, id).qos(1));
        RawClient::connect(&this.fixture.addr(), &connect)
    };
    let (denied, allowed) = (with_will("denied", "x/will"), with_will("allowed", "y/will"));
    this.revoke();
    denied.drop_connection();
    allowed.drop_connection();
    loop {
        let got = this.ann.receive().text();
        assert_ne!(got, "denied");
        if got == "allowed" {
            break;
        }
    }
    this.ann.publish("y/last", "last", 1);
    assert_eq!(this.ann.receive().text(), "last");
}

/// Whoever may not be in a shared group any more leaves it, and others get what it had.
#[test]
fn shared_subscription() {
    let mut this = Revoking::new();
    let mut bob = this.fixture.client(Version::V5, "bob", "bob");
    bob.subscribe("$share/g/x/#", 1);
    this.ann.publish("x/a", "in flight", 1);
    assert_eq!(bob.expect_publish().text(), "in flight");
    let mut other = this.fixture.client(Version::V5, "other", "ann");
    other.subscribe("$share/g/x/#", 1);
    this.revoke();
    assert_eq!(bob.expect(kind::DISCONNECT).reasoned().reason, NOT_AUTHORIZED);
    assert!(bob.expect_closed().is_empty());
    assert_eq!(other.receive().text(), "in flight");
    for n in 0..4 {
        this.ann.publish("x/a", format!("{n}"), 1);
        assert_eq!(other.receive().text(), format!("{n}"));
    }
}
