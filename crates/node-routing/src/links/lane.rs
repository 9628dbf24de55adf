//! One lane of words to one node: what waits, and the stream by which it goes, many words to a message while there is
//! load. Used by the links. A stream carries everything in order or ends, and its end is reported.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, Stream};
use parking_lot::Mutex;
use raft_consensus::types::NodeId;
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio::time::{Instant, timeout};
use tonic::Streaming;

use super::{Hears, TooLarge};
use crate::counters::{Tally, count};
use crate::line::{Changes, Connection, Line};
use crate::proto::session::shards_client::ShardsClient;
use crate::reach::{Purpose, Reach};
use crate::refusal;

/// Bytes that wait for a node at most; or so many of the largest messages, where these are more.
const BYTES_MAX: usize = 16 << 20;
/// As many large words may have to be said again together.
const MESSAGES_MAX: usize = 8;
/// Whoever can wait does so while more than this waits, in bytes.
const ROOM_BYTES: usize = 1 << 20;
/// Bytes of a message in which several words are put together, at most.
const BATCH_BYTES: usize = 64 << 10;

/// A stream that lived shorter is not followed by another at once, but for a new connection.
const LIVED: Duration = Duration::from_secs(1);
/// Before the next one, at most.
const PAUSE: Duration = Duration::from_millis(500);

#[derive(Debug, Default)]
struct Waiting {
    words: VecDeque<Bytes>,
    bytes: usize,
    /// It was too much: the stream has to end.
    overflown: bool,
    /// Which stream may take from it.
    stream: u64,
}

/// What waits on a lane.
#[derive(Debug)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    filled: Notify,
    room: Notify,
    tally: Arc<Tally>,
    /// Bytes of a message at most, as the other end will have it.
    bound: usize,
    /// Bytes that wait at most.
    bytes_max: usize,
}

/// What is next on a lane.
enum Next {
    Batch(Bytes),
    Nothing,
    /// There was too much, or another stream goes on.
    Over,
}

impl Queue {
    pub(super) fn new(tally: Arc<Tally>, bound: usize) -> Self {
        let bytes_max = BYTES_MAX.max(bound.saturating_mul(MESSAGES_MAX));
        Self {
            waiting: Mutex::default(),
            filled: Notify::new(),
            room: Notify::new(),
            tally,
            bound,
            bytes_max,
        }
    }

    /// Puts words behind the others; where there is no room all of them are lost.
    ///
    /// # Errors
    /// The other end would end the stream for them, and all the others with it.
    pub(super) fn push(&self, words: Bytes) -> Result<(), TooLarge> {
        let (found, bound) = (words.len(), self.bound);
        if found > bound {
            count(&self.tally.peer_words_too_large, 1);
            return Err(TooLarge { found, bound });
        }
        count(&self.tally.peer_words, 1);
        let mut waiting = self.waiting.lock();
        if waiting.bytes + words.len() > self.bytes_max {
            waiting.overflown = true;
            self.lose(&mut waiting, 1);
        } else {
            waiting.bytes += words.len();
            waiting.words.push_back(words);
        }
        drop(waiting);
        self.filled.notify_one();
        Ok(())
    }

    /// Waits while much waits.
    pub(super) async fn room(&self) {
        loop {
            let told = self.room.notified();
            if self.has_room() {
                return;
            }
            told.await;
        }
    }

    /// Whether little waits.
    pub(super) fn has_room(&self) -> bool {
        self.waiting.lock().bytes < ROOM_BYTES
    }

    fn lose(&self, waiting: &mut Waiting, more: usize) {
        let words = waiting.words.len() + more;
        count(&self.tally.peer_words_lost, words);
        waiting.words.clear();
        waiting.bytes = 0;
        self.room.notify_waiters();
    }

    /// Loses what waits and what the present stream has taken, and lets it take no more.
    fn clear(&self) {
        let mut waiting = self.waiting.lock();
        waiting.overflown = false;
        waiting.stream += 1;
        self.lose(&mut waiting, 0);
        drop(waiting);
        self.filled.notify_waiters();
    }

