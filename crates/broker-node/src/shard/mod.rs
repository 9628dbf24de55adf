//! The shards of this node: a Raft group each, around a `session_store::Shard` and those who carry out what it
//! decides. Connections send numbered requests; a shard never waits for a connection.

mod delivery;
mod directory;
mod link;
mod machine;
mod relay;

use std::sync::Arc;
use std::time::Duration;

use mqtt_codec::ReasonCode;
use raft_consensus::group::{Gone, Group};
use raft_consensus::types::TokioTypes;
use session_store::command::{Command, End, Input, Publish};
use session_store::counters::{QueueCounters, ShardCounters};
use session_store::stream::Source;
use session_store::{ClientId, Host, MessageRef, Shard, ShardId, ShardSizes};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use topic_index::PlainFilter;

use self::delivery::Delivery;
use self::directory::Directory;
use self::link::{Asker, Link};
use self::machine::{ShardMachine, Totals};
use self::relay::{Relay, RelayMail};
use crate::clock::Clock;
use crate::counters::NodeCounters;
use crate::fanout::Fanout;
use crate::inbox::{Dropped, Inbox};

/// How long a group may take until it leads and has applied its log, at start.
const READY_TIMEOUT: Duration = Duration::from_secs(600);

/// The group of one shard.
pub(crate) type ShardGroup = Group<TokioTypes, ShardMachine>;

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
    running: Vec<Running>,
    relays: Arc<[RelayMail]>,
}

/// The way to all shards.
#[derive(Clone)]
pub(crate) struct Shards {
    inner: Arc<Inner>,
}

