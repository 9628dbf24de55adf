//! What the node keeps over kill -9: one test each, named by what it shows. The kill comes as soon as the test has the
//! acknowledgement that is the promise.

mod flight;
mod queue;
mod registers;
mod retained;
mod sessions;
mod subscriptions;
mod wills;

use e2e_tests::parse::ConnAck;
use e2e_tests::wire::{Props, Version, prop};
use e2e_tests::{Broker, Connect, RawClient, unique};

/// The versions whose sessions differ in form.
const VERSIONS: [Version; 2] = [Version::V3_1_1, Version::V5];

/// A broker of the test's own that can be killed.
struct World(Broker);

impl World {
    /// `None` with `BROKER_UNDER_TEST`: that broker is not ours to kill.
    fn start() -> Option<Self> {
        std::env::var_os("BROKER_UNDER_TEST").is_none().then(|| Self(Broker::start()))
    }

    /// Kills the broker, and starts it on what it left.
    fn kill_and_restart(&mut self) {
        self.0.kill();
        self.0.restart(&[]);
    }

    fn connect(&self, connect: &Connect) -> RawClient {
        RawClient::connect(&self.0.mqtt(), connect)
    }

    fn connect_ack(&self, connect: &Connect) -> (RawClient, ConnAck) {
        RawClient::connect_ack(&self.0.mqtt(), connect)
    }

    /// Connects to a session that must be there.
    #[track_caller]
    fn resume(&self, connect: &Connect) -> RawClient {
        let (client, connack) = self.connect_ack(connect);
        assert!(connack.session_present, "{connack:?}");
        client
    }

    /// A transient 5.0 client.
    fn client(&self) -> RawClient {
        RawClient::v5(&self.0.mqtt(), &unique("c"))
    }

    /// Connects and subscribes.
    fn subscribed(&self, connect: &Connect, filter: &str, options: u8) -> RawClient {
        let mut client = self.connect(connect);
        client.subscribe(filter, options);
        client
    }

    /// Makes a session with a subscription and leaves it, without its client.
    fn absent(&self, connect: &Connect, filter: &str, options: u8) {
        self.subscribed(connect, filter, options).disconnect();
    }

    /// Publishes to `t`, in this order, by one client.
    fn publish<T: AsRef<[u8]>>(&self, messages: impl IntoIterator<Item = (T, u8)>) {
        let mut publisher = self.client();
        for (payload, qos) in messages {
            publisher.publish("t", payload, qos);
        }
    }
}

/// A session expiry in seconds.
fn expiry(seconds: u32) -> Props {
    Props::new().four(prop::SESSION_EXPIRY, seconds)
}

/// A CONNECT to a session that outlives its connection.
fn persistent(version: Version, client_id: &str) -> Connect {
    Connect::new(version, client_id).clean(false).props(expiry(3600))
}
