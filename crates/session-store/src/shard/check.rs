//! What must always hold in a shard. Called after each input where debug assertions are on and the state is
//! small, and by tests; changes nothing.

use super::{Client, Shard};
use crate::picks::Taker;
use crate::stream::{Source, Stream};

impl Shard {
    /// [`Self::validate`], where that takes no longer than a step may take in a debug build.
    pub(super) fn validate_if_small(&self) -> Result<(), &'static str> {
        let small = self.clients.len() <= 64
            && self
                .sessions
                .values()
                .all(|session| session.outbound.len() <= 256 && session.subscriptions.len() <= 64);
        if small { self.validate() } else { Ok(()) }
    }

    /// Checks what must always hold. Costs as much as there is state: for tests.
    ///
    /// # Errors
    /// Names the rule that does not hold.
    pub fn validate(&self) -> Result<(), &'static str> {
        for (key, session) in self.sessions.iter() {
            session.outbound.validate()?;
            let client = self.clients.get(&session.client).ok_or("a session without a client")?;
            if client.session != Some(*key) || client.connection != session.connection {
                return Err("a session and its client disagree");
            }
        }
        let held: usize = self.index.iter().map(|(_, slot)| slot.len()).sum::<usize>()
            + self.groups.iter().map(|(_, _, slot)| slot.len()).sum::<usize>();
        let wanted: usize = self.sessions.values().map(|session| session.subscriptions.len()).sum();
        if held != wanted {
            return Err("the index is not the union of the sessions' subscriptions");
        }
        if self.clients.values().any(Client::forgettable) {
            return Err("a client of which nothing is known is kept");
        }
        self.validate_connections()?;
        self.validate_listing()?;
        self.validate_counted()?;
        self.streams.values().try_for_each(Stream::validate)?;
        self.outbox.validate()?;
        let due = self.clients.values().filter(|c| c.will_due.is_some()).count()
            + self.clients.values().filter(|c| c.expiry_due.is_some()).count();
        if due != self.due.len() {
            return Err("the deadlines do not belong to the clients");
        }
        Ok(())
    }

    /// Connections, their hosts, and who of them is alive.
    fn validate_connections(&self) -> Result<(), &'static str> {
        let mut connected = 0;
        for (id, client) in self.clients.iter() {
            let Some(connection) = client.connection else {
                if client.waiting.is_some() {
                    return Err("a connection waits for none");
                }
                continue;
            };
            if client.waiting.is_some() != self.overtaken.contains(id) {
                return Err("it is not known which clients are taken over");
            }
            connected += 1;
            if !self.hosted.contains(&(connection.host, id.clone())) {
                return Err("a connection is not known at its host");
            }
            if self.is_dead(connection.host) && !self.dying.contains(&connection.host.node) {
                return Err("a dead node keeps a client");
            }
        }
        if connected != self.hosted.len() {
            return Err("a host has a client that is not connected");
        }
        let dead = |source: &Source| matches!(source, Source::Host(host) if self.is_dead(*host));
        if self.streams.keys().any(dead) {
            return Err("a dead node has a stream");
        }
        let picks = self.outbox.from(0).flat_map(|(_, item)| item.picks.iter());
        if picks.into_iter().any(|pick| matches!(pick.taker, Taker::Member(of) if self.is_dead(of.host))) {
            return Err("a member on a dead node is to take something");
        }
        Ok(())
    }
}
