//! A log that is replicated by votes and majorities, as plain as it can be: enough for leaders that are deposed and do not
//! know it, and for followers that lag. A part of a node.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use node_routing::lease::Moment;
use raft_consensus::cluster::Command;

use crate::world::Id;

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) term: u64,
    /// Nothing for a leader's first.
    pub(crate) command: Option<Command>,
}

#[derive(Clone, Debug)]
pub(crate) enum Raft {
    Append { term: u64, prev: u64, prev_term: u64, entries: Vec<Entry>, commit: u64, round: u64 },
    Appended { term: u64, fits: bool, matched: u64, round: u64 },
    Vote { term: u64, last: (u64, u64), forced: bool },
    Voted { term: u64, granted: bool },
}

/// A round of heartbeats: when it was sent, and who has answered.
type Round = (Moment, BTreeSet<Id>);

pub(crate) struct Log {
    me: Id,
    voters: u32,
    pub(crate) term: u64,
    voted: Option<Id>,
    /// The first entry has index 1.
    pub(crate) entries: Vec<Entry>,
    pub(crate) commit: u64,
    pub(crate) leads: bool,
    pub(crate) leader: Option<Id>,
    pub(crate) heard: Moment,
    pub(crate) timeout: Duration,
    votes: BTreeSet<Id>,
    matched: BTreeMap<Id, u64>,
    rounds: BTreeMap<u64, Round>,
    round: u64,
    /// Only heartbeats leave it: entries have a connection of their own, which may be slower.
    pub(crate) withholds: bool,
    /// The send time of the last round that a quorum acknowledged, and when that was known.
    pub(crate) acknowledged: Option<(Moment, Moment)>,
}

pub(crate) type Out = Vec<(Id, Raft)>;

impl Log {
    pub(crate) fn new(me: Id, voters: u32) -> Self {
        Self {
            me,
            voters,
            term: 0,
            voted: None,
            entries: Vec::new(),
            commit: 0,
            leads: false,
            leader: None,
            heard: Moment::default(),
            timeout: Duration::from_millis(300),
            votes: BTreeSet::new(),
            matched: BTreeMap::new(),
            rounds: BTreeMap::new(),
            round: 0,
            withholds: false,
            acknowledged: None,
        }
    }

    /// What is left of it when its node was killed.
    pub(crate) fn restart(&mut self, now: Moment) {
        let (term, voted, entries) = (self.term, self.voted, std::mem::take(&mut self.entries));
        *self = Self { term, voted, entries, heard: now, ..Self::new(self.me, self.voters) };
    }

    fn peers(&self) -> impl Iterator<Item = Id> + use<> {
        let me = self.me;
        (1..=self.voters).filter(move |peer| *peer != me)
    }

    fn is_quorum(&self, count: usize) -> bool {
        2 * count > self.voters as usize
    }

    fn last(&self) -> (u64, u64) {
        (self.entries.last().map_or(0, |entry| entry.term), self.entries.len() as u64)
    }

    pub(crate) fn term_of(&self, index: u64) -> u64 {
        index.checked_sub(1).map_or(0, |at| self.entries[at as usize].term)
    }

    fn step_down(&mut self, term: u64) {
        if term > self.term {
            (self.term, self.voted, self.leader) = (term, None, None);
        }
        self.leads = false;
        self.votes.clear();
    }

    pub(crate) fn stand(&mut self, forced: bool, now: Moment) -> Out {
        self.step_down(self.term + 1);
        self.voted = Some(self.me);
        self.heard = now;
        self.votes.insert(self.me);
        let vote = Raft::Vote { term: self.term, last: self.last(), forced };
        self.peers().map(|peer| (peer, vote.clone())).collect()
    }

    /// Sends a round of heartbeats, with all that is missing.
    pub(crate) fn beat(&mut self, now: Moment) -> Out {
        self.round += 1;
        self.rounds.insert(self.round, (now, BTreeSet::from([self.me])));
        self.rounds = self.rounds.split_off(&self.round.saturating_sub(50));
        self.peers().map(|peer| (peer, self.append(peer))).collect()
    }

    fn append(&self, peer: Id) -> Raft {
        let prev = self.matched.get(&peer).copied().unwrap_or(0);
        Raft::Append {
            term: self.term,
            prev,
            prev_term: self.term_of(prev),
            entries: if self.withholds { Vec::new() } else { self.entries[prev as usize..].to_vec() },
            commit: self.commit,
            round: self.round,
        }
    }

