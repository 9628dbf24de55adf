//! The streams of publishes between this host and the others: what connections and relays here have for transient sessions
//! there, and what the others have for those here. A frame that came is delivered by this node's own view; entering one
//! waits for nobody, and a subscriber that is slow loses messages.

mod again;
mod peers;
mod way;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use mqtt_codec::{QoS, ReasonCode};
use node_routing::frames::{Answered, Arrival, Receiving, Sending};
use node_routing::view::RouteView;
use parking_lot::Mutex;
use raft_consensus::cluster::LowestLive;
use session_store::command::{Publish, PublishItem};
use session_store::word::{Frame, FramePart, GroupMembers, Heard, Nobody, Word};
use session_store::{Host, NodeId};
use tokio::sync::watch;
use tokio::time::{Instant, interval};

use self::again::Again;
#[cfg(test)]
pub(crate) use self::peers::HostPeers;
pub(crate) use self::peers::SaysToHosts;
pub(crate) use self::way::Asker;
use self::way::Way;
use crate::counters::NodeCounters;
use crate::fanout::Fanout;
use crate::inbox::{Dropped, Run};
use crate::latest::{Latest, is_qos0};
use crate::lease::Lease;
use crate::shard::{Shards, ShardsRef};

/// How often it is looked at who answers nothing. What is silent for one to two of these is told everything again.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often a host is told at most how many members groups have here.
const HINTS_EVERY: Duration = Duration::from_millis(100);

/// What streams are made of.
pub(crate) struct StartStreams {
    /// This run of the node.
    pub(crate) me: Host,
    /// Who is here.
    pub(crate) fanout: Arc<Fanout>,
    /// Which connections are fenced.
    pub(crate) routes: Arc<RouteView>,
    /// Which runs are dead.
    pub(crate) live: watch::Receiver<LowestLive>,
    /// How the others are spoken to.
    pub(crate) says: Arc<dyn SaysToHosts>,
    /// What may be acted on.
    pub(crate) lease: Lease,
    /// Whose messages come too late.
    pub(crate) latest: Latest,
    /// What is counted here alone.
    pub(crate) counters: Arc<NodeCounters>,
}

/// What came from others, under one lock: each frame is delivered before the next is looked at.
struct Hearing {
    receiving: Receiving,
    /// When each node was last told of members.
    hinted: BTreeMap<NodeId, Instant>,
}

struct Inner {
    start: StartStreams,
    ways: Mutex<BTreeMap<Host, Arc<Way>>>,
    hearing: Mutex<Hearing>,
    /// What found no member of its group where it was sent.
    again: Again,
    /// Known once they have started.
    shards: OnceLock<ShardsRef>,
}

/// The streams of one node. Clones are the same.
#[derive(Clone)]
pub(crate) struct Streams {
    inner: Arc<Inner>,
}

impl std::fmt::Debug for Streams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Streams({:?})", self.inner.start.me)
    }
}

impl Streams {
    /// Of a run that begins.
    pub(crate) fn new(start: StartStreams) -> Self {
        let hearing = Hearing { receiving: Receiving::new(start.me), hinted: BTreeMap::new() };
        let (ways, again, shards) = (Mutex::default(), Again::default(), OnceLock::new());
        Self { inner: Arc::new(Inner { start, ways, hearing: Mutex::new(hearing), again, shards }) }
    }

    fn is_dead(&self, host: Host) -> bool {
        let live = self.inner.start.live.borrow();
        live.get(&host.node).is_some_and(|lowest| host.incarnation < *lowest)
    }

    fn way(&self, to: Host) -> Arc<Way> {
        let mut ways = self.inner.ways.lock();
        Arc::clone(ways.entry(to).or_insert_with(|| Arc::new(Way::new(self.inner.start.me, to))))
    }

