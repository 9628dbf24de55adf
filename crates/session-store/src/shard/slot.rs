//! One filter of a shard: its subscribers, and what the route view is told of them, kept up to date so
//! that neither costs more with many subscribers than with one.

use mqtt_codec::QoS;
use topic_index::{Filter, Slot};

use crate::command::{Members, RouteChange};
use crate::ids::SessionKey;
use crate::matching::{Subscribed, SubscriberSet};

/// The subscribers of one filter or shared group.
#[derive(Debug, Default)]
pub(super) struct FilterSlot {
    set: SubscriberSet<SessionKey, Subscribed>,
    /// How many were granted each QoS.
    by_qos: [u32; 3],
    connected: u32,
}

impl FilterSlot {
    /// Adds or replaces a subscriber; `connected` says whether its client is.
    pub(super) fn insert(&mut self, key: SessionKey, subscribed: Subscribed, connected: bool) {
        match self.set.insert(key, subscribed) {
            Some(old) => self.count(old.qos, false),
            None => self.connected += u32::from(connected),
        }
        self.count(subscribed.qos, true);
    }

    /// Removes a subscriber.
    pub(super) fn remove(&mut self, key: SessionKey, connected: bool) {
        if let Some(old) = self.set.remove(key) {
            self.count(old.qos, false);
            self.connected -= u32::from(connected);
        }
    }

    fn count(&mut self, qos: QoS, more: bool) {
        if let Some(count) = self.by_qos.get_mut(qos as usize) {
            *count = if more { *count + 1 } else { *count - 1 };
        }
    }

    /// The client of a member came or went.
    pub(super) fn count_connected(&mut self, came: bool) {
        self.connected = if came { self.connected + 1 } else { self.connected - 1 };
    }

    /// Its subscribers.
    pub(super) fn for_each(&self, visit: impl FnMut(SessionKey, &Subscribed)) {
        self.set.for_each(visit);
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.set.len()
    }

    /// The highest granted QoS; `None` where nobody is.
    pub(super) fn qos(&self) -> Option<QoS> {
        let all = [QoS::ExactlyOnce, QoS::AtLeastOnce, QoS::AtMostOnce];
        all.into_iter().find(|qos| self.by_qos.get(*qos as usize).is_some_and(|count| *count > 0))
    }

    /// How many members of a group are connected.
    pub(super) fn members(&self) -> Members {
        Members { all: u32::try_from(self.len()).unwrap_or(u32::MAX), connected: self.connected }
    }

    /// What the route view is to know of this filter.
    pub(super) fn route(&self, filter: &Filter) -> RouteChange {
        RouteChange { filter: filter.clone(), qos: self.qos(), members: self.members() }
    }
}

impl Slot for FilterSlot {
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
