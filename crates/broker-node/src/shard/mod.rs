//! The shards of this node: a Raft group each, around a `session_store::Shard` and those who carry out what it
//! decides. Connections send numbered requests; a shard never waits for a connection.

mod begin;
mod delivery;
mod directory;
mod dispatch;
mod held;
mod link;
mod machine;
mod relay;
mod staged;

use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use mqtt_codec::ReasonCode;
use raft_consensus::group::{Gone, Group, Start, Timing};
use raft_consensus::network::Alone;
use raft_consensus::proposer::Ended;
use raft_consensus::storage::Storage;
use raft_consensus::types::{SnapshotMeta, TokioTypes};
use raft_consensus::wal::{GroupId, Room};
use session_store::command::{Command, End, Input, PublishItem};
use session_store::counters::{QueueCounters, ShardCounters};
use session_store::failpoint::{self, Mutant};
use session_store::limits::ShardLimits;
use session_store::{
    ClientId, Host, Incarnation, MessageRef, Shard, ShardId, ShardNumber, ShardSizes, Source,
};
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use topic_index::{Cursor, PageBounds, PlainFilter};

use self::delivery::Delivery;
use self::directory::Directory;
pub(crate) use self::dispatch::Dispatch;
pub(crate) use self::held::HELD_MAX;
use self::link::{Asker, Link};
use self::machine::{ShardMachine, Totals};
use self::relay::{Relay, RelayMail};
pub(crate) use self::staged::Staged;
use crate::clock::Clock;
use crate::counters::NodeCounters;
use crate::fanout::Fanout;
use crate::inbox::{Dropped, Inbox};

/// How long a group may take until it leads and has applied its log, at start.
const READY_TIMEOUT: Duration = Duration::from_secs(600);

/// How long the shards may take to finish what is on its way when the node stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// The group of one shard.
pub(crate) type ShardGroup = Group<TokioTypes, ShardMachine>;

/// Which page of retained messages is wanted.
#[derive(Debug)]
pub(crate) struct PageWanted {
    /// What the topics must match.
    pub(crate) filter: PlainFilter,
    /// Where the page before says to go on.
    pub(crate) from: Option<Cursor>,
    /// How much it may be, in messages and in topics looked at.
    pub(crate) bounds: PageBounds,
}

/// A page of retained messages.
#[derive(Debug)]
pub(crate) struct Page {
    /// The messages, in the order of their topics.
    pub(crate) messages: Vec<MessageRef>,
    /// Where to go on; `None` when there are no more. A page may be empty and have more behind it.
    pub(crate) next: Option<Cursor>,
}

/// What the node has for each shard before its group runs.
struct Place {
    link: Arc<Link>,
    directory: Arc<Directory>,
    totals: Totals,
}

struct Running {
    place: Place,
    group: ShardGroup,
}

struct Inner {
    host: Host,
    running: Vec<Running>,
    relays: Arc<[RelayMail]>,
    /// Whether the log has space.
    room: watch::Receiver<Room>,
}

/// The way to all shards.
#[derive(Clone)]
pub(crate) struct Shards {
    inner: Arc<Inner>,
}

impl std::fmt::Debug for Shards {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Shards({})", self.count())
    }
}

/// What shards are started with.
pub(crate) struct StartShards<'a> {
    /// The present run of the node.
    pub(crate) host: Host,
    /// The last run whose beginning they all have.
    pub(crate) logged: Incarnation,
    /// Where their logs and checkpoints are.
    pub(crate) storage: &'a Storage,
    /// Bounds of one shard.
    pub(crate) limits: ShardLimits,
    /// Who gets a message.
    pub(crate) fanout: &'a Arc<Fanout>,
    /// The node's time.
    pub(crate) clock: Clock,
    /// Two sets for each shard: for its machine and for its relay.
    pub(crate) counters: &'a [Arc<NodeCounters>],
}

