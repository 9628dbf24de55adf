//! The shards: a Raft group each, around a `session_store::Shard` and those who carry out what it decides. Connections
//! send numbered requests to whoever leads a shard; a shard never waits for a connection.

mod abroad;
mod announces;
mod backlog;
mod begin;
mod courier;
mod delivery;
mod directory;
mod dispatch;
mod drains;
mod guests;
mod held;
mod home;
mod in_flight;
mod lane;
mod leader;
mod link;
mod linked;
mod machine;
mod overtaken;
mod pages;
mod parked;
mod parts;
mod peers;
mod picking;
mod relay;
mod requests;
mod sending;
mod settled;
mod staged;
mod start;
mod weight;

use std::sync::{Arc, Weak};
use std::time::Duration;

use mqtt_codec::ReasonCode;
use raft_consensus::group::{self, Group, NoRoom};
use raft_consensus::types::{NodeId, TokioTypes};
use raft_consensus::wal::Room;
use session_store::command::{Command, End, Input, PublishItem};
use session_store::counters::{QueueCounters, ShardCounters};
use session_store::failpoint::{self, Mutant};
pub(crate) use session_store::word::{Page, PageWanted};
use session_store::{ClientId, Host, MessageRef, Request, ShardSizes};
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

pub(crate) use self::directory::Away;
pub(crate) use self::dispatch::Dispatch;
use self::drains::Drains;
pub(crate) use self::held::HELD_MAX;
use self::home::Home;
use self::link::RoomHere;
pub(crate) use self::linked::Linked;
pub(crate) use self::machine::ShardMachine;
use self::pages::StoredPages;
pub(crate) use self::pages::caught_up;
pub(crate) use self::peers::Peers;
use self::peers::Word;
pub(crate) use self::staged::{Publisher, Staged, ToShard};
pub(crate) use self::start::{Members, StartShards};
use crate::cluster::Among;
use crate::fanout::Fanout;
use crate::inbox::{Dropped, Inbox};
use crate::others::Others;

/// How long the shards may take to finish what is on its way when the node stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// The group of one shard.
pub(crate) type ShardGroup = Group<TokioTypes, ShardMachine>;

/// This node's replica of one shard.
struct Replica {
    group: ShardGroup,
}

struct Inner {
    host: Host,
    replicas: Vec<Replica>,
    homes: Arc<[Home]>,
    peers: Peers,
    /// Whether the log has space.
    room: watch::Receiver<Room>,
    /// What those have of it who come back while there is none.
    drains: Drains,
    /// Where messages of queues are that have left memory.
    stored: StoredPages,
    /// What tells which connections are fenced; nothing on a node without peers.
    among: Option<Among>,
    /// What a node with peers has besides.
    others: Option<Others>,
}

/// The same, by whoever does not keep them.
#[derive(Clone)]
pub(crate) struct ShardsRef(Weak<Inner>);

impl ShardsRef {
    /// The shards; `None` once the node has let go of them.
    pub(crate) fn get(&self) -> Option<Shards> {
        self.0.upgrade().map(|inner| Shards { inner })
    }
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

impl Shards {
    /// The present run of the node, as the host of its connections.
    pub(crate) fn host(&self) -> Host {
        self.inner.host
    }

    /// This node, as the log knows it.
    fn node(&self) -> NodeId {
        delivery::node_of(self.inner.host)
    }

    /// The same, without keeping them.
    pub(crate) fn downgrade(&self) -> ShardsRef {
        ShardsRef(Arc::downgrade(&self.inner))
    }

    /// Gives a command to a shard and waits until it is applied; when the node stops it is lost.
    pub(crate) async fn send_applied(&self, shard: u16, command: Command) {
        let (applied, committed) = oneshot::channel();
        let asker = link::Asker { applied: Some(applied), ..link::Asker::default() };
        if self.ask(shard, command, asker).await.is_some() {
            let _stopping = committed.await;
        }
    }

