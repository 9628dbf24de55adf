//! The words of this node's shards to and from other processes: as bytes over the links of `node-routing`. Used by
//! `Peers` for whoever is not in this process; decides nothing, and never waits.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, Weak};

use bytes::Bytes;
use node_routing::links::{Hears, Lane, Links};
use node_routing::reach::Reach;
use parking_lot::{Mutex, RwLock};
use raft_consensus::network::Refusal;
use raft_consensus::types::NodeId;
use session_store::record::{decode_words, encode_word};
use session_store::word::{self, Found, Given, Page, Question, Settled};
use session_store::{ShardId, StoredPage};
use tokio::sync::oneshot;

use super::home::Home;
use super::parts;
use super::peers::Word;
use crate::routes::Later;
use crate::streams::{SaysToHosts, Streams};

/// Questions without an answer after which those are forgotten that nobody waits for any more.
const SWEEP: usize = 256;
/// What a frame has besides its largest message, at most: other publishes of one read, and names of groups.
const REST_BYTES: usize = 3 << 19;

/// Who waits for the answer to a question.
enum Asker {
    Page(oneshot::Sender<Page>),
    Stored(oneshot::Sender<Option<StoredPage>>),
    ForMembers(oneshot::Sender<Given>),
    Settled(oneshot::Sender<Settled>),
}

impl Asker {
    fn has_gone(&self) -> bool {
        match self {
            Self::Page(answer) => answer.is_closed(),
            Self::Stored(answer) => answer.is_closed(),
            Self::ForMembers(answer) => answer.is_closed(),
            Self::Settled(answer) => answer.is_closed(),
        }
    }
}

#[derive(Default)]
struct Asked {
    last: u64,
    askers: BTreeMap<u64, Asker>,
    sweep_at: usize,
}

impl Asked {
    /// The number of a question.
    fn put(&mut self, asker: Asker) -> u64 {
        if self.askers.len() >= self.sweep_at.max(SWEEP) {
            self.askers.retain(|_, asker| !asker.has_gone());
            self.sweep_at = 2 * self.askers.len();
        }
        self.last += 1;
        self.askers.insert(self.last, asker);
        self.last
    }
}

/// What this node hears from other processes.
#[derive(Default)]
pub(crate) struct Ears {
    homes: RwLock<Option<Arc<[Home]>>>,
    /// Who hears publishes of other hosts.
    streams: RwLock<Option<Streams>>,
    asked: Mutex<Asked>,
    /// For answers to questions.
    links: OnceLock<Weak<Links>>,
}

/// The way of words to and from other processes.
pub(crate) struct Linked {
    links: Arc<Links>,
    ears: Arc<Ears>,
}

impl Linked {
    /// Over these lines; nothing is heard before the shards are there.
    pub(crate) fn new(reach: Arc<Reach>) -> Self {
        let ears = Arc::new(Ears::default());
        let links = Arc::new(Links::new(reach, ears.clone()));
        let _first = ears.links.set(Arc::downgrade(&links));
        Self { links, ears }
    }

    /// Who hears what other nodes say.
    pub(crate) fn ears(&self) -> Arc<Ears> {
        Arc::clone(&self.ears)
    }

    /// The shards of this node hear from now on, or nobody does any more.
    pub(super) fn set_homes(&self, homes: Option<Arc<[Home]>>) {
        *self.ears.homes.write() = homes;
    }

    /// Waits while much waits for a node, of what is asked of it.
    pub(super) async fn room(&self, to: NodeId) {
        self.links.room(to, Lane::Asked).await;
    }

    /// Waits while much waits for a node, of what leaders tell it.
    pub(super) async fn room_to_tell(&self, to: NodeId) {
        self.links.room(to, Lane::Told).await;
    }

    /// Whether little waits for a node, of what leaders tell it.
    pub(super) fn has_room_to_tell(&self, to: NodeId) -> bool {
        self.links.has_room(to, Lane::Told)
    }