impl Shards {
    /// Starts as many shards as there are places for, each with what its log and its checkpoint have, and waits until
    /// all of them lead. Tasks that end before the node stops are failures.
    ///
    /// # Errors
    /// A log or a checkpoint cannot be read or written.
    pub(crate) async fn start(start: StartShards<'_>, of: u16) -> anyhow::Result<(Self, JoinSet<Ended>)> {
        let mut tasks = JoinSet::new();
        let relays: Arc<[RelayMail]> = (0..of).map(|_| RelayMail::default()).collect();
        let mut running = Vec::new();
        for (number, counters) in (0..of).zip(start.counters.chunks(2)) {
            let me = ShardNumber { number: ShardId(number), of };
            let [counters, _] = counters else { bail!("a shard has two sets of counters") };
            let (shard, task) = start_one(&start, me, (&relays, counters)).await?;
            running.push(shard);
            tasks.spawn(async move { task.await.unwrap_or_else(|error| Ended::Failed(error.to_string())) });
        }
        let room = start.storage.wal().room();
        let shards = Self { inner: Arc::new(Inner { host: start.host, running, relays, room }) };
        for shard in &shards.inner.running {
            shard.group.found([u64::from(start.host.node.0)]).await?;
            shard.group.ready(READY_TIMEOUT).await?;
            shard.take_limits(start.limits).await?;
            shard.begin_run(start.host, start.logged).await?;
        }
        for (number, counters) in (0..of).zip(start.counters.chunks(2)) {
            let [_, counters] = counters else { continue };
            let relay = Relay {
                number,
                shards: shards.clone(),
                fanout: Arc::clone(start.fanout),
                counters: Arc::clone(counters),
            };
            tasks.spawn(async move {
                relay::run(relay).await;
                Ended::Stopped
            });
        }
        Ok((shards, tasks))
    }

    /// The present run of the node, as the host of its connections.
    pub(crate) fn host(&self) -> Host {
        self.inner.host
    }

