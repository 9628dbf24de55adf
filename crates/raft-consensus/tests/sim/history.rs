//! What happened in a run, as far as clients can tell: what was sent, acknowledged and delivered. Filled by the model of
//! the clients; it asks no replica. Each property has its own check over it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mqtt_codec::QoS;
use openraft::type_config::TypeConfigExt;
use openraft::type_config::alias::InstantOf;
use parking_lot::Mutex;
use raft_consensus::types::NodeId;

use crate::replica::{SimTypes, monotonic_ms};

/// A promise, by the file that asserts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Promise {
    Acknowledged,
    Agreement,
    Bounds,
    CrashImages,
    Ended,
    Epochs,
    ExactlyOnce,
    Expiry,
    Floor,
    Liveness,
    Minority,
    Order,
    PacketIds,
    Phantoms,
    Qos2States,
    Retained,
    Shared,
    Streams,
    Subscriptions,
    Wills,
}

/// Something that has to happen now and then, or a run shows nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Sometimes {
    Acknowledged,
    AllLostPower,
    CheckpointsLost,
    ClockJumped,
    DiskFull,
    ExpiredInQueue,
    HostDied,
    LeaderChangeDuringQos2,
    MinorityHeld,
    MinorityRefused,
    Partition,
    QuotaZero,
    Redelivered,
    RetainedScanned,
    SessionExpired,
    SharedRedispatch,
    SnapshotInstalled,
    StaleAck,
    Takeover,
    TornTailCut,
    WillAfterHostDeath,
    WillCancelled,
}

/// Number of a message: its payload begins with it.
pub(crate) type Number = u64;

#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) topic: String,
    pub(crate) qos2: bool,
    /// Who was subscribed before it was sent.
    pub(crate) due: BTreeSet<String>,
    pub(crate) acknowledged: bool,
    /// How often its client sent it, and when it did first.
    pub(crate) times: u32,
    pub(crate) at_ms: u64,
    /// It may expire before it is delivered.
    pub(crate) expires: bool,
}

/// One PUBLISH that reached a client.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    pub(crate) client: String,
    /// Which of the client's sessions.
    pub(crate) session: u64,
    pub(crate) number: Number,
    pub(crate) topic: String,
    /// Its position in the session's queue.
    pub(crate) position: u64,
    pub(crate) qos: QoS,
    pub(crate) at_ms: u64,
    /// A QoS 2 message that the client has and has not released: its receiver leaves it out.
    pub(crate) repeat: bool,
}

/// What became of the connection that a will belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The client got no CONNACK.
    Unknown,
    /// It is connected.
    Open,
    /// DISCONNECT was accepted.
    Discarded,
    /// It was lost, or another connection took its place, at this time or later.
    Lost(u64),
    /// It asked to disconnect, and did not hear whether that counts.
    Asked,
}

#[derive(Clone, Debug)]
pub(crate) struct Willed {
    pub(crate) delay_ms: u64,
    pub(crate) due: BTreeSet<String>,
    pub(crate) fate: Fate,
    /// It was lost with its host.
    pub(crate) host_died: bool,
    /// The client tried to come back.
    pub(crate) tried: bool,
    /// When the client was back; `None` where it never came.
    pub(crate) back_ms: Option<u64>,
}

#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub(crate) sent: BTreeMap<Number, Sent>,
    pub(crate) subscribed: BTreeSet<String>,
    pub(crate) deliveries: Vec<Delivery>,
    pub(crate) wills: BTreeMap<Number, Willed>,
    /// When a session was told to end, by client and session.
    pub(crate) ended: BTreeMap<(String, u64), u64>,
    /// From when to when a client had no subscription.
    pub(crate) without: Vec<(String, u64, u64)>,
    /// From when to when a node was cut off from all others; without an end while it is.
    cut_off: BTreeMap<NodeId, (u64, Option<u64>)>,
    epochs: BTreeMap<String, u64>,
    /// Clients that have asked for a connection, and may have got it without hearing so.
    asked: BTreeSet<String>,
    broken: BTreeMap<Promise, String>,
    sometimes: BTreeMap<Sometimes, u64>,
    /// FNV-1a over all that happened, in its order.
    hash: u64,
}

/// Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct History {
    facts: Arc<Mutex<Facts>>,
    began: InstantOf<SimTypes>,
}

impl Facts {
    fn note(&mut self, what: &str) {
        for byte in what.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
        }
    }

    /// In how many positions of a session's queue a message was.
    pub(crate) fn positions(&self, client: &str, number: Number) -> usize {
        let of = |delivery: &&Delivery| delivery.client == client && delivery.number == number;
        let found = self.deliveries.iter().filter(of).map(|delivery| (delivery.session, delivery.position));
        found.collect::<BTreeSet<_>>().len()
    }

    /// Acknowledged messages that somebody who subscribed before has not got.
    pub(crate) fn missing(&self) -> Vec<(String, Number)> {
        let got: BTreeSet<(&str, Number)> =
            self.deliveries.iter().map(|delivery| (delivery.client.as_str(), delivery.number)).collect();
        let acknowledged = self.sent.iter().filter(|(_, sent)| sent.acknowledged && !sent.expires);
        let due = acknowledged.flat_map(|(number, sent)| sent.due.iter().map(|client| (client, *number)));
        due.filter(|(client, number)| !got.contains(&(client.as_str(), *number)))
            .map(|(client, number)| (client.clone(), number))
            .collect()
    }
}

impl History {
    pub(crate) fn begin() -> Self {
        Self { facts: Arc::default(), began: SimTypes::now() }
    }

