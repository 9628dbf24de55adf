//! The shards of this node: one task each that owns a `session_store::Shard` and carries out what it
//! decides. Connections speak to them by bounded mailboxes; a shard never waits for a connection.

mod dispatch;
mod relay;
mod staged;
mod task;

use std::sync::Arc;

use mqtt_codec::ReasonCode;
use parking_lot::Mutex;
use session_store::command::{Command, Input};
use session_store::counters::{QueueCounters, ShardCounters};
use session_store::limits::ShardLimits;
use session_store::{
    ClientId, Host, Incarnation, MessageRef, NodeId, Shard, ShardId, ShardNumber, ShardSizes,
};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use topic_index::PlainFilter;

pub(crate) use self::dispatch::Dispatch;
pub(crate) use self::staged::Staged;
use crate::clock::Clock;
use crate::counters::NodeCounters;
use crate::fanout::Fanout;
use crate::inbox::{Dropped, Inbox};

/// Commands that wait for a shard at most, from connections and from relays each.
const MAILBOX: usize = 1_024;

/// This node, in its present run.
const HOST: Host = Host { node: NodeId(1), incarnation: Incarnation(1) };

/// What a shard is told.
#[derive(Debug)]
pub(crate) enum ShardMail {
    /// A command of this node, and the connection that its answer goes to.
    Command(Command, Option<Arc<Inbox>>),
    /// What a relay has for a shard.
    Input(Input),
    /// A page of retained messages, and where it goes.
    Page(PageWanted, oneshot::Sender<Page>),
    /// How much it holds.
    Sizes(oneshot::Sender<ShardSizes>),
    /// The connections of its clients are to end.
    EndConnections(ReasonCode),
}

/// Which page of retained messages is wanted.
#[derive(Debug)]
pub(crate) struct PageWanted {
    /// What the topics must match.
    pub(crate) filter: PlainFilter,
    /// The last topic of the page before.
    pub(crate) after: Option<Box<[u8]>>,
    /// Messages at most.
    pub(crate) limit: usize,
}

/// A page of retained messages.
#[derive(Debug)]
pub(crate) struct Page {
    /// The messages, in the order of their topics.
    pub(crate) messages: Vec<MessageRef>,
    /// The topic to go on behind; `None` when there are no more.
    pub(crate) after: Option<Box<[u8]>>,
}

#[derive(Debug)]
struct Mailbox {
    /// From connections: held back while the shard has too much to relay.
    outer: mpsc::Sender<ShardMail>,
    /// From relays: always taken.
    inner: mpsc::Sender<ShardMail>,
    totals: Arc<Mutex<(ShardCounters, QueueCounters)>>,
}

/// The way to all shards.
#[derive(Clone, Debug)]
pub(crate) struct Shards {
    mailboxes: Arc<[Mailbox]>,
    host: Host,
}

impl Shards {
    /// Starts `of` empty shards on the present runtime; `counters` has two sets for each of them, for its
    /// task and for its relay.
    pub(crate) fn start(
        of: u16,
        limits: ShardLimits,
        fanout: &Arc<Fanout>,
        clock: Clock,
        counters: &[Arc<NodeCounters>],
    ) -> (Self, JoinSet<()>) {
        let mut mailboxes = Vec::new();
        let mut ends = Vec::new();
        for _ in 0..of {
            let (outer, outer_end) = mpsc::channel(MAILBOX);
            let (inner, inner_end) = mpsc::channel(MAILBOX);
            mailboxes.push(Mailbox { outer, inner, totals: Arc::default() });
            ends.push((outer_end, inner_end));
        }
        let shards = Self { mailboxes: mailboxes.into(), host: HOST };
        let mut tasks = JoinSet::new();
        for ((number, (outer, inner)), counters) in (0..of).zip(ends).zip(counters.chunks(2)) {
            let [counters, relay_counters] = counters else { continue };
            let (relay_to, relay_end) = mpsc::channel(MAILBOX);
            let me = ShardNumber { number: ShardId(number), of };
            let totals = shards.mailbox(number).map(|mailbox| Arc::clone(&mailbox.totals));
            let state = Shard::new(me, limits);
            tasks.spawn(
                task::ShardTask::new(state, (number, shards.host()), fanout, clock)
                    .counting(totals.unwrap_or_default(), Arc::clone(counters))
                    .run(task::Ends { outer, inner, relay: relay_to }),
            );
            let relay = relay::Relay {
                number,
                shards: shards.clone(),
                fanout: Arc::clone(fanout),
                counters: Arc::clone(relay_counters),
            };
            tasks.spawn(relay::run(relay, relay_end));
        }
        (shards, tasks)
    }

