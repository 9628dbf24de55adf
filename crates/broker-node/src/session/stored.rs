//! Messages of a persistent session's queue that have left memory: fetched a page at a time as the socket takes them,
//! and one page ahead. Called by the connection's task; holds two pages at most.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use session_store::command::Push;
use session_store::{Outgoing, StoredAt, StoredPage};

use super::{Client, Ending};

/// Pages in memory: the one that is sent from, and the next.
const PAGES: usize = 2;

/// A page that is being read.
type Reading = Pin<Box<dyn Future<Output = Option<StoredPage>>>>;

/// The pages of a client that drains its queue.
#[derive(Default)]
pub(crate) struct StoredMessages {
    pages: VecDeque<StoredPage>,
    reading: Option<Reading>,
    /// A message of the page that is wanted next.
    ahead: Option<StoredAt>,
}

impl fmt::Debug for StoredMessages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredMessages").field("pages", &self.pages.len()).finish_non_exhaustive()
    }
}

impl StoredMessages {
    /// The message at a place, if its page is here. Messages come in the order of their pages: a page that another one
    /// is asked for behind is done with.
    fn take(&mut self, at: &StoredAt) -> Option<Outgoing> {
        while let Some(page) = self.pages.front_mut() {
            let found = if page.is_of(at) { page.take(at) } else { None };
            if found.is_none() || page.is_empty() {
                self.pages.pop_front();
            }
            if found.is_some() {
                return found;
            }
        }
        self.ahead = Some(*at);
        None
    }

    /// Whether a page is to be fetched, and there is room for it.
    fn wants_page(&self) -> bool {
        self.reading.is_none() && self.ahead.is_some() && self.pages.len() < PAGES
    }
}

impl Client {
    /// What to send for a message that is in the store; `None` until its page is here.
    pub(super) fn take_stored(&mut self, at: &StoredAt) -> Option<Outgoing> {
        self.stored.get_or_insert_default().take(at)
    }

    /// Whether a page is to be fetched.
    pub(crate) fn wants_stored(&self) -> bool {
        self.stored.as_ref().is_some_and(|stored| stored.wants_page())
    }

    /// Fetches pages, and sends from them.
    ///
    /// # Errors
    /// The connection ends: the session has gone on without it, or the node fails.
    pub(crate) fn poll_stored(&mut self, context: &mut Context<'_>) -> Result<(), Ending> {
        while let Some(stored) = &mut self.stored {
            if let Some(reading) = &mut stored.reading {
                let Poll::Ready(page) = reading.as_mut().poll(context) else { return Ok(()) };
                stored.reading = None;
                let gone = || Ending::lost("the session goes on without this connection");
                self.page_came(page.ok_or_else(gone)?);
                continue;
            }
            if !stored.wants_page() {
                return Ok(());
            }
            let Some(at) = stored.ahead.take() else { return Ok(()) };
            let (shards, home, connection) = (self.worker.node.shards.clone(), self.home, self.inbox.id());
            stored.reading = Some(Box::pin(async move { shards.stored(home, at, connection).await }));
        }
        Ok(())
    }

    /// Sends from a page that came; the one behind it is wanted then.
    fn page_came(&mut self, page: StoredPage) {
        let Some(stored) = &mut self.stored else { return };
        stored.ahead = self.pushes.iter().find_map(|push| match push {
            Push::Stored { at, .. } if !page.is_of(at) && !stored.pages.iter().any(|held| held.is_of(at)) => {
                Some(*at)
            }
            _ => None,
        });
        stored.pages.push_back(page);
        self.send_pushes();
    }
}