    /// Says something to a node about a shard.
    pub(super) fn say(&self, to: NodeId, shard: u16, word: Word) {
        let say = |lane, word: &word::Word| say(&self.links, to, (lane, ShardId(shard)), word);
        match word {
            Word::Requests(requests) => say(Lane::Asked, &word::Word::Requests(requests)),
            Word::PassOn(publish) => say(Lane::Asked, &word::Word::PassOn(publish)),
            Word::Attach(host, number) => say(Lane::Prompt, &word::Word::Attach(host, number)),
            Word::Told(told) => say(Lane::Told, &word::Word::Told(told)),
            Word::Taken(by, position) => say(Lane::Prompt, &word::Word::Taken(ShardId(by), position)),
            Word::Page(wanted, answer) => {
                let number = self.ears.asked.lock().put(Asker::Page(answer));
                say(Lane::Prompt, &word::Word::Question(number, Question::Page(wanted)));
            }
            Word::Stored(at, of, answer) => {
                let number = self.ears.asked.lock().put(Asker::Stored(answer));
                say(Lane::Prompt, &word::Word::Question(number, Question::Stored(at, of)));
            }
            Word::ForMembers(host, messages, answer) => {
                let number = self.ears.asked.lock().put(Asker::ForMembers(answer));
                say(Lane::Told, &word::Word::Question(number, Question::ForMembers(host, messages)));
            }
            Word::Settled(answer) => {
                let number = self.ears.asked.lock().put(Asker::Settled(answer));
                say(Lane::Prompt, &word::Word::Question(number, Question::Settled));
            }
        }
    }
}

/// The largest packet goes into one message, by the bounds that follow from the settings: what does not is a mistake here,
/// and would be said again for ever.
fn say(links: &Links, to: NodeId, (lane, shard): (Lane, ShardId), word: &word::Word) {
    if let Err(too_large) = links.say(to, lane, encode_word(shard, word)) {
        tracing::error!(target: "quelea", node = to, shard = shard.0, %too_large, "a word for another node is lost");
    }
}

impl SaysToHosts for Linked {
    fn say(&self, to: session_store::NodeId, word: word::Word) {
        let lane = if let word::Word::Heard(_) = word { Lane::Prompt } else { Lane::Published };
        // They are about no shard.
        say(&self.links, to.0.into(), (lane, ShardId(0)), &word);
    }

    fn item_bytes_max(&self) -> usize {
        self.links.bytes_max().saturating_sub(REST_BYTES)
    }

    fn hear(&self, _node: session_store::NodeId, streams: Streams) -> Later<()> {
        *self.ears.streams.write() = Some(streams);
        let ears = Arc::clone(&self.ears);
        Box::pin(async move {
            let _deaf = Deaf(ears);
            std::future::pending().await
        })
    }
}

/// Lets nobody hear publishes any more when it is dropped.
struct Deaf(Arc<Ears>);

impl Drop for Deaf {
    fn drop(&mut self) {
        *self.0.streams.write() = None;
    }
}

impl Hears for Ears {
    fn hear(&self, from: NodeId, words: Bytes) -> Result<(), Refusal> {
        let words = decode_words(words).map_err(|bad| Refusal::Malformed(bad.to_string()))?;
        let homes = self.homes.read().clone();
        let streams = self.streams.read().clone();
        for (shard, word) in words {
            if let word::Word::Frame(_) | word::Word::Heard(_) = word {
                if let Some(streams) = &streams {
                    streams.hear(word);
                }
                continue;
            }
            let home = homes.as_ref().and_then(|homes| homes.get(usize::from(shard.0)));
            match (home, word) {
                (Some(home), word) => self.hear_one(from, home, word),
                // Who has no shards yet, or no more, has no clients.
                (None, word::Word::Question(number, Question::Settled)) => {
                    let settled = word::Word::Found(
                        number,
                        Found::Settled(Settled { all: true, ..Settled::default() }),
                    );
                    if let Some(links) = self.links.get().and_then(Weak::upgrade) {
                        say(&links, from, (Lane::Asked, shard), &settled);
                    }
                }
                (None, _) => {}
            }
        }
        Ok(())
    }

