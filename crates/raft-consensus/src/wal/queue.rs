//! What waits to be written: one queue for all groups, so that votes, entries, truncations and purges reach the disk in
//! the order in which they were asked for. Filled by the groups, emptied by the committer. Bounded in bytes.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::WalError;
use super::group::Group;
use super::record::Content;
use super::wake::{Call, Wake};

/// Called when an append or a vote is done, in the order in which they were made, on the committer's thread: it must
/// be quick and must not call the log.
pub type Callback = Box<dyn FnOnce(Result<(), WalError>) + Send>;

/// One record that waits.
pub(crate) struct Item {
    /// Whose it is; none for the empty record.
    pub(crate) group: Option<Arc<Group>>,
    pub(crate) content: Content<Bytes>,
    /// Tells an entry from one of the same index that replaces it later.
    pub(crate) ticket: u64,
    /// Whether it is synced before its callback runs, whatever the durability.
    pub(crate) sync: bool,
    pub(crate) done: Option<Callback>,
}

impl Item {
    /// A record that nobody waits for.
    pub(crate) fn silent(group: Option<Arc<Group>>, content: Content<Bytes>) -> Self {
        Self { group, content, ticket: 0, sync: false, done: None }
    }
}

#[derive(Default)]
struct Inner {
    items: Vec<Item>,
    /// Bytes of what was pushed and is not yet done.
    bytes: usize,
    tickets: u64,
    ended: Option<WalError>,
}

pub(crate) struct Queue {
    inner: Mutex<Inner>,
    bytes_max: usize,
    /// Told when bytes are done.
    room: Notify,
    pub(crate) wake: Wake,
}

impl Queue {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { inner: Mutex::default(), bytes_max, room: Notify::new(), wake: Wake::default() }
    }

    /// Puts records into the queue, all or none of them. `make` is given the first of as many tickets as there are
    /// records.
    ///
    /// # Errors
    /// [`WalError::QueueFull`], or what ended the log.
    pub(crate) fn push(
        &self,
        bytes: usize,
        count: usize,
        call: Call,
        make: impl FnOnce(u64, &mut Vec<Item>),
    ) -> Result<(), WalError> {
        let mut inner = self.inner.lock();
        if let Some(error) = &inner.ended {
            return Err(error.clone());
        }
        if inner.bytes > 0 && inner.bytes + bytes > self.bytes_max {
            return Err(WalError::QueueFull { waiting: inner.bytes, more: bytes, bound: self.bytes_max });
        }
        inner.bytes += bytes;
        let first = inner.tickets + 1;
        inner.tickets += count as u64;
        make(first, &mut inner.items);
        drop(inner);
        self.wake.call(call);
        Ok(())
    }

    /// Takes all that waits, in order, and what ended the log.
    pub(crate) fn take(&self, into: &mut Vec<Item>) -> Option<WalError> {
        let mut inner = self.inner.lock();
        into.append(&mut inner.items);
        inner.ended.clone()
    }

    /// Says that records of so many bytes are done.
    pub(crate) fn done(&self, bytes: usize) {
        let mut inner = self.inner.lock();
        inner.bytes = inner.bytes.saturating_sub(bytes);
        drop(inner);
        self.room.notify_waiters();
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.inner.lock().items.is_empty()
    }

    /// Bytes that wait to be done.
    pub(crate) fn waiting(&self) -> usize {
        self.inner.lock().bytes
    }

    /// Waits until so many bytes may be pushed. Somebody else may be quicker.
    ///
    /// # Errors
    /// What ended the log.
    pub(crate) async fn room_for(&self, bytes: usize) -> Result<(), WalError> {
        loop {
            let told = self.room.notified();
            {
                let inner = self.inner.lock();
                if let Some(error) = &inner.ended {
                    return Err(error.clone());
                }
                if inner.bytes == 0 || inner.bytes + bytes <= self.bytes_max {
                    return Ok(());
                }
            }
            told.await;
        }
    }

    /// Refuses everything from now on. Returns whether it was this call that ended the queue.
    pub(crate) fn end(&self, error: &WalError) -> bool {
        let mut inner = self.inner.lock();
        let first = inner.ended.is_none();
        if first {
            inner.ended = Some(error.clone());
        }
        drop(inner);
        self.room.notify_waiters();
        first
    }

    /// What ended the queue.
    pub(crate) fn ended(&self) -> Option<WalError> {
        self.inner.lock().ended.clone()
    }
}