    /// The run of the node that they are told of as the host of its connections.
    pub(crate) fn host(&self) -> Host {
        self.host
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u16 {
        u16::try_from(self.mailboxes.len()).unwrap_or(u16::MAX)
    }

    fn home(&self, key: &[u8]) -> u16 {
        let shard = fnv1a(key) % u64::from(self.count().max(1));
        u16::try_from(shard).unwrap_or(0)
    }

    /// The home of a client.
    pub(crate) fn home_of_client(&self, client: &ClientId) -> u16 {
        self.home(client.as_str().as_bytes())
    }

    /// The home of a topic's retained message.
    pub(crate) fn home_of_topic(&self, topic: &[u8]) -> u16 {
        self.home(topic)
    }

    fn mailbox(&self, shard: u16) -> Option<&Mailbox> {
        self.mailboxes.get(usize::from(shard))
    }

    /// Gives a command to a shard; waits while its mailbox is full. When the node stops it is lost.
    pub(crate) async fn send(&self, shard: u16, command: Command, from: &Arc<Inbox>) {
        if let Some(mailbox) = self.mailbox(shard) {
            let mail = ShardMail::Command(command, Some(Arc::clone(from)));
            let _stopping = mailbox.outer.send(mail).await;
        }
    }

    async fn send_inner(&self, shard: u16, mail: ShardMail) {
        if let Some(mailbox) = self.mailbox(shard) {
            let _stopping = mailbox.inner.send(mail).await;
        }
    }

    /// A page of retained messages for a connection; `None` when the node stops. It comes after every
    /// publish that was sent to the shard before it.
    pub(crate) async fn page(&self, shard: u16, wanted: PageWanted) -> Option<Page> {
        page_of(&self.mailbox(shard)?.outer, wanted).await
    }

    /// A page of retained messages for a relay, which never waits for connections.
    async fn page_inner(&self, shard: u16, wanted: PageWanted) -> Option<Page> {
        page_of(&self.mailbox(shard)?.inner, wanted).await
    }

    /// Publishes a message of the node itself, which no shard stores. Returns what mailboxes had no room
    /// for.
    pub(crate) async fn publish_own(&self, fanout: &Arc<Fanout>, message: &MessageRef) -> Dropped {
        let mut dispatch = Dispatch::new(fanout);
        dispatch.publish(&ClientId::new(""), (message, 0), None);
        let dispatched = dispatch.finish();
        for (shard, command) in dispatched.commands {
            self.send_inner(shard, ShardMail::Command(command, None)).await;
        }
        dispatched.dropped
    }

    /// Ends the connections of all clients.
    pub(crate) async fn end_connections(&self, reason: ReasonCode) {
        for mailbox in &*self.mailboxes {
            let _stopping = mailbox.inner.send(ShardMail::EndConnections(reason)).await;
        }
    }

    /// How much all shards hold.
    pub(crate) async fn sizes(&self) -> ShardSizes {
        let mut sum = ShardSizes::default();
        for mailbox in &*self.mailboxes {
            let (answer, sizes) = oneshot::channel();
            if mailbox.inner.send(ShardMail::Sizes(answer)).await.is_ok()
                && let Ok(sizes) = sizes.await
            {
                sum.add(&sizes);
            }
        }
        sum
    }

    /// What all shards counted.
    pub(crate) fn totals(&self) -> (ShardCounters, QueueCounters) {
        let mut sum = (ShardCounters::default(), QueueCounters::default());
        for mailbox in &*self.mailboxes {
            let totals = mailbox.totals.lock();
            sum.0.add(&totals.0);
            sum.1.add(&totals.1);
        }
        sum
    }
}

async fn page_of(mailbox: &mpsc::Sender<ShardMail>, wanted: PageWanted) -> Option<Page> {
    let (answer, page) = oneshot::channel();
    mailbox.send(ShardMail::Page(wanted, answer)).await.ok()?;
    page.await.ok()
}

/// FNV-1a: short, and the same on every node and in every version, which is all that the homes need.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3)
    })
}

#[cfg(test)]
mod tests {
    use super::fnv1a;

    #[test]
    fn the_hash_of_homes_never_changes() {
        assert_eq!(fnv1a(b""), 0xCBF2_9CE4_8422_2325);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_F739_67E8);
    }
}