    pub(crate) fn propose(&mut self, command: Command) {
        self.entries.push(Entry { term: self.term, command: Some(command) });
    }

    /// Says what is to be sent; and whether this node was elected by it.
    pub(crate) fn receive(&mut self, from: Id, message: Raft, now: Moment) -> (Out, bool) {
        match message {
            Raft::Vote { term, last, forced } => (self.vote(from, (term, last, forced), now), false),
            Raft::Voted { term, granted } => self.voted(from, term, granted, now),
            Raft::Append { term, .. } if term < self.term => {
                let (term, round) = (self.term, 0);
                (vec![(from, Raft::Appended { term, fits: false, matched: 0, round })], false)
            }
            Raft::Append { term, prev, prev_term, entries, commit, round } => {
                self.step_down(term);
                (self.leader, self.heard) = (Some(from), now);
                let fits = prev <= self.last().1 && self.term_of(prev) == prev_term;
                let matched = if fits { prev + entries.len() as u64 } else { 0 };
                if fits {
                    self.take(prev, entries);
                    self.commit = self.commit.max(commit.min(matched));
                }
                (vec![(from, Raft::Appended { term, fits, matched, round })], false)
            }
            Raft::Appended { term, fits, matched, round } => {
                self.appended(from, (term, fits, matched, round), now);
                (Vec::new(), false)
            }
        }
    }

    fn take(&mut self, prev: u64, entries: Vec<Entry>) {
        for (at, entry) in (prev as usize..).zip(entries) {
            if self.entries.get(at).is_some_and(|known| known.term != entry.term) {
                assert!(at as u64 >= self.commit, "what is committed is never taken back");
                self.entries.truncate(at);
            }
            if at == self.entries.len() {
                self.entries.push(entry);
            }
        }
    }

    fn vote(&mut self, from: Id, (term, last, forced): (u64, (u64, u64), bool), now: Moment) -> Out {
        // Whoever hears a leader elects no other, unless the leader itself hands over.
        let led = self.leads || (self.leader.is_some() && now.since(self.heard) < Duration::from_millis(150));
        if !forced && led {
            return Vec::new();
        }
        if term > self.term {
            self.step_down(term);
        }
        let granted =
            term == self.term && self.voted.is_none_or(|voted| voted == from) && last >= self.last();
        if granted {
            (self.voted, self.heard) = (Some(from), now);
        }
        vec![(from, Raft::Voted { term: self.term, granted })]
    }

    fn voted(&mut self, from: Id, term: u64, granted: bool, now: Moment) -> (Out, bool) {
        if term > self.term {
            self.step_down(term);
        }
        if !granted || term != self.term || self.leads || self.voted != Some(self.me) {
            return (Vec::new(), false);
        }
        self.votes.insert(from);
        if !self.is_quorum(self.votes.len()) {
            return (Vec::new(), false);
        }
        (self.leads, self.leader) = (true, Some(self.me));
        self.matched.clear();
        self.rounds.clear();
        self.acknowledged = None;
        self.entries.push(Entry { term: self.term, command: None });
        (self.beat(now), true)
    }

    fn appended(&mut self, from: Id, (term, fits, matched, round): (u64, bool, u64, u64), now: Moment) {
        if term > self.term {
            self.step_down(term);
        }
        if !self.leads || term != self.term {
            return;
        }
        let known = self.matched.entry(from).or_default();
        *known = if fits { matched.max(*known) } else { 0 };
        let quorum = self.voters as usize / 2 + 1;
        if let Some((sent, by)) = self.rounds.get_mut(&round) {
            by.insert(from);
            if by.len() == quorum {
                self.acknowledged = self.acknowledged.max(Some((*sent, now)));
            }
        }
        let mut all: Vec<u64> = self.peers().filter_map(|peer| self.matched.get(&peer).copied()).collect();
        all.resize(self.voters as usize - 1, 0);
        all.push(self.entries.len() as u64);
        all.sort_unstable_by(|one, other| other.cmp(one));
        let everywhere = all[quorum - 1];
        if self.term_of(everywhere) == self.term {
            self.commit = self.commit.max(everywhere);
        }
    }
}
