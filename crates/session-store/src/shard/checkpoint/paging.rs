//! Queues of absent clients leave memory when a checkpoint has them. What decides (size, expiry, QoS, group) stays, so
//! that no transition depends on what is in memory, and replicas stay equal; a message that is to be sent is read from
//! the store by whoever sends it, as a [`super::StoredPage`].

use super::pages::PAGE_BYTES;
use super::{Found, StoredAt, StoredPage};
use crate::ids::{ConnectionId, SessionKey};
use crate::kept::Page;
use crate::shard::Shard;

impl Shard {
    /// Leaves to the store what it has of the queues of absent clients. To be called when the last changes taken
    /// are written, and before the next are taken. The last page of a queue stays until a checkpoint in which the
    /// session was not touched, since what is queued next is written together with it.
    pub fn leave_to_store(&mut self) {
        let written = std::mem::take(&mut self.keeper.written);
        let rested = std::mem::replace(&mut self.keeper.rested, written.clone());
        for key in &written {
            self.leave_pages(*key, |page| page.bytes > PAGE_BYTES / 2);
        }
        for key in rested.difference(&written) {
            if !self.sessions.is_touched(key) {
                self.leave_pages(*key, |_| true);
            }
        }
    }

    /// Leaves those pages of a session's queue to the store, if its client is away.
    fn leave_pages(&mut self, key: SessionKey, which: impl Fn(&Page) -> bool) {
        let Some(session) = self.sessions.peek_mut(&key).filter(|s| s.connection.is_none()) else { return };
        for page in session.kept.0.pages.iter_mut().filter(|page| !page.away && which(page)) {
            session.outbound.leave(page.start..page.end);
            page.away = true;
        }
        self.counted.count(session);
    }

    /// Where a message is that was pushed to this connection as one in the store.
    #[must_use]
    pub fn find_stored(&self, at: &StoredAt, connection: ConnectionId) -> Found {
        let session = self.sessions.get(&at.session).filter(|s| s.connection == Some(connection));
        let Some(session) = session else { return Found::Gone };
        if session.outbound.is_stored(at.serial) {
            return Found::Page(session.kept.0.page_of(at.serial));
        }
        let items = session.outbound.in_memory_from(at.serial, PAGE_BYTES);
        if items.is_empty() { Found::Gone } else { Found::Here(StoredPage::of(at.session, items)) }
    }
}
