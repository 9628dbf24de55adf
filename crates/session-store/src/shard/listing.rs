//! What a shard tells of its sessions and their subscriptions, a part at a time, in the order of their clients. Asked by whoever lists them; changes nothing,
//! and no transition looks here.

use std::ops::Bound;

use topic_index::Filter;

use super::Shard;
use crate::ids::{ClientId, ConnectionId, Millis};
use crate::matching::Subscribed;
use crate::outbound::Lost;

/// A session, as it is at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionSummary {
    /// Whose.
    pub client: ClientId,
    /// The connection that its client has.
    pub connection: Option<ConnectionId>,
    /// Seconds that it outlives a connection.
    pub expiry_s: u32,
    /// When it ends, where its client is away and that is so.
    pub ends_at: Option<Millis>,
    /// How many subscriptions it has.
    pub subscriptions: usize,
    /// Messages that wait or are in flight.
    pub queued: usize,
    /// Bytes of these.
    pub queued_bytes: usize,
    /// Exchanges under way.
    pub in_flight: u32,
    /// What its queue has dropped, as far as this replica knows.
    pub lost: Lost,
}

/// What a session is subscribed to.
#[derive(Clone, Debug)]
pub struct SessionSubscriptions {
    /// Whose session it is.
    pub client: ClientId,
    /// The connection that its client has.
    pub connection: Option<ConnectionId>,
    /// Its subscriptions.
    pub subscriptions: Vec<(Filter, Subscribed)>,
}

impl SessionSummary {
    /// Since when its client is away, where that follows from when the session ends.
    #[must_use]
    pub fn absent_since(&self) -> Option<Millis> {
        let ends_at = self.ends_at?;
        Some(Millis(ends_at.0.saturating_sub(u64::from(self.expiry_s) * 1_000)))
    }
}

impl Shard {
    /// The sessions of the clients from a bound on, so many at most. Costs as much as there are of them.
    #[must_use]
    pub fn sessions_from(&self, from: Bound<&str>, most: usize) -> Vec<SessionSummary> {
        let clients = self.with_session.range::<str, _>((from, Bound::Unbounded)).take(most);
        clients.filter_map(|id| self.summary(id)).collect()
    }

    /// The subscriptions of the sessions of clients from a bound on: of so many clients that there are `most` clients and
    /// subscriptions, or more by those of one client.
    #[must_use]
    pub fn subscriptions_from(&self, from: Bound<&str>, most: usize) -> Vec<SessionSubscriptions> {
        let (mut found, mut count) = (Vec::new(), 0);
        for id in self.with_session.range::<str, _>((from, Bound::Unbounded)) {
            let Some(session) = self.session(id.as_str()) else { continue };
            let subscriptions: Vec<_> =
                session.subscriptions().map(|(filter, of)| (filter.clone(), *of)).collect();
            count += 1 + subscriptions.len();
            found.push(SessionSubscriptions {
                client: id.clone(),
                connection: session.connection,
                subscriptions,
            });
            if count >= most {
                break;
            }
        }
        found
    }

    fn summary(&self, id: &ClientId) -> Option<SessionSummary> {
        let session = self.session(id.as_str())?;
        let ends_at = self.clients.get(id)?.expiry_due;
        Some(SessionSummary {
            client: id.clone(),
            connection: session.connection,
            expiry_s: session.expiry_s,
            ends_at,
            subscriptions: session.subscriptions.len(),
            queued: session.outbound.len(),
            queued_bytes: session.outbound.bytes(),
            in_flight: session.outbound.in_flight(),
            lost: session.outbound.lost(),
        })
    }

    pub(super) fn validate_listing(&self) -> Result<(), &'static str> {
        let is_listed = |id: &ClientId| self.session(id.as_str()).is_some();
        match self.with_session.len() == self.sessions.len() && self.with_session.iter().all(is_listed) {
            true => Ok(()),
            false => Err("the clients with sessions are others than those that are listed"),
        }
    }
}
