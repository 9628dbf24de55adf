//! Clients whose certificate says who they are: no password, the rules of that name, and nobody else's name (B14, B50, B54).

use std::fs;
use std::path::PathBuf;

use e2e_tests::wire::kind;
use e2e_tests::{Broker, Connect, Props, Publish, RawClient, Version, Will, process};

use crate::ca::{Authority, Files, Identity, TlsTransport, Validity};
use crate::fixture::{NOT_AUTHORIZED, wait_for};

const RULES: &str = "\
allow publish   sensors/%u/#
allow subscribe sensors/# cn=dashboard
allow subscribe state/%cn/#
";

/// A broker that takes names from certificates.
struct Fixture {
    broker: Broker,
    authority: Authority,
    rules: PathBuf,
    files: Files,
}

impl Drop for Fixture {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(self.rules.parent().unwrap()));
    }
}

impl Fixture {
    fn new(from: &str) -> Self {
        let authority = Authority::new("clients");
        let server = authority.issue(1, &["localhost"], Validity::Now);
        let revoked = authority.issue(66, &["sensor-7"], Validity::Now);
        let files = Files::write(&server, &authority, &[&revoked]);
        let rules = process::fresh_dir().join("rules");
        fs::write(&rules, RULES).unwrap();
        let file = |name: &str| files.path(name);
        let config = format!(
            "[http]\naddress = \"127.0.0.1:0\"\n[auth]\nclient_ids = \"user\"\n[acl]\nfile = {rules:?}\n\
             [listener.tls]\nprotocol = \"tls\"\naddress = \"127.0.0.1:0\"\n\
             tls = {{ certificate = {:?}, key = {:?}, client_ca = {:?}, crl = {:?}, user_name_from = \"{from}\" }}\n",
            file("server.pem"),
            file("server.key"),
            file("ca.pem"),
            file("crl.pem"),
        );
        Self { broker: Broker::with_config(&config), authority, rules, files }
    }

    fn open(&self, shown: Option<&Identity>) -> RawClient {
        let config = self.authority.client(shown);
        RawClient::over(Box::new(TlsTransport::open(&self.broker.addr("tls"), config)))
    }

    /// What a CONNECT of somebody with a certificate of this name is answered.
    fn connects(&self, names: &[&str], connect: &Connect) -> (u8, RawClient) {
        let shown = self.authority.issue(7, names, Validity::Now);
        let mut client = self.open(Some(&shown));
        (client.handshake(connect).reason, client)
    }

    fn client(&self, name: &str) -> RawClient {
        let (code, client) = self.connects(&[name], &Connect::new(Version::V5, name));
        assert_eq!(code, 0, "{name}");
        client
    }
}

fn publishes(client: &mut RawClient, topic: &str) -> u8 {
    client.send(&Publish::v5(topic, "x").qos(1, 1).bytes());
    client.expect_ack(kind::PUBACK).code()
}

fn subscribes(client: &mut RawClient, filter: &str) -> Vec<u8> {
    client.subscribe_with(&[(filter, 1)], &Props::new()).codes
}

#[test]
fn a_certificate_says_who_its_client_is_and_what_it_may() {
    let fixture = Fixture::new("cn");
    let mut sensor = fixture.client("sensor-7");
    assert_eq!(publishes(&mut sensor, "sensors/sensor-7/t"), 0x10, "nobody is subscribed");
    assert_eq!(publishes(&mut sensor, "sensors/sensor-8/t"), NOT_AUTHORIZED);
    assert_eq!(subscribes(&mut sensor, "sensors/#"), [NOT_AUTHORIZED]);
    assert_eq!(subscribes(&mut sensor, "state/sensor-7/#"), [1]);
    let mut dashboard = fixture.client("dashboard");
    assert_eq!(subscribes(&mut dashboard, "sensors/#"), [1]);
    assert_eq!(publishes(&mut sensor, "sensors/sensor-7/t"), 0);
    assert_eq!(dashboard.receive().text(), "x");
}

/// B54: neither a name in CONNECT nor a client identifier makes somebody else of a client.
#[test]
fn b54_who_has_a_certificate_cannot_say_that_it_is_somebody_else() {
    let fixture = Fixture::new("cn");
    let other = Connect::new(Version::V5, "dashboard");
    assert_eq!(fixture.connects(&["sensor-7"], &other).0, 0x85);
    let named = Connect::new(Version::V5, "sensor-7").user("dashboard").password("whatever");
    let (code, mut client) = fixture.connects(&["sensor-7"], &named);
    assert_eq!(code, 0);
    assert_eq!(publishes(&mut client, "sensors/dashboard/t"), NOT_AUTHORIZED);
    assert_eq!(publishes(&mut client, "sensors/sensor-7/t"), 0x10);
}