    /// Sends publishes of a client to a host; waits while there is no room. QoS 0 is not waited for, and dropped then:
    /// returns how many were.
    pub(crate) async fn send(&self, to: Host, part: FramePart, asker: Asker) -> u64 {
        let way = self.way(to);
        if !way.has_room() {
            if part.publish.items.iter().all(|item| item.message.qos == QoS::AtMostOnce) {
                return part.publish.items.len() as u64;
            }
            way.room().await;
        }
        self.push(&way, part, asker);
        0
    }

    /// The same without waiting: by whoever has a bound of its own.
    pub(crate) fn send_now(&self, to: Host, part: FramePart, asker: Asker) {
        self.push(&self.way(to), part, asker);
    }

    fn push(&self, way: &Way, part: FramePart, asker: Asker) {
        let too_large = |item: &PublishItem| item.size() > self.inner.start.says.item_bytes_max();
        if part.publish.items.iter().any(too_large) {
            // No node takes it; it costs its connection, as where the log cannot hold it.
            tracing::error!(target: "quelea", to = %way.to, "a message is too large for another node");
            return asker.refuse(ReasonCode::PacketTooLarge);
        }
        if !self.is_dead(way.to)
            && let Some(sending) = way.sending.lock().as_mut()
        {
            sending.push(part, asker);
            return self.say_next(sending, way.to);
        }
        let answered = Answered { frame: way.unsaid(part), askers: vec![asker], nobody: Vec::new() };
        self.settle_dead(way.to, vec![answered], |_| true);
    }

    /// Under the lock of the way, so that frames are said in their order.
    fn say_next(&self, sending: &mut Sending<Asker>, to: Host) {
        while let Some(frame) = sending.cut() {
            self.inner.start.says.say(to.node, Word::Frame(frame));
        }
    }

    fn say_again(&self, way: &Way) {
        let sending = way.sending.lock();
        let again = sending.as_ref().map(Sending::again).unwrap_or_default();
        again.into_iter().for_each(|frame| self.inner.start.says.say(way.to.node, Word::Frame(frame)));
    }

    /// Another host says something. Never waits.
    pub(crate) fn hear(&self, word: Word) {
        match word {
            Word::Frame(frame) => self.hear_frame(&frame),
            Word::Heard(heard) => self.hear_answer(&heard),
            // What is said about a shard is for its home.
            _ => {}
        }
    }

    /// Something that was said to a node, or by it, may be lost.
    pub(crate) fn lost(&self, node: NodeId) {
        self.ways_to(|host| host.node == node).iter().for_each(|way| self.say_again(way));
    }

    fn ways_to(&self, wanted: impl Fn(Host) -> bool) -> Vec<Arc<Way>> {
        let ways = self.inner.ways.lock();
        ways.values().filter(|way| wanted(way.to)).cloned().collect()
    }

    fn hear_frame(&self, frame: &Frame) {
        let mut hearing = self.inner.hearing.lock();
        let arrival = {
            let live = self.inner.start.live.borrow();
            hearing.receiving.arrive(frame, &live)
        };
        match arrival {
            Arrival::Refused => {
                return tracing::debug!(from = %frame.source, to = %frame.target, "a frame for or of a run that is over");
            }
            Arrival::GapAgain => return,
            Arrival::Gap | Arrival::Repeat => {}
            Arrival::New => {
                let nobody = self.deliver(frame);
                hearing.receiving.took(frame, nobody);
            }
        }
        let mut heard = hearing.receiving.heard(frame.source, arrival == Arrival::Gap);
        if arrival == Arrival::New {
            heard.members = self.members(frame, &mut hearing);
        }
        // Under the lock, so that no answer comes behind one that says more.
        self.inner.start.says.say(frame.source.node, Word::Heard(heard));
    }

    /// The members that the groups of a frame have here, if its source was not told of members just now.
    fn members(&self, frame: &Frame, hearing: &mut Hearing) -> Vec<GroupMembers> {
        let now = Instant::now();
        let last = hearing.hinted.get(&frame.source.node);
        if last.is_some_and(|last| now.duration_since(*last) < HINTS_EVERY) {
            return Vec::new();
        }
        let items = frame.parts.iter().flat_map(|part| &part.publish.items);
        let groups: std::collections::BTreeSet<_> =
            items.flat_map(|item| &item.groups).map(|pick| Arc::clone(&pick.group)).collect();
        if !groups.is_empty() {
            hearing.hinted.insert(frame.source.node, now);
        }
        groups.into_iter().map(|group| self.inner.start.fanout.members_here(group)).collect()
    }

