//! Who is connected to this node: a card for each client, in the order of their identifiers. Filled when CONNECT is accepted, read
//! by the admin API, a part at a time; a card goes with its connection. It decides nothing about connections.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mqtt_codec::{ReasonCode, Version};
use parking_lot::Mutex;
use session_store::matching::Subscribed;
use session_store::{ClientId, Millis};
use topic_index::Filter;

use crate::access::{Access, Origin, Principal, Rights};
use crate::config::{ListenerSettings, Protocol};
use crate::inbox::Inbox;
use crate::listener::Peer;
use crate::session::Client;

/// What a transient session is subscribed to. Clones are the same.
pub(crate) type Subscriptions = Arc<Mutex<BTreeMap<Filter, Subscribed>>>;

/// What is known of a connected client from its CONNECT on.
#[derive(Debug)]
pub(crate) struct Card {
    /// Its identifier.
    pub(crate) id: ClientId,
    /// The name that it has shown to be its own.
    pub(crate) user: Option<Box<str>>,
    /// All that it has shown of itself; `None` where nobody asks.
    pub(crate) who: Option<Box<Principal>>,
    /// Who is at the other end.
    pub(crate) peer: Peer,
    /// Where it came in.
    pub(crate) listener: Arc<ListenerSettings>,
    /// What lies below MQTT.
    pub(crate) protocol: Protocol,
    /// The version spoken.
    pub(crate) version: Version,
    /// Whether its session outlives the connection, and for how many seconds.
    pub(crate) persistent: bool,
    pub(crate) expiry_s: u32,
    /// Seconds of keep alive in force; 0 is none.
    pub(crate) keep_alive_s: u16,
    /// Its Receive Maximum.
    pub(crate) receive_maximum: u16,
    /// When it was accepted.
    pub(crate) since: Millis,
    /// Its mailbox.
    pub(crate) inbox: Arc<Inbox>,
    /// Its subscriptions, where its session is transient.
    pub(crate) subscriptions: Subscriptions,
    kicked: AtomicBool,
}

/// A card's place in the roll: its client, and the number of the connection.
pub(crate) type Place = (ClientId, u64);

/// The cards of all clients that are connected. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Roll(Arc<Mutex<BTreeMap<Place, Arc<Card>>>>);

impl fmt::Debug for Roll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Roll")
    }
}

impl Roll {
    /// A client is connected, until what comes back is dropped.
    pub(crate) fn enter(&self, card: Card) -> Entry {
        let card = Arc::new(card);
        self.0.lock().insert(card.place(), Arc::clone(&card));
        Entry { roll: self.clone(), card }
    }

    /// The cards behind a place, or from the beginning on, so many at most.
    pub(crate) fn behind(&self, place: Option<&Place>, most: usize) -> Vec<Arc<Card>> {
        let from = place.map_or(Bound::Unbounded, Bound::Excluded);
        let cards = self.0.lock();
        cards.range((from, Bound::Unbounded)).take(most).map(|(_, card)| Arc::clone(card)).collect()
    }

    /// The connections of a client: one, or two while one takes over from the other.
    pub(crate) fn of(&self, client: &ClientId) -> Vec<Arc<Card>> {
        let all = (client.clone(), 0)..=(client.clone(), u64::MAX);
        self.0.lock().range(all).map(|(_, card)| Arc::clone(card)).collect()
    }
}

impl Card {
    /// Of a client that was accepted.
    pub(crate) fn of(client: &Client, from: &Origin, protocol: Protocol) -> Self {
        let user = client.standing.as_ref().and_then(|standing| standing.user());
        Self {
            id: client.id.clone(),
            user: user.map(Into::into),
            who: client.standing.as_ref().map(|standing| Box::new(standing.who().clone())),
            peer: from.peer,
            listener: Arc::clone(&from.listener),
            protocol,
            version: client.terms.version,
            persistent: client.persistent,
            expiry_s: client.terms.expiry_s,
            keep_alive_s: client.terms.keep_alive_s,
            receive_maximum: client.terms.receive_maximum,
            since: client.worker.node.clock.now(),
            inbox: Arc::clone(&client.inbox),
            subscriptions: Arc::clone(&client.subscriptions),
            kicked: AtomicBool::new(false),
        }
    }

    /// What it may do now; `None` is everything.
    pub(crate) fn rights(&self, access: &Access) -> Option<Rights> {
        let who = self.who.as_deref()?;
        if access.knows(who) { access.rights_of(who, self.id.as_str()) } else { Some(Rights::default()) }
    }

    /// Where it is in the roll.
    pub(crate) fn place(&self) -> Place {
        (self.id.clone(), self.inbox.id().number)
    }

    /// Ends the connection, by the word of whoever administers the cluster.
    pub(crate) fn kick(&self) {
        self.kicked.store(true, Ordering::Release);
        self.inbox.end(ReasonCode::AdministrativeAction);
    }

    /// Whether it was ended so.
    pub(crate) fn is_kicked(&self) -> bool {
        self.kicked.load(Ordering::Acquire)
    }
}

/// A client's place in the roll, which it leaves when this is dropped.
#[derive(Debug)]
pub(crate) struct Entry {
    roll: Roll,
    /// What is known of it.
    pub(crate) card: Arc<Card>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.roll.0.lock().remove(&self.card.place());
    }
}

#[cfg(test)]
impl Card {
    /// Of a client of a test.
    pub(crate) fn test(id: &str, number: u64, user: Option<&str>, address: &str) -> Self {
        use crate::inbox::InboxLimits;
        use session_store::limits::QueuePolicy;

        let limits =
            InboxLimits { messages_max: 1, bytes_max: 1, qos0_bytes_max: 1, policy: QueuePolicy::DropNewest };
        let of = session_store::ConnectionId { host: crate::testing::first_run(1), number };
        Self {
            id: ClientId::new(id),
            user: user.map(Into::into),
            who: None,
            peer: address.parse().map_or(Peer::Unix, Peer::Ip),
            listener: Arc::default(),
            protocol: Protocol::Tcp,
            version: Version::V5,
            persistent: false,
            expiry_s: 0,
            keep_alive_s: 60,
            receive_maximum: 10,
            since: Millis(1),
            inbox: Inbox::new(of, limits),
            subscriptions: Arc::default(),
            kicked: AtomicBool::new(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(cards: &[Arc<Card>]) -> Vec<(&str, u64)> {
        cards.iter().map(|card| (card.id.as_str(), card.inbox.id().number)).collect()
    }

    #[test]
    fn clients_are_listed_in_order_and_leave_with_their_connections() {
        let roll = Roll::default();
        let entries: Vec<Entry> = [("b", 1), ("a", 2), ("c", 3), ("b", 4)]
            .map(|(id, number)| roll.enter(Card::test(id, number, None, "")))
            .into();
        let first = roll.behind(None, 2);
        assert_eq!(names(&first), [("a", 2), ("b", 1)]);
        assert_eq!(names(&roll.behind(Some(&first[1].place()), 9)), [("b", 4), ("c", 3)]);
        assert_eq!(names(&roll.of(&ClientId::new("b"))), [("b", 1), ("b", 4)]);
        assert!(roll.of(&ClientId::new("")).is_empty());
        drop(entries.into_iter().next());
        assert!(roll.behind(None, 9).is_empty(), "all of them are dropped");
    }

    #[test]
    fn who_is_kicked_is_told_so() {
        let roll = Roll::default();
        let entry = roll.enter(Card::test("a", 1, None, ""));
        assert!(!entry.card.is_kicked());
        entry.card.kick();
        assert!(entry.card.is_kicked());
    }
}