    /// The groups.
    pub(crate) fn groups(&self) -> impl Iterator<Item = ShardGroup> {
        self.inner.running.iter().map(|shard| shard.group.clone())
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u16 {
        u16::try_from(self.inner.running.len()).unwrap_or(u16::MAX)
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

    fn shard(&self, shard: u16) -> Option<&Running> {
        self.inner.running.get(usize::from(shard))
    }

    fn group(&self, shard: u16) -> Option<&ShardGroup> {
        self.shard(shard).map(|running| &running.group)
    }

    fn relay(&self, shard: u16) -> Option<&RelayMail> {
        self.inner.relays.get(usize::from(shard))
    }

    /// Gives a command to a shard; waits while it has too much to do. When the node stops it is lost.
    pub(crate) async fn send(&self, shard: u16, command: Command, from: &Arc<Inbox>) {
        let asker = Asker { inbox: Some(Arc::clone(from)), ..Asker::default() };
        let _stopping = self.give(shard, command, asker).await;
    }

    /// QoS 0 messages go past the log to those who are connected, everything else into it. They may overtake what
    /// others wait for, and nothing of their own publisher, that may have messages of the same topic in the log: those
    /// that are retained, or came together with others (`[MQTT-4.6.0-6]`).
    async fn give(&self, shard: u16, command: Command, asker: Asker) -> Option<()> {
        let asking = asker.inbox.as_ref().is_some_and(|inbox| inbox.is_asking());
        match command {
            Command::Publish(publish) if !asking && !publish.items.iter().any(PublishItem::is_logged) => {
                self.group(shard)?.pass(move |machine| machine.pass_on(&publish)).await.ok()
            }
            command => self.ask(shard, command, asker).await,
        }
    }

    /// Tells the home of a client that its connection has ended, and waits until that is committed.
    pub(crate) async fn end(&self, shard: u16, end: End, from: &Arc<Inbox>) {
        let (applied, committed) = oneshot::channel();
        let asker = Asker { inbox: Some(Arc::clone(from)), applied: Some(applied), ends: true };
        if self.ask(shard, Command::End(end), asker).await.is_some() {
            let _stopping = committed.await;
        }
    }

    async fn ask(&self, shard: u16, command: Command, asker: Asker) -> Option<()> {
        let Running { place, group, .. } = self.shard(shard)?;
        if let Command::Receive(_) = command {
            self.relay(shard)?.room().await;
        }
        if let (Command::Connect(_), Some(inbox)) = (&command, &asker.inbox) {
            place.directory.insert(inbox);
        }
        let room = group.room().await.ok()?;
        if let Some(inbox) = &asker.inbox {
            inbox.ask();
        }
        if failpoint::has(Mutant::AckBeforeCommit) {
            asker.answer_early(&command);
        }
        place.link.send(command, asker, |request| room.propose(Input::from(request)));
        Some(())
    }

    /// A page of retained messages; `None` when the node stops. It comes after every publish that was sent to the
    /// shard before it.
    pub(crate) async fn page(&self, shard: u16, wanted: PageWanted) -> Option<Page> {
        self.group(shard)?.look(move |machine| machine.page(&wanted)).await.ok()
    }

    /// Publishes a message of the node itself, which no shard stores. Returns what mailboxes had no room
    /// for.
    pub(crate) async fn publish_own(&self, fanout: &Arc<Fanout>, message: &MessageRef) -> Dropped {
        let mut dispatch = Dispatch::new(fanout);
        dispatch.publish(&ClientId::new(""), (message, 0), None);
        let dispatched = dispatch.finish();
        for (shard, command) in dispatched.commands {
            let _stopping = self.give(shard, command, Asker::default()).await;
        }
        dispatched.dropped
    }

    /// Ends the connections of all clients.
    pub(crate) fn end_connections(&self, reason: ReasonCode) {
        self.inner.running.iter().for_each(|shard| shard.place.directory.end_all(reason));
    }

    /// How much all shards hold.
    pub(crate) async fn sizes(&self) -> ShardSizes {
        let mut sum = ShardSizes::default();
        for shard in &self.inner.running {
            if let Ok(sizes) = shard.group.look_now(|state| state.machine().sizes()).await {
                sum.add(&sizes);
            }
        }
        sum
    }

    /// What all shards counted.
    pub(crate) fn totals(&self) -> (ShardCounters, QueueCounters) {
        let mut sum = (ShardCounters::default(), QueueCounters::default());
        for shard in &self.inner.running {
            let totals = shard.place.totals.lock();
            sum.0.add(&totals.0);
            sum.1.add(&totals.1);
        }
        sum
    }

    /// Waits until everything that was asked so far is applied; `false` when the node stops.
    pub(crate) async fn applied(&self) -> bool {
        for shard in &self.inner.running {
            if shard.group.look(|_| ()).await.is_err() {
                return false;
            }
        }
        true
    }

    /// Stops all groups, after what is on its way is done, unless that has to wait for space.
    pub(crate) async fn stop(&self) {
        let _late = timeout(STOP_TIMEOUT, self.applied()).await;
        for shard in &self.inner.running {
            shard.group.stop().await;
        }
    }
}

impl Running {
    /// The bounds that are configured become the shard's, from here on in its log.
    async fn take_limits(&self, configured: ShardLimits) -> Result<(), Gone> {
        let known = self.group.look_now(|state| *state.machine().limits()).await?;
        if known != configured {
            self.group.room().await?.propose(Input::Limits(configured));
        }
        Ok(())
    }
}

async fn start_one(
    start: &StartShards<'_>,
    me: ShardNumber,
    (relays, counters): (&Arc<[RelayMail]>, &Arc<NodeCounters>),
) -> anyhow::Result<(Running, JoinHandle<Ended>)> {
    let place = Place {
        link: Arc::new(Link::new(Source::Host(start.host))),
        directory: Arc::default(),
        totals: Totals::default(),
    };
    let delivery = Delivery {
        number: me.number.0,
        fanout: Arc::clone(start.fanout),
        link: Arc::clone(&place.link),
        directory: Arc::clone(&place.directory),
        relays: Arc::clone(relays),
        counters: Arc::clone(counters),
    };
    let id = GroupId(u32::from(me.number.0) + 1);
    let restored = start.storage.restore(id, |records| machine::restore(me, records))?;
    let (state, checkpoint) =
        restored.unwrap_or_else(|| (Shard::new(me, ShardLimits::default()), SnapshotMeta::default()));
    let checkpoints = start.storage.checkpoints(id);
    let machine = ShardMachine::new(state, checkpoints, delivery, start.clock, Totals::clone(&place.totals));
    let clock = start.clock;
    let (group, task) = Group::start(Start {
        node: u64::from(start.host.node.0),
        group: id,
        // A node without peers waits for nobody: the slower its groups tick, the less it does when idle.
        timing: Timing::ZONES,
        log: start.storage.log(id)?,
        room: start.storage.wal().room(),
        network: Alone,
        machine,
        checkpoint,
        clock: Arc::new(move || clock.now().0),
    })
    .await?;
    Ok((Running { place, group }, task))
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