    async fn filled(&self) {
        loop {
            if !self.waiting.lock().words.is_empty() {
                return;
            }
            self.filled.notified().await;
        }
    }

    fn next(&self, stream: u64) -> Next {
        let mut waiting = self.waiting.lock();
        if waiting.overflown || waiting.stream != stream {
            return Next::Over;
        }
        let Some(first) = waiting.words.pop_front() else { return Next::Nothing };
        let mut more = Vec::new();
        let mut bytes = first.len();
        let most = BATCH_BYTES.min(self.bound);
        while let Some(words) = waiting.words.front()
            && bytes + words.len() <= most
        {
            bytes += words.len();
            more.extend(waiting.words.pop_front());
        }
        waiting.bytes = waiting.bytes.saturating_sub(bytes);
        if waiting.bytes < ROOM_BYTES {
            self.room.notify_waiters();
        }
        drop(waiting);
        count(&self.tally.peer_batches, 1);
        Next::Batch(if more.is_empty() { first } else { join(&first, &more, bytes) })
    }

    /// Batches as they are wanted; ends when there was too much.
    fn batches(self: &Arc<Self>) -> impl Stream<Item = Bytes> + Send + 'static {
        let number = self.waiting.lock().stream;
        stream::unfold(Arc::clone(self), move |queue: Arc<Self>| async move {
            loop {
                match queue.next(number) {
                    Next::Batch(batch) => return Some((batch, queue)),
                    Next::Nothing => queue.filled.notified().await,
                    Next::Over => {
                        // What it was woken for is for the next one.
                        queue.filled.notify_one();
                        return None;
                    }
                }
            }
        })
    }
}

/// Words one behind the other.
fn join(first: &Bytes, more: &[Bytes], bytes: usize) -> Bytes {
    let mut all = BytesMut::with_capacity(bytes);
    all.extend_from_slice(first);
    more.iter().for_each(|words| all.extend_from_slice(words));
    all.freeze()
}

/// Waits a while, or until something happens to the connection.
async fn pause(changes: Option<Changes>) {
    let worth = async {
        match changes {
            Some(mut changes) => changes.worth().await,
            None => std::future::pending().await,
        }
    };
    // What comes first is all the same.
    let _late = timeout(PAUSE, worth).await;
}

/// Keeps a stream for a lane while there is something to say.
pub(super) struct Keeper {
    pub(super) reach: Arc<Reach>,
    pub(super) hears: Arc<dyn Hears>,
    pub(super) to: NodeId,
    pub(super) queue: Arc<Queue>,
}

impl Keeper {
    /// Runs until it is dropped.
    pub(super) async fn run(self) {
        loop {
            self.queue.filled().await;
            let (line, since) = (self.reach.line(self.to, Purpose::Words).ok(), Instant::now());
            let changes = line.as_ref().map(|line| line.changes());
            if let Some((mut answers, _permit)) = self.open(line).await {
                let end = answers.message().await;
                tracing::debug!(node = self.to, ?end, "a link has ended");
                count(&self.reach.context.tally.peer_links_broken, 1);
            }
            if since.elapsed() < LIVED {
                pause(changes).await;
            }
            // Not before there is a chance that it arrives: whoever hears of it says all of it again.
            self.queue.clear();
            self.hears.lost(self.to);
        }
    }

