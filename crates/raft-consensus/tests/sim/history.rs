//! What happened in a run, as far as clients can tell: what was sent, acknowledged and delivered, and by that what was
//! broken. Filled by the model of the clients; it asks no replica.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;

/// A promise, by the file that asserts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Promise {
    Acknowledged,
    ExactlyOnce,
    Epochs,
    PacketIds,
    Phantoms,
    Agreement,
    Liveness,
}

/// Something that has to happen now and then, or a run shows nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Sometimes {
    Acknowledged,
    Redelivered,
    LeaderChangeDuringQos2,
    Takeover,
    StaleAck,
    HostDied,
    TornTailCut,
    SnapshotInstalled,
    AllLostPower,
    Partition,
    MinorityRefused,
    QuotaZero,
}

/// Number of a message: its payload.
pub(crate) type Number = u64;

#[derive(Clone, Debug, Default)]
struct Sent {
    qos2: bool,
    /// Who was subscribed before it was sent.
    due: BTreeSet<String>,
    acknowledged: bool,
}

#[derive(Debug, Default)]
struct Facts {
    sent: BTreeMap<Number, Sent>,
    subscribed: BTreeSet<String>,
    delivered: BTreeMap<(String, Number), u32>,
    epochs: BTreeMap<String, u64>,
    broken: BTreeMap<Promise, String>,
    sometimes: BTreeMap<Sometimes, u64>,
    /// FNV-1a over all that happened, in its order.
    hash: u64,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct History(Arc<Mutex<Facts>>);

impl Facts {
    fn note(&mut self, what: &str) {
        for byte in what.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
        }
    }
}

impl History {
    pub(crate) fn broken(&self, promise: Promise, how: impl Into<String>) {
        let how = how.into();
        let mut facts = self.0.lock();
        facts.note(&how);
        facts.broken.entry(promise).or_insert(how);
    }

    pub(crate) fn saw(&self, what: Sometimes) {
        let mut facts = self.0.lock();
        facts.note(&format!("{what:?}"));
        *facts.sometimes.entry(what).or_default() += 1;
    }

    pub(crate) fn subscribed(&self, client: &str) {
        self.0.lock().subscribed.insert(client.to_owned());
    }

    pub(crate) fn sends(&self, number: Number, qos2: bool) {
        let mut facts = self.0.lock();
        let due = facts.subscribed.clone();
        facts.note(&format!("send {number}"));
        facts.sent.entry(number).or_insert(Sent { qos2, due, acknowledged: false });
    }

    pub(crate) fn acknowledged(&self, number: Number) {
        let mut facts = self.0.lock();
        facts.note(&format!("ack {number}"));
        if let Some(sent) = facts.sent.get_mut(&number) {
            sent.acknowledged = true;
        }
        drop(facts);
        self.saw(Sometimes::Acknowledged);
    }

    pub(crate) fn delivered(&self, client: &str, number: Number) {
        let mut facts = self.0.lock();
        facts.note(&format!("{client} gets {number}"));
        *facts.delivered.entry((client.to_owned(), number)).or_default() += 1;
    }

    pub(crate) fn connected(&self, client: &str, epoch: u64, present: bool) {
        let mut facts = self.0.lock();
        facts.note(&format!("{client} is {epoch}"));
        let before = facts.epochs.insert(client.to_owned(), epoch);
        drop(facts);
        if before.is_some_and(|before| before >= epoch) {
            self.broken(Promise::Epochs, format!("{client} got epoch {epoch} after {before:?}"));
        }
        if before.is_some() != present {
            self.broken(
                Promise::Epochs,
                format!("{client} was told session present {present} at epoch {epoch}"),
            );
        }
    }

    /// Acknowledged messages that somebody who subscribed before has not got.
    pub(crate) fn missing(&self) -> Vec<(String, Number)> {
        let facts = self.0.lock();
        let acknowledged = facts.sent.iter().filter(|(_, sent)| sent.acknowledged);
        let due =
            acknowledged.flat_map(|(number, sent)| sent.due.iter().map(|client| (client.clone(), *number)));
        due.filter(|due| !facts.delivered.contains_key(due)).collect()
    }

    /// Holds what was delivered against what was sent.
    pub(crate) fn check(&self) {
        let (delivered, sent) = {
            let facts = self.0.lock();
            (facts.delivered.clone(), facts.sent.clone())
        };
        for ((client, number), times) in delivered {
            match sent.get(&number) {
                None => self.broken(Promise::Phantoms, format!("{client} got {number}, which nobody sent")),
                Some(sent) if sent.qos2 && times > 1 => {
                    self.broken(Promise::ExactlyOnce, format!("{client} got {number} {times} times"));
                }
                Some(_) => {}
            }
        }
        for (client, number) in self.missing() {
            self.broken(
                Promise::Acknowledged,
                format!("{client} never got {number}, which was acknowledged"),
            );
        }
    }

    pub(crate) fn outcome(&self) -> Outcome {
        let facts = self.0.lock();
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