    /// The groups.
    pub(crate) fn groups(&self) -> impl Iterator<Item = ShardGroup> {
        self.inner.replicas.iter().map(|replica| replica.group.clone())
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u16 {
        u16::try_from(self.inner.replicas.len()).unwrap_or(u16::MAX)
    }

    fn home_of(&self, key: &[u8]) -> u16 {
        let shard = fnv1a(key) % u64::from(self.count().max(1));
        u16::try_from(shard).unwrap_or(0)
    }

    /// The home of a client.
    pub(crate) fn home_of_client(&self, client: &ClientId) -> u16 {
        self.home_of(client.as_str().as_bytes())
    }

    /// The home of a topic's retained message.
    pub(crate) fn home_of_topic(&self, topic: &[u8]) -> u16 {
        self.home_of(topic)
    }

    fn home(&self, shard: u16) -> Option<&Home> {
        self.inner.homes.get(usize::from(shard))
    }

    fn group(&self, shard: u16) -> Option<&ShardGroup> {
        self.inner.replicas.get(usize::from(shard)).map(|replica| &replica.group)
    }

    /// Says something about a shard to a node, or to this one.
    fn tell(&self, to: NodeId, shard: u16, word: Word) {
        self.inner.peers.tell(to, shard, word);
    }

    /// Gives a command to a shard; waits while it has too much to do. When the node stops it is lost.
    pub(crate) async fn send(&self, to: ToShard, from: &Arc<Inbox>) {
        let ToShard { shard, command, flight, .. } = to;
        let asker = link::Asker { inbox: Some(Arc::clone(from)), flight, ..link::Asker::default() };
        let _stopping = self.give(shard, command, asker).await;
    }

    /// QoS 0 messages go past the log to those who are connected, everything else into it. They may overtake what
    /// others wait for, and nothing of their own publisher, that may have messages of the same topic in the log: those
    /// that are retained, or came together with others (`[MQTT-4.6.0-6]`).
    async fn give(&self, shard: u16, command: Command, asker: link::Asker) -> Option<()> {
        let asking = asker.inbox.as_ref().is_some_and(|inbox| inbox.is_asking());
        match command {
            Command::Publish(publish) if !asking && !publish.items.iter().any(PublishItem::is_logged) => {
                match self.home(shard)?.link.leader() {
                    Some(leader) if leader != self.node() => {
                        self.inner.peers.room(leader).await;
                        self.tell(leader, shard, Word::PassOn(publish));
                    }
                    _ => {
                        let bytes = weight::publish(&publish).bytes;
                        self.group(shard)?
                            .pass(bytes, move |machine| machine.pass_on(&publish))
                            .await
                            .ok()?;
                    }
                }
                Some(())
            }
            command => self.ask(shard, command, asker).await,
        }
    }

    /// Tells the home of a client that its connection has ended, and waits until that is committed.
    pub(crate) async fn end(&self, shard: u16, end: End, from: &Arc<Inbox>) {
        let (applied, committed) = oneshot::channel();
        let (inbox, applied) = (Some(Arc::clone(from)), Some(applied));
        let asker = link::Asker { inbox, applied, ends: true, flight: None };
        if self.ask(shard, Command::End(end), asker).await.is_some() {
            let _stopping = committed.await;
        }
    }

    /// Gives a command its number and puts it into the log, or has it wait for space before that.
    async fn ask(&self, shard: u16, command: Command, asker: link::Asker) -> Option<()> {
        let parked = &self.home(shard)?.parked;
        if let Some(inbox) = &asker.inbox {
            inbox.ask();
        }
        let overtakes = asker.ends && !asker.inbox.as_ref().is_some_and(|inbox| inbox.is_parked());
        if (self.is_held(shard) || !parked.is_empty()) && !command.frees() && !overtakes {
            parked.put(command, asker).await;
            return Some(());
        }
        self.put(shard, command, asker).await
    }

    async fn put(&self, shard: u16, command: Command, asker: link::Asker) -> Option<()> {
        let home = self.home(shard)?;
        if let Command::Receive(_) = command {
            home.outbox_room().await;
        }
        let (_here, room) = match self.room_for(home, shard, &command).await {
            Ok(room) => room,
            Err(NoRoom::Gone) => return None,
            Err(too_large @ NoRoom::TooLarge { .. }) => {
                // Nothing that the codec lets in is as large; if it were, it would cost its connection and not the node.
                tracing::error!(target: "quelea", shard, %too_large, "a request is refused");
                asker.inbox.iter().for_each(|inbox| inbox.end(ReasonCode::PacketTooLarge));
                return None;
            }
        };
        if let (Command::Connect(_), Some(inbox)) = (&command, &asker.inbox) {
            home.directory.insert(inbox);
        }
        let is_elsewhere = || home.link.leader().is_some_and(|leader| leader != self.node());
        if failpoint::has(Mutant::AckBeforeCommit)
            || failpoint::has(Mutant::AckBeforeRemote) && is_elsewhere()
        {
            asker.answer_early(&command);
        }
        home.link.send(command, asker, |leader, request| {
            if leader == self.node() {
                let request = overtaken::unless_fenced(request, self.inner.among.as_ref());
                room.propose(Input::Request(request));
            } else {
                self.tell(leader, shard, Word::Requests(vec![request]));
            }
        });
        Some(())
    }

    /// Room for a request with its host, and at the shard; waits for both.
    async fn room_for<'a>(
        &'a self,
        home: &'a Home,
        shard: u16,
        command: &Command,
    ) -> Result<(RoomHere<'a>, group::Room<'a, ShardMachine>), NoRoom> {
        let group = self.group(shard).ok_or(NoRoom::Gone)?;
        if let Some(leader) = home.link.leader() {
            self.inner.peers.room(leader).await;
        }
        let bytes = weight::command(command).bytes;
        // Where another node leads this is a bound like any other.
        home.link.room_and(|| group.room_for(bytes)).await
    }

