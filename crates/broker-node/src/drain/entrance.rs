//! Whether the node takes new clients, and where it sends those that it does not take. Asked at each CONNECT, closed and opened
//! by whoever drains the node.

use std::sync::atomic::{AtomicBool, Ordering};

use mqtt_codec::{ReasonCode, Text};

/// The way in for clients.
#[derive(Debug)]
pub(crate) struct Entrance {
    closed: AtomicBool,
    reference: Option<Text>,
}

impl Entrance {
    /// Open; `reference` is where clients are sent while it is not (Server Reference, MQTT 5.0, 4.11), empty for nowhere.
    pub(crate) fn new(reference: &str) -> Self {
        let reference = Text::new(reference).ok().filter(|_| !reference.is_empty());
        Self { closed: AtomicBool::new(false), reference }
    }

    /// Takes no more clients.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    /// Takes clients.
    pub(crate) fn open(&self) {
        self.closed.store(false, Ordering::Relaxed);
    }

    /// What a client is told that is not taken: nothing where it is.
    pub(crate) fn refusal(&self) -> Option<ReasonCode> {
        match (self.closed.load(Ordering::Relaxed), &self.reference) {
            (false, _) => None,
            (true, Some(_)) => Some(ReasonCode::UseAnotherServer),
            (true, None) => Some(ReasonCode::ServerUnavailable),
        }
    }

    /// Where clients are sent, as the Server Reference says it.
    pub(crate) fn reference(&self) -> Option<&Text> {
        self.reference.as_ref()
    }
}
