//! Items of a queue, and the message of each: in memory, or, once its session's client was away, in the store
//! alone. Owned by the queue. What decisions need of a message is always here, wherever it is.

use std::fmt;
use std::sync::Arc;

use mqtt_codec::QoS;

use super::{Item, Outbound, Outgoing, State};
use crate::ids::Millis;
use crate::message::MessageRef;

/// An item's message.
#[derive(Clone, Default)]
pub(crate) enum Body {
    /// Nothing can need it again.
    #[default]
    Gone,
    /// In memory.
    Here(MessageRef),
    /// In a page of the store alone.
    Stored {
        /// What it counts against limits.
        size: usize,
        /// When it expires.
        expires_at: Option<Millis>,
    },
}

impl Body {
    /// A message that the store has; in memory where it has to be.
    pub(crate) fn of(message: MessageRef, in_memory: bool) -> Self {
        let mut body = Self::Here(message);
        if !in_memory {
            body.leave();
        }
        body
    }

    /// Bytes that it counts against limits.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Gone => 0,
            Self::Here(message) => message.size(),
            Self::Stored { size, .. } => *size,
        }
    }

    fn expires_at(&self) -> Option<Millis> {
        match self {
            Self::Gone => None,
            Self::Here(message) => message.expires_at,
            Self::Stored { expires_at, .. } => *expires_at,
        }
    }

    /// Whether its expiry interval has passed at `now`.
    pub(super) fn expired(&self, now: Millis) -> bool {
        self.expires_at().is_some_and(|at| at <= now)
    }

    /// The message, if it is in memory.
    pub(super) fn here(&self) -> Option<&MessageRef> {
        match self {
            Self::Here(message) => Some(message),
            Self::Gone | Self::Stored { .. } => None,
        }
    }

    pub(super) fn is_stored(&self) -> bool {
        matches!(self, Self::Stored { .. })
    }

    /// Leaves the message to the store.
    pub(super) fn leave(&mut self) {
        if let Self::Here(message) = self {
            *self = Self::Stored { size: message.size(), expires_at: message.expires_at };
        }
    }
}

impl Outbound {
    /// A message is not held any more.
    pub(super) fn forget(&mut self, body: &Body) {
        self.bytes -= body.size();
        self.stored.0 -= usize::from(body.is_stored());
    }
}

impl Item {
    /// One that only holds its place.
    pub(super) fn done(serial: u64) -> Self {
        let (state, qos, body) = (State::Done, QoS::AtMostOnce, Body::Gone);
        Self { state, qos, retain: false, body, subscription_ids: None, group: None, serial }
    }

    /// One that waits for PUBCOMP.
    pub(super) fn released(serial: u64) -> Self {
        Self { state: State::Released, qos: QoS::ExactlyOnce, ..Self::done(serial) }
    }

    /// What to send of this item, and the bytes that its queue no longer holds; `None` where the message is in the
    /// store alone.
    pub(super) fn outgoing(&mut self, keep: bool) -> Option<(Outgoing, usize)> {
        let keep = keep || self.group.is_some();
        let message = Arc::clone(self.body.here()?);
        let (subscription_ids, freed) = if keep {
            (self.subscription_ids.clone(), 0)
        } else {
            self.body = Body::Gone;
            (self.subscription_ids.take(), message.size())
        };
        let group = self.group.clone();
        Some((Outgoing { message, qos: self.qos, retain: self.retain, subscription_ids, group }, freed))
    }
}

/// The same wherever the message is, since replicas are compared by it: without what goes away with it.
impl fmt::Debug for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { state, qos, retain, body, group, serial, .. } = self;
        f.debug_tuple("Item").field(&(state, qos, retain, serial)).field(body).field(group).finish()
    }
}

/// The same wherever the message is, since replicas are compared by it.
impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Body").field(&self.size()).field(&self.expires_at()).finish()
    }
}
