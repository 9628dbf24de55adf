//! What the 5.0 tests say often: a connected client, a refused packet, the messages up to a marker.
//! Used by every file of this suite; the protocol's details stay in the tests.

use e2e_tests::parse::{ConnAck, ReceivedPublish};
use e2e_tests::wire::{Props, prop};
use e2e_tests::{Broker, Connect, RawClient, SharedBroker, unique};

/// Malformed packet, protocol error: the standard often allows either for the same bytes.
pub(crate) const MALFORMED: &[u8] = &[0x81, 0x82];

/// Strings that are no UTF-8: a broken sequence, an overlong form, a surrogate, a value above U+10FFFF, a cut one.
pub(crate) const BAD_UTF8: [&[u8]; 5] =
    [b"a\xC3\x28", b"a\xC0\x80b", b"a\xED\xA0\x80b", b"a\xF5\x80\x80\x80b", b"a\xE2\x82"];

/// The shared broker, and clients of it that disturb no other test.
pub(crate) struct World(pub(crate) SharedBroker);

impl World {
    pub(crate) fn new() -> Self {
        Self(Broker::shared())
    }

    pub(crate) fn addr(&self) -> String {
        self.0.mqtt()
    }

    /// A client with a fresh id, clean start and no expiry.
    pub(crate) fn client(&self) -> RawClient {
        RawClient::v5(&self.addr(), &unique("c"))
    }

    /// The same with these CONNECT properties.
    pub(crate) fn client_with(&self, props: Props) -> RawClient {
        RawClient::connect(&self.addr(), &Connect::v5(unique("c")).props(props))
    }

    /// Such a client that has subscribed.
    pub(crate) fn subscriber(&self, filter: &str, options: u8) -> RawClient {
        let mut client = self.client();
        client.subscribe(filter, options);
        client
    }

    /// Connects, expects success.
    pub(crate) fn connect(&self, connect: &Connect) -> RawClient {
        RawClient::connect(&self.addr(), connect)
    }

    /// Connects, expects success, gives the CONNACK too.
    pub(crate) fn connect_ack(&self, connect: &Connect) -> (RawClient, ConnAck) {
        RawClient::connect_ack(&self.addr(), connect)
    }

    /// Subscribes a persistent session and leaves it, without its client.
    pub(crate) fn absent(&self, client_id: &str, filter: &str, options: u8) {
        let mut client = self.connect(&persistent(client_id));
        client.subscribe(filter, options);
        client.disconnect();
    }

    /// Sends bytes as the first on a connection; it must end, with one of these codes if with any.
    #[track_caller]
    pub(crate) fn refused_first(&self, bytes: &[u8], codes: &[u8]) -> Option<u8> {
        let mut client = RawClient::open(&self.addr());
        client.send(bytes);
        client.expect_refusal(codes)
    }

    /// Sends bytes as a connected client; the connection must end, with one of these codes if with any.
    #[track_caller]
    pub(crate) fn refused(&self, bytes: &[u8], codes: &[u8]) -> Option<u8> {
        let mut client = self.client();
        client.send(bytes);
        client.expect_refusal(codes)
    }
}

/// A topic or the start of one that no other test uses.
pub(crate) fn topic() -> String {
    unique("t/")
}

/// A CONNECT that resumes a session and keeps it for five minutes.
pub(crate) fn persistent(client_id: &str) -> Connect {
    Connect::v5(client_id).clean(false).props(expiry(300))
}

/// Session Expiry Interval.
pub(crate) fn expiry(seconds: u32) -> Props {
    Props::new().four(prop::SESSION_EXPIRY, seconds)
}

/// Receives, and answers, up to the message `end`; gives those before it.
#[track_caller]
pub(crate) fn until_end(client: &mut RawClient) -> Vec<ReceivedPublish> {
    let mut before = Vec::new();
    loop {
        let publish = client.receive();
        if publish.payload == b"end" {
            return before;
        }
        before.push(publish);
    }
}

/// Their payloads.
pub(crate) fn texts(publishes: &[ReceivedPublish]) -> Vec<String> {
    publishes.iter().map(ReceivedPublish::text).collect()
}
