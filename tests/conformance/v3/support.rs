//! Short forms of what nearly every 3.1.1 test does: a client, a watcher, a refusal, "nothing else came".
//! Used by the test files beside it; never by another suite.

use e2e_tests::packets::ack;
use e2e_tests::wire::{kind, packet, string};
use e2e_tests::{Broker, Connect, Publish, RawClient, SharedBroker, unique};

/// The broker all tests here share, and the address of its plain listener.
pub(crate) fn broker() -> (SharedBroker, String) {
    let broker = Broker::shared();
    let addr = broker.mqtt();
    (broker, addr)
}

/// A clean 3.1.1 client with a name of its own.
pub(crate) fn client(addr: &str) -> RawClient {
    RawClient::v3(addr, &unique("c"))
}

/// A clean client that is subscribed to `filter` at QoS 2.
pub(crate) fn watcher(addr: &str, filter: &str) -> RawClient {
    let mut watcher = client(addr);
    watcher.subscribe(filter, 2);
    watcher
}

/// A CONNECT that resumes or creates the session of `id`.
pub(crate) fn persistent(id: &str) -> Connect {
    Connect::v3(id).clean(false)
}

/// Ends the session of `id`, so that nothing is left behind.
pub(crate) fn forget(addr: &str, id: &str) {
    RawClient::v3(addr, id).disconnect();
}

/// Sends these bytes as the first of a connection and expects it closed with no packet at all.
#[track_caller]
pub(crate) fn closed_at_connect(addr: &str, bytes: &[u8], what: &str) {
    let mut client = RawClient::open(addr);
    client.send(bytes);
    let before = client.expect_closed();
    assert!(before.is_empty(), "{what}: closed, but after {before:02x?}");
}

/// Sends these bytes after a successful CONNECT and expects the connection closed, with no DISCONNECT packet.
#[track_caller]
pub(crate) fn closed_after_connect(addr: &str, bytes: &[u8], what: &str) {
    let mut client = client(addr);
    client.send(bytes);
    let before = client.expect_closed();
    assert!(before.is_empty(), "{what}: closed, but after {before:02x?}");
}

/// Sends a CONNECT and expects CONNACK with this return code, session present 0, and then the end.
#[track_caller]
pub(crate) fn refused(addr: &str, bytes: &[u8], code: u8) {
    let mut client = RawClient::open(addr);
    client.send(bytes);
    let connack = client.expect(kind::CONNACK);
    assert_eq!(connack.body, [0, code], "acknowledge flags and return code");
    assert!(client.expect_closed().is_empty(), "nothing follows a refusal");
}

/// A SUBSCRIBE of one filter of any bytes.
pub(crate) fn subscribe_raw(id: u16, filter: &[u8], options: u8) -> Vec<u8> {
    packet(0x82, &[id.to_be_bytes().to_vec(), string(filter), vec![options]].concat())
}

/// An UNSUBSCRIBE of one filter of any bytes.
pub(crate) fn unsubscribe_raw(id: u16, filter: &[u8]) -> Vec<u8> {
    packet(0xA2, &[id.to_be_bytes().to_vec(), string(filter)].concat())
}

/// Publishes a mark to `topic` and expects it to be the next thing `watcher` sees: whatever was published before and
/// should have come has come, and what should not has not.
#[track_caller]
pub(crate) fn nothing_but_the_mark(addr: &str, watcher: &mut RawClient, topic: &str) {
    let mut publisher = client(addr);
    publisher.publish(topic, "mark", 2);
    let next = watcher.receive();
    assert_eq!(
        (next.topic.as_str(), next.text().as_str()),
        (topic, "mark"),
        "only the mark was due: {next:?}"
    );
}

/// Publishes retained at QoS 1.
pub(crate) fn retain(addr: &str, topic: &str, payload: &str) {
    client(addr).publish_packet(Publish::v3(topic, payload).retain(), 1);
}

/// Removes a retained message.
pub(crate) fn unretain(addr: &str, topic: &str) {
    retain(addr, topic, "");
}

/// PUBACK, PUBREC, PUBREL and PUBCOMP by short names.
pub(crate) fn puback(id: u16) -> Vec<u8> {
    ack(kind::PUBACK, id)
}

/// See [`puback`].
pub(crate) fn pubrec(id: u16) -> Vec<u8> {
    ack(kind::PUBREC, id)
}

/// See [`puback`].
pub(crate) fn pubrel(id: u16) -> Vec<u8> {
    ack(kind::PUBREL, id)
}

/// See [`puback`].
pub(crate) fn pubcomp(id: u16) -> Vec<u8> {
    ack(kind::PUBCOMP, id)
}