    /// Opens a stream. Where that fails what it has taken is lost.
    async fn open(&self, line: Option<Arc<Line>>) -> Option<(Streaming<Bytes>, OwnedSemaphorePermit)> {
        let line = line?;
        let opening = async {
            let connection: Connection = line.connection().await.ok()?;
            let permit = connection.permit().await?;
            let mut client = ShardsClient::with_origin(connection.clone(), connection.origin());
            match client.say(self.queue.batches()).await {
                Ok(answers) => Some((answers.into_inner(), permit)),
                Err(status) => {
                    tracing::debug!(node = self.to, reason = refusal::reason(&status), "cannot open a link");
                    None
                }
            }
        };
        timeout(self.reach.context.limits.greet_within, opening).await.ok().flatten()
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::{FutureExt, StreamExt};

    use super::*;

    fn word(byte: u8, bytes: usize) -> Bytes {
        vec![byte; bytes].into()
    }

    fn queue(bound: usize) -> Arc<Queue> {
        Arc::new(Queue::new(Arc::default(), bound))
    }

    #[test]
    fn what_no_message_can_carry_is_refused_and_the_others_go_on() {
        let queue = queue(10);
        let mut batches = pin!(queue.batches());
        queue.push(word(1, 6)).unwrap();
        assert_eq!(queue.push(word(2, 11)), Err(TooLarge { found: 11, bound: 10 }));
        queue.push(word(3, 5)).unwrap();
        queue.push(word(4, 5)).unwrap();
        assert_eq!(
            batches.next().now_or_never(),
            Some(Some(word(1, 6))),
            "no two that are too large together"
        );
        let two = [word(3, 5), word(4, 5)].concat();
        assert_eq!(batches.next().now_or_never(), Some(Some(two.into())));
        let counted = queue.tally.read();
        assert_eq!((counted.peer_words, counted.peer_words_too_large, counted.peer_words_lost), (3, 1, 0));
    }

    #[test]
    fn what_waits_goes_together_and_in_order_and_what_is_large_by_itself() {
        let queue = queue(usize::MAX);
        let mut batches = pin!(queue.batches());
        assert!(batches.next().now_or_never().is_none());
        (0..100).for_each(|byte| queue.push(word(byte, 1)).unwrap());
        queue.push(word(200, BATCH_BYTES)).unwrap();
        queue.push(word(201, 1)).unwrap();
        let all: Bytes = (0..100).collect::<Vec<u8>>().into();
        assert_eq!(batches.next().now_or_never(), Some(Some(all)));
        assert_eq!(batches.next().now_or_never(), Some(Some(word(200, BATCH_BYTES))));
        assert_eq!(batches.next().now_or_never(), Some(Some(word(201, 1))));
        assert!(batches.next().now_or_never().is_none());
        let counted = queue.tally.read();
        assert_eq!((counted.peer_words, counted.peer_batches, counted.peer_words_lost), (102, 3, 0));
    }

    #[test]
    fn too_much_ends_the_stream_and_all_that_waits_is_lost() {
        let largest = BYTES_MAX / MESSAGES_MAX;
        let queue = queue(largest);
        let mut batches = pin!(queue.batches());
        (0..MESSAGES_MAX).for_each(|_| queue.push(word(1, largest)).unwrap());
        assert_eq!(queue.tally.read().peer_words_lost, 0);
        queue.push(word(2, 1)).unwrap();
        assert_eq!(batches.next().now_or_never(), Some(None));
        assert_eq!(queue.tally.read().peer_words_lost, MESSAGES_MAX as u64 + 1);
        queue.clear();
        queue.push(word(3, 1)).unwrap();
        let mut next = pin!(queue.batches());
        assert_eq!(next.next().now_or_never(), Some(Some(word(3, 1))));
    }

    #[test]
    fn an_old_stream_takes_nothing_from_the_next_one() {
        let queue = queue(usize::MAX);
        let mut old = pin!(queue.batches());
        assert!(old.next().now_or_never().is_none());
        queue.clear();
        let mut new = pin!(queue.batches());
        assert!(new.next().now_or_never().is_none());
        queue.push(word(1, 1)).unwrap();
        assert_eq!(old.next().now_or_never(), Some(None));
        assert_eq!(new.next().now_or_never(), Some(Some(word(1, 1))));
    }

    #[test]
    fn who_can_wait_does_until_there_is_room() {
        let queue = queue(usize::MAX);
        assert!(queue.room().now_or_never().is_some());
        let mut batches = pin!(queue.batches());
        queue.push(word(1, ROOM_BYTES)).unwrap();
        let mut room = pin!(queue.room());
        assert!(room.as_mut().now_or_never().is_none());
        assert!(batches.next().now_or_never().is_some());
        assert!(room.now_or_never().is_some());
        queue.push(word(1, ROOM_BYTES)).unwrap();
        let mut room = pin!(queue.room());
        assert!(room.as_mut().now_or_never().is_none());
        queue.clear();
        assert!(room.now_or_never().is_some(), "who is out of reach is not waited for");
    }
}
