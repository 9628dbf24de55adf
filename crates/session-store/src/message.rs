//! An application message as the broker carries it from its publisher to every queue.
//! Made once by whoever accepts it, shared by all that hold it, never changed.

use std::sync::Arc;

use mqtt_codec::{QoS, SharedPublish};

use crate::ids::Millis;

/// A message that the broker has taken over. Its body is encoded once and shared by all subscribers.
#[derive(Debug)]
pub struct Message {
    /// Topic, application properties and payload.
    pub body: SharedPublish,
    /// The QoS it was published with; a subscription can only lower it (`[MQTT-3.8.4-8]`).
    pub qos: QoS,
    /// RETAIN as published (`[MQTT-3.3.1-13]`).
    pub retain: bool,
    /// When it expires, on the log's time; `None` is never (`[MQTT-3.3.2-5]`).
    pub expires_at: Option<Millis>,
}

/// A shared message.
pub type MessageRef = Arc<Message>;

impl Message {
    /// Whether its expiry interval has passed at `now`.
    #[must_use]
    pub fn expired(&self, now: Millis) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }

    /// The expiry interval to send on: what is left of it, in seconds (`[MQTT-3.3.2-6]`).
    #[must_use]
    pub fn remaining_expiry_s(&self, now: Millis) -> Option<u32> {
        self.expires_at.map(|at| at.remaining_s(now))
    }

    /// Bytes that count against a queue's limit.
    #[must_use]
    pub fn size(&self) -> usize {
        self.body.size()
    }
}
