//! What connections ask of a shard's leader, and wait for: pages of retained messages, and messages of queues that have
//! left memory. The store is read on threads that may wait for the disk, so that no shard and no other connection does; a
//! page that is lost ends the node.

use std::sync::Arc;
use std::time::Duration;

use session_store::store::{GroupId, Reader, StoreError};
use session_store::{ConnectionId, Found, StoredAt, StoredPage};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use super::peers::Word;
use super::{Page, PageWanted, ShardGroup, Shards};
use crate::failure::Fails;

/// How long a page of retained messages may take before it is asked for again.
const PAGE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long to wait where nobody is known to lead a shard.
const NO_LEADER: Duration = Duration::from_millis(50);
/// Pages of queues that a node reads at a time: each keeps a thread busy.
const READS_MAX: usize = 4;

/// The way to pages of queues in the store. Clones are the same.
#[derive(Clone)]
pub(super) struct StoredPages {
    reader: Reader,
    fails: Fails,
    turns: Arc<Semaphore>,
}

/// Waits until this node, which leads, has applied everything that was committed before; `None` where it does not lead, or
/// does not hear so from the others in time: whoever asks asks again, and perhaps another node.
pub(crate) async fn caught_up(group: &ShardGroup) -> Option<()> {
    timeout(PAGE_TIMEOUT, group.caught_up()).await.ok()?.ok()
}

impl StoredPages {
    pub(super) fn new(reader: Reader, fails: Fails) -> Self {
        Self { reader, fails, turns: Arc::new(Semaphore::new(READS_MAX)) }
    }

    /// The page of a message that a shard pushed to this connection, where this node leads it; `None` in it where the
    /// connection does not need it any more, or it is lost.
    pub(super) async fn page(
        &self,
        group: &ShardGroup,
        at: StoredAt,
        of: ConnectionId,
    ) -> Option<Option<StoredPage>> {
        if let Some(page) = self.near(group, at, of).await? {
            return Some(Some(page));
        }
        // Only who has everything can say that it is gone.
        caught_up(group).await?;
        self.near(group, at, of).await
    }

    /// The same as far as this node has it, whether it leads or not: a message never changes. A page that is there and
    /// cannot be read ends the node. `None` where the group has ended.
    async fn near(&self, group: &ShardGroup, at: StoredAt, of: ConnectionId) -> Option<Option<StoredPage>> {
        let find = || group.look_now(move |state| state.machine().find_stored(&at, of));
        let start = match find().await.ok()? {
            Found::Gone => return Some(None),
            Found::Here(page) => return Some(Some(page)),
            Found::Page(start) => start,
        };
        let error = match self.read(group.id(), at, start).await {
            Ok(page) => return Some(Some(page)),
            Err(error) => error,
        };
        // Asked after the page was looked for: what is still there now was not removed before.
        if let Found::Page(_) = find().await.ok()? {
            self.fails.say(error.into());
        }
        Some(None)
    }

    async fn read(&self, group: GroupId, at: StoredAt, start: u64) -> Result<StoredPage, StoreError> {
        let _turn = self.turns.acquire().await;
        let reader = self.reader.clone();
        let read = spawn_blocking(move || reader.page(group, &at, start)).await;
        read.unwrap_or_else(|error| Err(StoreError::Failed { reason: error.to_string() }))
    }
}

impl Shards {
    /// A page of retained messages; `None` when the node stops. It comes after every publish that was acknowledged
    /// before.
    pub(crate) async fn page(&self, shard: u16, wanted: PageWanted) -> Option<Page> {
        let group = self.group(shard)?;
        let here = || super::leader::page(group, wanted.clone());
        self.ask_leader(shard, here, |answer| Word::Page(wanted.clone(), answer)).await
    }

    /// The page of a message that a shard pushed to this connection as one in the store. `None` where the connection
    /// does not need it any more, since the session has gone on without it, and when the node stops or fails.
    pub(crate) async fn stored(&self, shard: u16, at: StoredAt, of: ConnectionId) -> Option<StoredPage> {
        let (stored, group) = (&self.inner.stored, self.group(shard)?);
        if let Some(page) = stored.near(group, at, of).await? {
            return Some(page);
        }
        self.ask_leader(shard, || stored.page(group, at, of), |answer| Word::Stored(at, of, answer)).await?
    }

    /// Asks whoever leads a shard, until somebody answers; `None` when the node stops.
    async fn ask_leader<T, F: Future<Output = Option<T>>>(
        &self,
        shard: u16,
        here: impl Fn() -> F,
        word: impl Fn(oneshot::Sender<T>) -> Word,
    ) -> Option<T> {
        let (home, group) = (self.home(shard)?, self.group(shard)?);
        let mut leadership = group.leadership();
        loop {
            match home.link.leader() {
                Some(leader) if leader == self.node() => {
                    if let Some(answer) = here().await {
                        return Some(answer);
                    }
                }
                Some(leader) => {
                    let (answer, answered) = oneshot::channel();
                    self.tell(leader, shard, word(answer));
                    if let Ok(Ok(answer)) = timeout(PAGE_TIMEOUT, answered).await {
                        return Some(answer);
                    }
                }
                None => {}
            }
            tokio::select! {
                changed = leadership.changed() => if changed.is_err() { return None },
                () = sleep(NO_LEADER) => {}
            }
        }
    }
}
