//! The connections of clients whose home a shard is, as far as this node hosts them. Filled when they ask to connect,
//! emptied when they have ended; read by the shard's delivery.

use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use mqtt_codec::ReasonCode;
use parking_lot::{Mutex, MutexGuard};
use session_store::ConnectionId;

use super::Shards;
use crate::inbox::Inbox;

/// The connections of one shard's clients.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    entries: Mutex<Entries>,
}

/// Who was told to go: a connection that is told twice does not wait any more for what it is owed.
#[derive(Debug, Default)]
pub(crate) struct Away {
    told: HashSet<ConnectionId>,
}

/// What a directory holds, while it is looked at.
#[derive(Debug, Default)]
pub(crate) struct Entries {
    inboxes: HashMap<ConnectionId, Arc<Inbox>>,
    /// The node stops: connections end for this reason.
    ending: Option<ReasonCode>,
}

impl Directory {
    /// A connection asks to connect.
    pub(crate) fn insert(&self, inbox: &Arc<Inbox>) {
        let mut entries = self.entries.lock();
        entries.inboxes.insert(inbox.id(), Arc::clone(inbox));
        if let Some(reason) = entries.ending {
            inbox.end(reason);
        }
    }

    /// Ends all connections, and those that come later.
    pub(crate) fn end_all(&self, reason: ReasonCode) {
        let mut entries = self.entries.lock();
        entries.ending = Some(reason);
        entries.inboxes.values().for_each(|inbox| inbox.end(reason));
    }

    /// Ends the connections that are there.
    pub(crate) fn end_present(&self, reason: ReasonCode) {
        self.entries.lock().inboxes.values().for_each(|inbox| inbox.end(reason));
    }

    /// Wakes the connections that are there.
    pub(crate) fn wake_all(&self) {
        self.entries.lock().inboxes.values().for_each(|inbox| inbox.wake_reader());
    }

    /// Ends so many of the connections that were not told so yet, and says how many it told, and how many are left of all.
    pub(crate) fn send_away(&self, away: &mut Away, reason: ReasonCode, most: usize) -> (usize, usize) {
        let entries = self.entries.lock();
        let news = entries.inboxes.iter().filter(|(id, _)| !away.told.contains(*id));
        let chosen: Vec<_> = news.take(most).map(|(id, inbox)| (*id, Arc::clone(inbox))).collect();
        let left = entries.inboxes.len();
        drop(entries);
        for (id, inbox) in &chosen {
            inbox.end(reason);
            away.told.insert(*id);
        }
        (chosen.len(), left)
    }

    /// All of it, for one batch of effects.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock()
    }
}

impl Entries {
    /// The mailbox of a connection that is still there.
    pub(crate) fn get(&self, id: ConnectionId) -> Option<&Arc<Inbox>> {
        self.inboxes.get(&id)
    }

    /// The connection has ended, or was refused.
    pub(crate) fn remove(&mut self, id: ConnectionId) {
        self.inboxes.remove(&id);
    }
}
impl Shards {
    /// Ends the connections of all clients.
    pub(crate) fn end_connections(&self, reason: ReasonCode) {
        self.inner.homes.iter().for_each(|home| home.directory.end_all(reason));
    }

    /// Ends the connections of the clients that are there now.
    pub(crate) fn end_present(&self, reason: ReasonCode) {
        self.inner.homes.iter().for_each(|home| home.directory.end_present(reason));
    }

    /// Has the connections that are there look again what their clients may do.
    pub(crate) fn wake_connections(&self) {
        self.inner.homes.iter().for_each(|home| home.directory.wake_all());
    }

    /// Ends so many of the connections of clients that were not told so yet. Says how many it told, and how many are left of all.
    pub(crate) fn send_away(&self, away: &mut Away, reason: ReasonCode, most: usize) -> (usize, usize) {
        self.inner.homes.iter().fold((0, 0), |(told, left), home| {
            let (more, stay) = home.directory.send_away(away, reason, most - told);
            (told + more, left + stay)
        })
    }
}