    fn lost(&self, node: NodeId) {
        let streams = self.streams.read().clone();
        if let (Some(streams), Ok(node)) = (streams, u32::try_from(node)) {
            streams.lost(session_store::NodeId(node));
        }
        let homes = self.homes.read().clone();
        let led = |home: &&Home| home.link.leader() == Some(node);
        homes.iter().flat_map(|homes| homes.iter()).filter(led).for_each(|home| home.link.has_gap());
    }
}

impl Ears {
    fn hear_one(&self, from: NodeId, home: &Home, word: word::Word) {
        match word {
            word::Word::Requests(requests) => home.hear(Word::Requests(requests)),
            word::Word::PassOn(publish) => home.hear(Word::PassOn(publish)),
            word::Word::Attach(host, number) => home.hear(Word::Attach(host, number)),
            word::Word::Told(told) => home.hear(Word::Told(told)),
            word::Word::Taken(by, position) => home.hear(Word::Taken(by.0, position)),
            word::Word::Question(number, Question::Page(wanted)) => {
                let (answer, answered) = oneshot::channel();
                home.hear(Word::Page(wanted, answer));
                let found = |page| Found::Page(parts::first_of(page));
                self.answer((from, ShardId(home.number), number), answered, found);
            }
            word::Word::Question(number, Question::Stored(at, of)) => {
                let (answer, answered) = oneshot::channel();
                home.hear(Word::Stored(at, of, answer));
                self.answer((from, ShardId(home.number), number), answered, Found::Stored);
            }
            word::Word::Question(number, Question::ForMembers(host, messages)) => {
                let (answer, answered) = oneshot::channel();
                home.hear(Word::ForMembers(host, messages, answer));
                self.answer((from, ShardId(home.number), number), answered, Found::Given);
            }
            word::Word::Question(number, Question::Settled) => {
                let (answer, answered) = oneshot::channel();
                home.hear(Word::Settled(answer));
                self.answer((from, ShardId(home.number), number), answered, Found::Settled);
            }
            word::Word::Found(number, found) => self.found(number, found),
            // These are about no shard.
            word::Word::Frame(_) | word::Word::Heard(_) => {}
        }
    }

    /// Tells whoever asked what was found, once it is; how many ask at a time is bounded by what waits for a leader.
    fn answer<T: Send + 'static>(
        &self,
        (to, shard, number): (NodeId, ShardId, u64),
        answered: oneshot::Receiver<T>,
        found: impl FnOnce(T) -> Found + Send + 'static,
    ) {
        let Some(links) = self.links.get().cloned() else { return };
        tokio::spawn(async move {
            // Where nobody answers it is asked again.
            let (Ok(answer), Some(links)) = (answered.await, links.upgrade()) else { return };
            let word = word::Word::Found(number, found(answer));
            say(&links, to, (Lane::Asked, shard), &word);
        });
    }

    fn found(&self, number: u64, found: Found) {
        let asker = self.asked.lock().askers.remove(&number);
        match (asker, found) {
            (Some(Asker::Page(answer)), Found::Page(page)) => {
                let _nobody_waits = answer.send(page);
            }
            (Some(Asker::Stored(answer)), Found::Stored(page)) => {
                let _nobody_waits = answer.send(page);
            }
            (Some(Asker::ForMembers(answer)), Found::Given(given)) => {
                let _nobody_waits = answer.send(given);
            }
            (Some(Asker::Settled(answer)), Found::Settled(settled)) => {
                let _nobody_waits = answer.send(settled);
            }
            // Too late, or no answer to this: it is asked again.
            _ => {}
        }
    }
}
