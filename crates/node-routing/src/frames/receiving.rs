//! What has come to this run from the others: up to which frame of each it is in memory. Kept by the host that hears; it
//! delivers nothing itself.

use std::collections::BTreeMap;

use raft_consensus::cluster::LowestLive;
use session_store::failpoint::{self, Mutant};
use session_store::word::{Frame, Heard, Nobody};
use session_store::{Host, Incarnation, NodeId};

/// What is to be done with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// It is the next one: to be delivered, and then [`Receiving::took`].
    New,
    /// It was delivered before: to be answered again.
    Repeat,
    /// The one before it is missing: to be answered with the last one there is.
    Gap,
    /// The same, and its source was told already.
    GapAgain,
    /// It is for another run of this node, or from one that is dead: nobody waits for an answer.
    Refused,
}

/// The stream from one run of a node, at its target.
#[derive(Debug)]
struct From {
    incarnation: Incarnation,
    /// All up to this one are in memory.
    last: u64,
    /// Its source was told that something behind `last` is missing.
    gap_told: bool,
    /// What found nobody, of frames whose answer their source may not have.
    nobody: BTreeMap<u64, Vec<Nobody>>,
}

/// The streams that end at one run of a node: one from each node, of its latest run.
#[derive(Debug)]
pub struct Receiving {
    me: Host,
    from: BTreeMap<NodeId, From>,
}

impl Receiving {
    /// Nothing has come yet.
    #[must_use]
    pub fn new(me: Host) -> Self {
        Self { me, from: BTreeMap::new() }
    }

    /// Looks at a frame that came; `live` says of each node which is its lowest run that is not dead.
    pub fn arrive(&mut self, frame: &Frame, live: &LowestLive) -> Arrival {
        let Host { node, incarnation } = frame.source;
        let lowest = live.get(&node).copied().unwrap_or_default();
        let known = self.from.get(&node).map_or(lowest, |from| from.incarnation.max(lowest));
        if frame.target != self.me || incarnation < known {
            return Arrival::Refused;
        }
        let new = || From { incarnation, last: 0, gap_told: false, nobody: BTreeMap::new() };
        let from = self.from.entry(node).or_insert_with(new);
        if from.incarnation < incarnation {
            *from = new();
        }
        from.nobody = from.nobody.split_off(&frame.done_below);
        if frame.number <= from.last {
            return Arrival::Repeat;
        }
        if frame.predecessor <= from.last || failpoint::has(Mutant::SkipPredecessor) {
            return Arrival::New;
        }
        if std::mem::replace(&mut from.gap_told, true) { Arrival::GapAgain } else { Arrival::Gap }
    }

    /// A frame was delivered; for some of it there was nobody.
    pub fn took(&mut self, frame: &Frame, nobody: Vec<Nobody>) {
        if let Some(from) = self.from.get_mut(&frame.source.node) {
            from.last = frame.number;
            from.gap_told = false;
            if !nobody.is_empty() {
                from.nobody.insert(frame.number, nobody);
            }
        }
    }

    /// What to tell a source; `gap` says that something is missing.
    #[must_use]
    pub fn heard(&self, source: Host, gap: bool) -> Heard {
        let from = self.from.get(&source.node).filter(|from| from.incarnation == source.incarnation);
        let nobody = from.map(|from| from.nobody.values().flatten().cloned().collect());
        Heard {
            source,
            target: self.me,
            up_to: from.map_or(0, |from| from.last),
            gap,
            nobody: nobody.unwrap_or_default(),
            members: Vec::new(),
        }
    }
}
