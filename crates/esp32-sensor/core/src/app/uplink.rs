//! Connects, and connects again: to the broker whose turn it is, and after each failure to the next one, later and later.
//! The other half of `run`. What happens on a connection is `conversation`'s.

use embassy_time::{Duration, Timer, with_timeout};
use minimq::{
    Buffers, ConfigBuilder, ConfigError, ConnectEvent, Error, PeerError, Property, QoS, Session, Will,
};

use super::conversation::{Conversation, Memo};
use super::{Dialer, Memory, Observer, Shared};
use crate::backoff::{Backoff, seed_of};
use crate::brokers::{Broker, Brokers};
use crate::config::Config;
use crate::event::{Cause, Event};
use crate::topics::Topics;

/// How long the way to a broker may take, with its name looked up and TLS.
const DIAL_MAX: Duration = Duration::from_secs(10);
/// How long a broker may take to answer CONNECT.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// What the will says, and a device that ends on purpose.
pub(super) const OFFLINE: &str = "offline";
/// The will's properties: what it says is text.
const TEXT: &[Property<'static>] = &[Property::PayloadFormatIndicator(1)];

pub(super) struct Uplink<'a, D, O> {
    config: &'a Config<'a>,
    brokers: Brokers<'a>,
    dialer: D,
    shared: &'a Shared<'a, O>,
    backoff: Backoff,
    /// In milliseconds, for commands.
    shortest_ms: u32,
}

impl<'a, D: Dialer, O: Observer> Uplink<'a, D, O> {
    pub(super) fn new(
        config: &'a Config<'a>,
        dialer: D,
        shared: &'a Shared<'a, O>,
        shortest_ms: u32,
    ) -> Self {
        let backoff = Backoff::new(seed_of(config.client_id));
        Self { config, brokers: config.brokers.clone(), dialer, shared, backoff, shortest_ms }
    }

    /// Until all that was asked for is acknowledged.
    pub(super) async fn run(mut self, memory: &mut Memory) {
        let topics = Topics::new(self.config.prefix).expect("the configuration bounds the prefix");
        let mut session = session(self.config, &topics, memory).expect("the configuration bounds all names");
        let mut memo = Memo::default();
        loop {
            let broker = self.brokers.current();
            self.shared.tell(Event::Dialing(broker));
            let Err(cause) = self.attempt(&broker, &topics, (&mut session, &mut memo)).await else { return };
            self.shared.tell(Event::Lost(cause));
            self.brokers.rotate();
            let wait = self.backoff.next();
            self.shared.tell(Event::Waiting(wait));
            Timer::after(wait).await;
        }
    }

    /// One connection from its beginning to its end; `Ok` when the device has finished.
    async fn attempt(
        &mut self,
        broker: &Broker<'_>,
        topics: &Topics,
        (session, memo): (&mut Session<'_>, &mut Memo),
    ) -> Result<(), Cause> {
        let dialed = with_timeout(DIAL_MAX, self.dialer.dial(broker)).await;
        let io = dialed.map_err(|_| Cause::Silent)?.map_err(Cause::Dial)?;
        let connected = with_timeout(CONNECT_MAX, session.connect(io)).await;
        let connection = connected.map_err(|_| Cause::Silent)?.map_err(|error| cause_of(&error))?;
        let resumed = connection.connect_event() == ConnectEvent::Reconnected;
        self.shared.tell(Event::Connected { resumed });
        memo.connected(resumed);
        let conversation = Conversation {
            connection,
            topics,
            shared: self.shared,
            memo,
            backoff: &mut self.backoff,
            shortest_ms: self.shortest_ms,
        };
        conversation.run().await
    }
}

/// One MQTT session for the life of the device.
fn session<'m>(
    config: &Config<'m>,
    topics: &Topics,
    memory: &'m mut Memory,
) -> Result<Session<'m>, ConfigError> {
    let will = Will::new(&topics.status, OFFLINE.as_bytes(), TEXT)?.retained().qos(QoS::AtLeastOnce);
    let mut builder = ConfigBuilder::new(Buffers::new(&mut memory.rx, &mut memory.tx))
        .client_id(config.client_id)?
        .keepalive_interval(config.keep_alive_s)
        .session_expiry_interval(config.session_expiry_s)
        .will(will)?;
    if let Some(user) = config.user {
        builder = builder.auth(user, config.password.unwrap_or_default().as_bytes())?;
    }
    Ok(Session::new(builder))
}

/// What an error of the client library means for the connection.
pub(super) fn cause_of<E>(error: &Error<E>) -> Cause {
    match error {
        Error::Peer(PeerError::Rejected(code)) => Cause::Refused(*code),
        Error::Peer(_) | Error::Resource(_) | Error::InvalidRequest => Cause::Protocol,
        _ => Cause::Closed,
    }
}