    /// Leaves what is in a frame with those here who get it; gives what found no member of its group.
    fn deliver(&self, frame: &Frame) -> Vec<Nobody> {
        let mut nobody = Vec::new();
        let mut dropped = Dropped::default();
        for (number, part) in (0..).zip(&frame.parts) {
            let Publish { publisher, reply_to, .. } = &part.publish;
            if reply_to.is_some_and(|connection| !self.inner.start.routes.admits_connection(connection)) {
                // Its client was taken over, and goes on without it.
                continue;
            }
            let late = self.inner.start.latest.is_late(&part.publish);
            let is_due = |item: &PublishItem| !(late && is_qos0(item));
            dropped.add(self.deliver_ordinary(part, is_due));
            for (item_number, item) in (0..).zip(&part.publish.items).filter(|(_, item)| is_due(item)) {
                for pick in &item.groups {
                    match self.inner.start.fanout.give_here(&pick.group, publisher, &item.message) {
                        Some(given) => dropped.add(given),
                        None => nobody.push(Nobody {
                            frame: frame.number,
                            part: number,
                            item: item_number,
                            group: Arc::clone(&pick.group),
                        }),
                    }
                }
            }
        }
        self.inner.start.counters.count_dropped(dropped);
        nobody
    }

    /// Messages of one topic in a row are matched once, and each subscriber gets them together.
    fn deliver_ordinary(&self, part: &FramePart, is_due: impl Fn(&PublishItem) -> bool) -> Dropped {
        let mut dropped = Dropped::default();
        let is_new = |item: &&PublishItem| item.sessions && is_due(item) && self.claim(part, item.number);
        let items: Vec<&PublishItem> = part.publish.items.iter().filter(is_new).collect();
        let same = |a: &&PublishItem, b: &&PublishItem| a.message.body.topic() == b.message.body.topic();
        for run in items.chunk_by(same) {
            let Some(first) = run.first() else { continue };
            for target in &self.inner.start.fanout.match_here(first.message.body.topic()).locals {
                let messages = run.iter().map(|item| &item.message);
                dropped.add(target.inbox.deliver(Run { messages, copy: &target.copy, group: None }));
            }
        }
        dropped
    }

    /// Whether ordinary subscribers here have not had this yet: what comes from an outbox may come from two leaders.
    fn claim(&self, part: &FramePart, position: u64) -> bool {
        let Some(outbox) = part.outbox else { return true };
        self.inner.shards().is_none_or(|shards| shards.claim(outbox.0, position))
    }

    fn hear_answer(&self, heard: &Heard) {
        if heard.source != self.inner.start.me {
            return;
        }
        let Some(way) = self.inner.ways.lock().get(&heard.target).cloned() else { return };
        let answered = {
            let mut sending = way.sending.lock();
            let Some(sending) = sending.as_mut() else { return };
            let answered = sending.heard(heard);
            let again = if heard.gap { sending.again() } else { Vec::new() };
            again.into_iter().for_each(|frame| self.inner.start.says.say(way.to.node, Word::Frame(frame)));
            self.say_next(sending, way.to);
            answered
        };
        way.has_progress();
        answered.into_iter().for_each(|answered| self.settle(way.to, answered));
        self.inner.start.fanout.members_heard(heard.target, &heard.members);
    }