/// What shards are started with.
pub(crate) struct StartShards<'a> {
    /// The present run of the node.
    pub(crate) host: Host,
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
            let me = ShardNumber { shard: ShardId(number), of };
            let [counters, _] = counters else { bail!("a shard has two sets of counters") };
            let (shard, task) = start_one(&start, me, (&relays, counters)).await?;
            running.push(shard);
            tasks.spawn(async move { task.await.unwrap_or_else(|error| Ended::Failed(error.to_string())) });
        }
        let shards = Self { inner: Arc::new(Inner { running, relays }) };
        for shard in &shards.inner.running {
            shard.group.found([u64::from(start.host.node.0)]).await?;
            shard.group.ready(READY_TIMEOUT).await?;
            shard.end_earlier_runs(start.host).await?;
        }
        for (number, counters) in (0..of).zip(start.counters.chunks(2)) {
            let [_, counters] = counters else { continue };
            let relay = Relay {
                shard: ShardId(number),
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

    /// The run of the node that they are told of as the host of its connections.
    pub(crate) fn host(&self) -> Host {
        self.host
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u16 {
        u16::try_from(self.inner.running.len()).unwrap_or(u16::MAX)
    }

    fn home(&self, key: &[u8]) -> ShardId {
        let shard = fnv1a(key) % u64::from(self.count().max(1));
        ShardId(u16::try_from(shard).unwrap_or(0))
    }

    /// The home of a client.
    pub(crate) fn home_of_client(&self, client: &ClientId) -> ShardId {
        self.home(client.as_str().as_bytes())
    }

    /// The home of a topic's retained message.
    pub(crate) fn home_of_topic(&self, topic: &[u8]) -> ShardId {
        self.home(topic)
    }

    fn shard(&self, shard: ShardId) -> Option<&Running> {
        self.inner.running.get(usize::from(shard.0))
    }

    fn group(&self, shard: ShardId) -> Option<&ShardGroup> {
        self.shard(shard).map(|running| &running.group)
    }

    fn relay(&self, shard: ShardId) -> Option<&RelayMail> {
        self.inner.relays.get(usize::from(shard.0))
    }

    /// Gives a command to a shard; waits while it has too much to do. When the node stops it is lost.
    pub(crate) async fn send(&self, shard: ShardId, command: Command, from: &Arc<Inbox>) {
        let asker = Asker { inbox: Some(Arc::clone(from)), ..Asker::default() };
        let _stopping = self.ask(shard, command, asker).await;
    }

    /// Tells the home of a client that its connection has ended, and waits until that is committed.
    pub(crate) async fn end(&self, shard: ShardId, end: End, from: &Arc<Inbox>) {
        let (applied, committed) = oneshot::channel();
        let asker = Asker { inbox: Some(Arc::clone(from)), applied: Some(applied), ends: true };
        if self.ask(shard, Command::End(end), asker).await.is_some() {
            let _stopping = committed.await;
        }
    }

    async fn ask(&self, shard: ShardId, command: Command, asker: Asker) -> Option<()> {
        let Running { place, group } = self.shard(shard)?;
        if let Command::Receive(_) = command {
            self.relay(shard)?.room().await;
        }
        if let (Command::Connect(_), Some(inbox)) = (&command, &asker.inbox) {
            place.directory.insert(inbox);
        }
        let room = group.room().await.ok()?;
        place.link.send(command, asker, |request| room.propose(Input::Request(request)));
        Some(())
    }

    /// Passes QoS 0 messages on to a shard's connected clients; they are in no log.
    pub(crate) async fn pass_on(&self, shard: ShardId, publish: Publish) {
        if let Some(group) = self.group(shard) {
            let _stopping = group.pass(move |machine| machine.pass_on(&publish)).await;
        }
    }

    /// A page of retained messages; `None` when the node stops. It comes after every publish that was sent to the
    /// shard before it.
    pub(crate) async fn page(&self, shard: ShardId, wanted: PageWanted) -> Option<Page> {
        self.group(shard)?.look(move |machine| machine.page(&wanted)).await.ok()
    }

    /// Publishes a message of the node itself, which no shard stores. Returns what mailboxes had no room
    /// for.
    pub(crate) async fn publish_own(&self, fanout: &Fanout, message: MessageRef) -> Dropped {
        let nobody = ClientId::new("");
        let (parts, dropped) = relay::deliver(fanout, (&nobody, &message), None);
        for part in parts {
            let shard = part.shard;
            let items = vec![part.into_item(0, MessageRef::clone(&message))];
            self.pass_on(shard, Publish { reply_to: None, publisher: nobody.clone(), items }).await;
        }
        dropped
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

    /// Stops all groups, after what is on its way is done.
    pub(crate) async fn stop(&self) {
        for shard in &self.inner.running {
            let _applied = shard.group.look(|_| ()).await;
            shard.group.stop().await;
        }
    }
}

impl Running {
    /// What earlier runs of this node hosted is gone with them.
    async fn end_earlier_runs(&self, host: Host) -> Result<(), Gone> {
        if let Some(incarnation) = host.incarnation.before() {
            self.group.room().await?.propose(Input::Down(Host { incarnation, ..host }));
        }
        Ok(())
    }
}

async fn start_one(
    start: &StartShards<'_>,
    me: ShardNumber,
    (relays, counters): (&Arc<[RelayMail]>, &Arc<NodeCounters>),
) -> anyhow::Result<(Running, tokio::task::JoinHandle<Ended>)> {
    let place = Place {
        link: Arc::new(Link::new(Source::Host(start.host))),
        directory: Arc::default(),
        totals: Totals::default(),
    };
    let delivery = Delivery {
        shard: me.shard,
        fanout: Arc::clone(start.fanout),
        link: Arc::clone(&place.link),
        directory: Arc::clone(&place.directory),
        relays: Arc::clone(relays),
        counters: Arc::clone(counters),
    };
    let group = GroupId(u32::from(me.shard.0) + 1);
    let (state, checkpoint) = start.storage.load(group, me, start.limits)?;
    let machine = ShardMachine::new(state, delivery, start.clock, Totals::clone(&place.totals));
    let clock = start.clock;
    let (group, task) = Group::start(Start {
        node: u64::from(start.host.node.0),
        group,
        timing: Timing::LAN,
        log: start.storage.log(group)?,
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