/// B14: a certificate may have any name in it.
#[test]
fn names_of_certificates_that_look_like_patterns_open_nothing() {
    let fixture = Fixture::new("cn");
    for name in ["+", "#", "a/b", "state/#"] {
        let (code, mut client) = fixture.connects(&[name], &Connect::new(Version::V5, name));
        assert_eq!(code, 0, "{name}");
        for filter in ["state/#", "state/+/#", "state/x/#", "state/a/b", "sensors/#"] {
            assert_eq!(subscribes(&mut client, filter), [NOT_AUTHORIZED], "{name}: {filter}");
        }
    }
}

/// B50: without a name there is no user, and without a certificate, or with one that is revoked, no connection.
#[test]
fn b50_certificates_without_a_name_and_revoked_ones_let_nobody_in() {
    let fixture = Fixture::new("cn");
    let (code, _) = fixture.connects(&[], &Connect::new(Version::V5, "sensor-7"));
    assert_eq!(code, NOT_AUTHORIZED);
    let revoked = fixture.authority.issue(66, &["sensor-7"], Validity::Now);
    let past = fixture.authority.issue(7, &["sensor-7"], Validity::Past);
    for shown in [None, Some(&revoked), Some(&past)] {
        let mut tls = TlsTransport::open(&fixture.broker.addr("tls"), fixture.authority.client(shown)).0;
        let connect = Connect::new(Version::V5, "sensor-7").bytes();
        let _refused = std::io::Write::write_all(&mut tls, &connect);
        let mut answer = Vec::new();
        let _alert = std::io::Read::read_to_end(&mut tls, &mut answer);
        assert!(answer.is_empty(), "{answer:?}");
    }
    // A listener without certificates lets in nobody who shows none.
    let mut plain = RawClient::open(&fixture.broker.mqtt());
    assert_eq!(plain.handshake(&Connect::new(Version::V5, "sensor-7")).reason, NOT_AUTHORIZED);
}

/// G18: a certificate that is revoked ends the connection that it has let in, and what that has left behind; no other.
#[test]
fn g18_who_is_connected_is_sent_away_when_its_certificate_is_revoked() {
    let fixture = Fixture::new("cn");
    let stolen = fixture.authority.issue(9, &["sensor-9"], Validity::Now);
    let mut thief = fixture.open(Some(&stolen));
    thief.be_patient();
    let will = Will::new("sensors/sensor-9/will", "gone");
    assert_eq!(thief.handshake(&Connect::new(Version::V5, "sensor-9").will(will)).reason, 0);
    let mut dashboard = fixture.client("dashboard");
    dashboard.subscribe("sensors/#", 1);
    assert_eq!(publishes(&mut thief, "sensors/sensor-9/t"), 0);
    assert_eq!(dashboard.receive().text(), "x");

    // What is no list changes nothing.
    let revoke = |text: &str| fs::write(fixture.files.path("crl.pem"), text).unwrap();
    revoke("no list");
    wait_for("a list that cannot be used", || fixture.broker.log().contains("certificates not reloaded"));
    thief.ping();
    revoke(&fixture.authority.revoke(&[&stolen]));
    assert_eq!(thief.expect_refusal(&[NOT_AUTHORIZED]), Some(NOT_AUTHORIZED));
    wait_for("it is counted", || fixture.broker.metric("quelea_certificates_revoked_total") > 0.5);

    let mut other = fixture.client("sensor-7");
    assert_eq!(publishes(&mut other, "sensors/sensor-7/t"), 0);
    assert_eq!(dashboard.receive().topic, "sensors/sensor-7/t");
    dashboard.expect_nothing();
    assert!(fixture.broker.metric("quelea_certificates_revoked_total") < 1.5);
}

#[test]
fn other_names_of_a_certificate_can_be_the_users_too() {
    let fixture = Fixture::new("san");
    let (code, mut client) =
        fixture.connects(&["Sensor 7!", "device-7"], &Connect::new(Version::V5, "device-7"));
    assert_eq!(code, 0);
    assert_eq!(publishes(&mut client, "sensors/device-7/t"), 0x10);
    let subject = Fixture::new("dn");
    let (code, mut client) = subject.connects(&["sensor-7"], &Connect::new(Version::V5, "CN=sensor-7"));
    assert_eq!(code, 0);
    assert_eq!(publishes(&mut client, "sensors/CN=sensor-7/t"), 0x10);
}