    /// Milliseconds since the run began.
    pub(crate) fn now_ms(&self) -> u64 {
        monotonic_ms(self.began)
    }

    pub(crate) fn broken(&self, promise: Promise, how: impl Into<String>) {
        let how = how.into();
        let mut facts = self.facts.lock();
        facts.note(&how);
        facts.broken.entry(promise).or_insert(how);
    }

    pub(crate) fn saw(&self, what: Sometimes) {
        let mut facts = self.facts.lock();
        facts.note(&format!("{what:?}"));
        *facts.sometimes.entry(what).or_default() += 1;
    }

    /// A session that is never ended and gets all from here on.
    pub(crate) fn subscribed(&self, client: &str) {
        self.facts.lock().subscribed.insert(client.to_owned());
    }

    pub(crate) fn sends(&self, number: Number, topic: &str, (qos2, expires): (bool, bool)) {
        let at_ms = self.now_ms();
        let mut facts = self.facts.lock();
        facts.note(&format!("send {number}"));
        let due = if topic.starts_with("t/") { facts.subscribed.clone() } else { BTreeSet::new() };
        let topic = topic.to_owned();
        let sent = Sent { topic, qos2, due, acknowledged: false, times: 0, at_ms, expires };
        facts.sent.entry(number).or_insert(sent).times += 1;
    }

    pub(crate) fn acknowledged(&self, number: Number) {
        let mut facts = self.facts.lock();
        facts.note(&format!("ack {number}"));
        if let Some(sent) = facts.sent.get_mut(&number) {
            sent.acknowledged = true;
        }
        drop(facts);
        self.saw(Sometimes::Acknowledged);
    }

    pub(crate) fn delivered(&self, delivery: Delivery) {
        let mut facts = self.facts.lock();
        facts.note(&format!("{} gets {} at {}", delivery.client, delivery.number, delivery.position));
        facts.deliveries.push(delivery);
    }

    /// A connection of a client whose sessions are never ended was accepted.
    pub(crate) fn connected(&self, client: &str, epoch: u64, present: bool) {
        let mut facts = self.facts.lock();
        facts.note(&format!("{client} is {epoch}"));
        let before = facts.epochs.insert(client.to_owned(), epoch);
        let unheard = before.is_none() && facts.asked.contains(client);
        drop(facts);
        if before.is_some_and(|before| before >= epoch) {
            self.broken(Promise::Epochs, format!("{client} got epoch {epoch} after {before:?}"));
        }
        if before.is_some() != present && !unheard {
            self.broken(
                Promise::Epochs,
                format!("{client} was told session present {present} at epoch {epoch}"),
            );
        }
    }

    /// A connection that a client had asked for is lost before it was told what became of it.
    pub(crate) fn lost_unheard(&self, client: &str) {
        self.facts.lock().asked.insert(client.to_owned());
    }

    /// A client is about to connect with a will.
    pub(crate) fn wills(&self, number: Number, delay_ms: u64) {
        let mut facts = self.facts.lock();
        let due = facts.subscribed.clone();
        facts.wills.insert(
            number,
            Willed { delay_ms, due, fate: Fate::Unknown, host_died: false, tried: false, back_ms: None },
        );
    }

    pub(crate) fn will(&self, number: Number, change: impl FnOnce(&mut Willed)) {
        if let Some(will) = self.facts.lock().wills.get_mut(&number) {
            change(will);
        }
    }

    /// A session is told to end.
    pub(crate) fn ends(&self, client: &str, session: u64) {
        let at_ms = self.now_ms();
        self.facts.lock().ended.insert((client.to_owned(), session), at_ms);
    }

    /// A client had no subscription from then to then.
    pub(crate) fn is_without(&self, client: &str, from_ms: u64, to_ms: u64) {
        self.facts.lock().without.push((client.to_owned(), from_ms, to_ms));
    }

    /// A node reaches no other one from now on.
    pub(crate) fn cut_off(&self, node: NodeId) {
        let now_ms = self.now_ms();
        let mut facts = self.facts.lock();
        let since = facts.cut_off.get(&node).filter(|(_, to)| to.is_none()).map_or(now_ms, |(from, _)| *from);
        facts.cut_off.insert(node, (since, None));
    }

    /// All nodes reach each other again.
    pub(crate) fn reconnected(&self) {
        let now_ms = self.now_ms();
        for (_, to) in self.facts.lock().cut_off.values_mut() {
            to.get_or_insert(now_ms);
        }
    }

    /// For how many milliseconds a node has been cut off from all others, where it is, or was until so long ago at most.
    pub(crate) fn cut_off_for(&self, node: NodeId, ago_ms: u64) -> Option<u64> {
        let now_ms = self.now_ms();
        let (from, to) = *self.facts.lock().cut_off.get(&node)?;
        let counts = to.is_none_or(|to| to + ago_ms > now_ms);
        counts.then(|| to.unwrap_or(now_ms) - from)
    }

    pub(crate) fn look<R>(&self, look: impl FnOnce(&Facts) -> R) -> R {
        look(&self.facts.lock())
    }

    pub(crate) fn outcome(&self) -> Outcome {
        let facts = self.facts.lock();
        Outcome { broken: facts.broken.clone(), sometimes: facts.sometimes.clone(), hash: facts.hash }
    }
}

/// What became of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) broken: BTreeMap<Promise, String>,
    pub(crate) sometimes: BTreeMap<Sometimes, u64>,
    pub(crate) hash: u64,
}
