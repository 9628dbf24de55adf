//! MQTT 5.0 conformance: the tests of the table in `../v5.md`, each named by the statement it shows.
//! Run by `cargo xtask test` against the built broker; speaks raw packets only.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "test code: a panic with a message is how a test fails"
)]

use e2e_tests::{Broker, RawClient, unique};

#[test]
fn smoke() {
    let broker = Broker::shared();
    let (mut a, mut b) =
        (RawClient::v5(&broker.mqtt(), &unique("a")), RawClient::v3(&broker.mqtt(), &unique("b")));
    b.subscribe("t/1", 2);
    for qos in 0..3 {
        a.publish("t/1", "hello", qos);
        assert_eq!(b.receive().text(), "hello");
    }
    a.expect_nothing();
    a.ping();
    a.disconnect();
    let own = Broker::start();
    let mut c = RawClient::open(&own.mqtt());
    c.send(b"GET / HTTP/1.1\r\n\r\n");
    c.expect_refusal(&[0x81, 0x82]);
    println!("{} {} {:?} {}", own.rss_kib(), own.open_sockets(), own.cpu(), own.pid());
    assert!(own.log().contains("ready"));
}
