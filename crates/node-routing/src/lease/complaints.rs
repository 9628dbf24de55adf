//! Who is not reached by whom, as the holders of leases report it, and who of two that do not reach each other goes.
//! Owned by [`super::Leases`]; a plain table over plain times.

use std::collections::{BTreeMap, BTreeSet};

use session_store::{Host, NodeId};

use super::moment::Moment;
use super::profile::UNREACHED_MAX;

/// A node that gets no lease.
#[derive(Debug)]
struct Barred {
    /// The run that was complained of. It may be taken for dead; a later run of the node waits and lives.
    run: Host,
    /// Who has reported to reach the node since.
    reached_by: BTreeSet<NodeId>,
}

/// The reports, and what follows of them.
///
/// To reach another node is to have an answer from it: a way that is broken in one direction is broken for both, so that
/// a node that nobody hears has the most complaints against it, and not those whom it complains of.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    /// Since when the first does not reach the second.
    since: BTreeMap<(NodeId, NodeId), Moment>,
    barred: BTreeMap<NodeId, Barred>,
}

impl Complaints {
    /// `by` reaches these, and no other of `members`.
    pub(super) fn report(
        &mut self,
        by: NodeId,
        reached: &[NodeId],
        members: impl Iterator<Item = NodeId>,
        now: Moment,
    ) {
        for about in members.filter(|about| *about != by) {
            let reaches = reached.contains(&about);
            if reaches {
                self.since.remove(&(by, about));
            } else {
                self.since.entry((by, about)).or_insert(now);
            }
            if let Some(barred) = self.barred.get_mut(&about) {
                if reaches {
                    barred.reached_by.insert(by)
                } else {
                    barred.reached_by.remove(&by)
                };
            }
        }
    }

    /// All that was complained of has to be complained of anew.
    pub(super) fn begin_anew(&mut self) {
        self.since.clear();
    }

    /// Another run of this node has begun, or the last one has ended: what was said by it and about it is over.
    pub(super) fn forget(&mut self, node: NodeId) {
        self.since.retain(|(by, about), _| *by != node && *about != node);
        for barred in self.barred.values_mut() {
            barred.reached_by.remove(&node);
        }
    }

    /// Decides among these runs, of which some hold a lease: whoever has the most ripe complaints by holders goes, of those
    /// with as many the one with the higher number, and what it complained of itself counts no more. The leader stays:
    /// who complains to it reaches it.
    pub(super) fn decide(&mut self, runs: &[(Host, bool)], leader: NodeId, now: Moment) {
        let others: Vec<Host> = runs.iter().map(|(run, _)| *run).filter(|run| run.node != leader).collect();
        while let Some(run) = self.worst(runs, &others, now) {
            self.barred.insert(run.node, Barred { run, reached_by: BTreeSet::new() });
        }
        let barred: BTreeSet<NodeId> = self.barred.keys().copied().collect();
        let holders: Vec<NodeId> = runs.iter().filter(|(_, holds)| *holds).map(|(run, _)| run.node).collect();
        self.barred.retain(|node, entry| {
            let mut judges =
                holders.iter().filter(|judge| *judge != node && !barred.contains(judge)).peekable();
            judges.peek().is_none() || !judges.all(|judge| entry.reached_by.contains(judge))
        });
    }

    fn worst(&self, runs: &[(Host, bool)], others: &[Host], now: Moment) -> Option<Host> {
        let is_judge = |node: NodeId| {
            runs.iter().any(|(run, holds)| *holds && run.node == node) && !self.is_barred(node)
        };
        let ripe = |by: NodeId, about: NodeId| {
            self.since.get(&(by, about)).is_some_and(|since| now.since(*since) >= UNREACHED_MAX)
        };
        let count = |about: NodeId| {
            self.since.keys().filter(|(by, of)| *of == about && is_judge(*by) && ripe(*by, about)).count()
        };
        let accused = others.iter().copied().filter(|run| !self.is_barred(run.node));
        let counted = accused.map(|run| (count(run.node), run)).filter(|(count, _)| *count > 0);
        counted.max().map(|(_, run)| run)
    }

    /// Whether the node gets no lease.
    pub(super) fn is_barred(&self, node: NodeId) -> bool {
        self.barred.contains_key(&node)
    }

    /// Whether this is the run for which its node was barred.
    pub(super) fn condemns(&self, run: Host) -> bool {
        self.barred.get(&run.node).is_some_and(|barred| barred.run == run)
    }

    /// When complaints become ripe.
    pub(super) fn ripe_at(&self) -> impl Iterator<Item = Moment> {
        self.since.values().map(|since| since.plus(UNREACHED_MAX))
    }
}
