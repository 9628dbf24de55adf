//! What the admin API tells of clients that have shown who they are, and what becomes of the will of one that is made to go.

use e2e_tests::packets::Will;
use e2e_tests::wire::kind;
use e2e_tests::{RawClient, Version, ctl};
use serde_json::Value;

use crate::fixture::{Fixture, USERS, log_in};

#[test]
fn clients_are_listed_with_what_they_said_of_themselves() {
    let fixture = Fixture::with("[admin]\nlisten = \"127.0.0.1:0\"", USERS, None);
    let admin = fixture.broker().addr("admin");
    let _ann = RawClient::connect(&fixture.addr(), &log_in(Version::V3_1_1, "a", "ann").keep_alive(77));
    let _bob = fixture.client(Version::V5, "b", "bob");
    let told: Value =
        serde_json::from_str(&ctl::says(&admin, &["clients", "--user", "ann", "--json"])).unwrap();
    let clients = told["clients"].as_array().unwrap();
    assert_eq!(clients.len(), 1, "{told:#}");
    for (name, expected) in [
        ("client_id", "a".into()),
        ("user", "ann".into()),
        ("mqtt", "3.1.1".into()),
        ("protocol", "tcp".into()),
        ("persistent", false.into()),
        ("keep_alive_s", 77.into()),
        ("expiry_s", 0.into()),
        ("in_flight", 0.into()),
        ("queued", Value::from(0)),
    ] {
        assert_eq!(clients[0][name], expected, "{name}");
    }
    let address = clients[0]["address"].as_str().unwrap();
    assert!(address.starts_with("127.0.0.1:") && clients[0]["connected_at"].as_str().unwrap().ends_with('Z'));
}

/// `[MQTT-3.1.2-8]`: the connection is not closed by DISCONNECT 0x00, so that the will is published, after its delay and no later.
#[test]
fn the_will_of_a_client_that_is_made_to_go_is_published() {
    let fixture = Fixture::with("[admin]\nlisten = \"127.0.0.1:0\"", USERS, None);
    let admin = fixture.broker().addr("admin");
    let mut listener = fixture.client(Version::V5, "listener", "bob");
    listener.subscribe("will", 1);
    for version in [Version::V5, Version::V3_1_1] {
        let will = Will { qos: 1, ..Will::new("will", "gone") };
        let connect = log_in(version, "c", "ann").will(will);
        let mut client = RawClient::connect(&fixture.addr(), &connect);
        ctl::says(&admin, &["kick", "c"]);
        let last = client.expect_closed().pop();
        assert_eq!(last.map(|packet| packet.kind()), (version == Version::V5).then_some(kind::DISCONNECT));
        assert_eq!(listener.receive().payload, b"gone");
    }
}