    /// Brings requests to the leader of a shard, again or of a shard's outbox. What gets lost on the way is not missed
    /// here: whoever sends them waits for their answers.
    async fn carry(&self, leader: NodeId, shard: u16, requests: Vec<Arc<Request>>) {
        if leader != self.node() {
            for word in requests::in_words(requests) {
                self.inner.peers.room(leader).await;
                self.tell(leader, shard, Word::Requests(word));
            }
            return;
        }
        let Some(group) = self.group(shard) else { return };
        for request in requests {
            let request = overtaken::unless_fenced(request, self.inner.among.as_ref());
            let Ok(()) = leader::propose(group, request).await else { return };
        }
    }

    /// Publishes a message of the node itself, which no shard stores. Returns what mailboxes had no room
    /// for.
    pub(crate) async fn publish_own(&self, fanout: &Arc<Fanout>, message: &MessageRef) -> Dropped {
        let mut dispatch = Dispatch::new(fanout);
        dispatch.publish(&ClientId::new(""), (message, 0), None);
        let dispatched = dispatch.finish();
        for ToShard { shard, command, .. } in dispatched.commands {
            let _stopping = self.give(shard, command, link::Asker::default()).await;
        }
        dispatched.dropped
    }

    /// CONNECTs of this host that wait for another connection of their client to stop.
    #[cfg(test)]
    pub(crate) fn deferred(&self) -> usize {
        self.inner.homes.iter().map(|home| home.link.deferred().len()).sum()
    }

    /// How many shards this node leads.
    pub(crate) fn led(&self) -> usize {
        let leads = |replica: &&Replica| replica.group.leadership().now().leader == Some(self.node());
        self.inner.replicas.iter().filter(leads).count()
    }

    /// How many targets of the outboxes that this node sends lack something that others were given.
    pub(crate) fn lagging(&self) -> usize {
        self.inner.homes.iter().map(|home| home.relay.lagging()).sum()
    }

    /// How much all shards hold.
    pub(crate) async fn sizes(&self) -> ShardSizes {
        let mut sum = ShardSizes::default();
        for replica in &self.inner.replicas {
            if let Ok(sizes) = replica.group.look_now(|state| state.machine().sizes()).await {
                sum.add(&sizes);
            }
        }
        sum
    }

    /// What all shards counted.
    pub(crate) fn totals(&self) -> (ShardCounters, QueueCounters) {
        let mut sum = (ShardCounters::default(), QueueCounters::default());
        for home in self.inner.homes.iter() {
            let totals = home.totals.lock();
            sum.0.add(&totals.0);
            sum.1.add(&totals.1);
        }
        sum
    }

    /// Waits until everything that was proposed here so far is applied; `false` when the node stops.
    pub(crate) async fn applied(&self) -> bool {
        for replica in &self.inner.replicas {
            if replica.group.look(|_| ()).await.is_err() {
                return false;
            }
        }
        true
    }

    /// Stops all groups, after what is on its way is done, unless that has to wait for space.
    pub(crate) async fn stop(&self) {
        let _late = timeout(STOP_TIMEOUT, self.applied()).await;
        self.inner.peers.leave(self.node());
        for replica in &self.inner.replicas {
            replica.group.stop().await;
        }
    }
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