    /// Tells those who waited for a frame; what found nobody is for another member of its group.
    fn settle(&self, to: Host, answered: Answered<Asker>) {
        let Answered { frame, askers, mut nobody } = answered;
        for ((number, part), asker) in (0..).zip(&frame.parts).zip(askers) {
            let mut numbers: Vec<u64> = part.publish.items.iter().map(|item| item.number).collect();
            let (mine, others): (Vec<_>, Vec<_>) = nobody.into_iter().partition(|of| of.part == number);
            nobody = others;
            if !mine.is_empty() && !asker.picks_itself() {
                let missed =
                    mine.iter().map(|of| of.item as usize).collect::<std::collections::BTreeSet<_>>();
                for item in missed {
                    let Some(found) = part.publish.items.get(item) else { continue };
                    numbers.get_mut(item).into_iter().for_each(|number| *number = 0);
                    let of_it = mine.iter().filter(|of| of.item as usize == item);
                    let groups = of_it.map(|of| Arc::clone(&of.group)).collect();
                    let publisher = part.publish.publisher.clone();
                    self.inner.again.put(
                        (part.publish.reply_to, publisher),
                        (found, groups),
                        (to, asker.inbox()),
                    );
                }
            }
            asker.answer(&numbers, mine.is_empty());
        }
    }

    /// What was sent to a run that is dead counts as answered: its subscribers are gone. Messages of groups go to other
    /// members; those of QoS 2 that it may have given to one go to nobody.
    fn settle_dead(&self, to: Host, answered: Vec<Answered<Asker>>, unsaid: impl Fn(u64) -> bool) {
        let mut in_doubt = 0;
        for mut answered in answered {
            let frame = Arc::clone(&answered.frame);
            for (part_number, part) in (0..).zip(&frame.parts) {
                for (item_number, item) in (0..).zip(&part.publish.items) {
                    let goes_on = match item.message.qos {
                        QoS::AtMostOnce => false,
                        QoS::AtLeastOnce => true,
                        QoS::ExactlyOnce => unsaid(frame.number),
                    };
                    if !goes_on {
                        in_doubt +=
                            u64::from(item.message.qos == QoS::ExactlyOnce) * item.groups.len() as u64;
                        continue;
                    }
                    answered.nobody.extend(item.groups.iter().map(|pick| Nobody {
                        frame: frame.number,
                        part: part_number,
                        item: item_number,
                        group: Arc::clone(&pick.group),
                    }));
                }
            }
            self.settle(to, answered);
        }
        if in_doubt > 0 {
            let _hearing = self.inner.hearing.lock();
            self.inner.start.counters.qos2_in_doubt.add(in_doubt);
        }
    }

    /// Lets go of the ways to runs that are dead.
    fn bury(&self) {
        let dead = self.ways_to(|host| self.is_dead(host));
        for way in dead {
            self.inner.ways.lock().remove(&way.to);
            let (said, unsaid) = way.give_up();
            self.settle_dead(way.to, said, |_| false);
            let unsaid = unsaid.into_iter().map(|(part, asker)| Answered {
                frame: way.unsaid(part),
                askers: vec![asker],
                nobody: Vec::new(),
            });
            self.settle_dead(way.to, unsaid.collect(), |_| true);
        }
    }

    /// Keeps the streams, until the node stops.
    pub(crate) async fn run(self, shards: ShardsRef) {
        let _set_once = self.inner.shards.set(shards);
        let mut live = self.inner.start.live.clone();
        let mut looks = interval(LOOK_EVERY);
        let mut placing = tokio::task::JoinSet::new();
        loop {
            tokio::select! {
                changed = live.changed() => if changed.is_err() { return },
                _ = looks.tick() => {
                    let silent: Vec<Arc<Way>> = self.ways_to(|_| true);
                    silent.iter().filter(|way| way.is_silent()).for_each(|way| self.say_again(way));
                }
                next = self.inner.again.next(), if placing.len() < again::PLACING_MAX => {
                    placing.spawn(self.clone().place(next));
                }
                Some(_placed) = placing.join_next() => {}
            }
            self.bury();
        }
    }
}

impl Inner {
    fn lease(&self) -> &Lease {
        &self.start.lease
    }

    fn shards(&self) -> Option<Shards> {
        self.shards.get().and_then(ShardsRef::get)
    }
}
