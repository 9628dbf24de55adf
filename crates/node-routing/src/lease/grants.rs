//! The granting side of leases: who holds one, what is in force, who may be taken for dead. Owned by the node that leads
//! the cluster group, for as long as it does. It reads no clock, sends nothing and proposes nothing.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use session_store::{Host, NodeId};

use super::complaints::Complaints;
use super::moment::Moment;
use super::profile::{Profile, UNHEARD_MAX};

/// Commits that lie nearer together than this part of a lease are taken as one.
const COMMITS_EACH_LEASE: u32 = 16;

/// What a run asks for a lease with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Who asks.
    pub run: Host,
    /// The entry up to which it has applied the cluster group's log, with its view visible to all its threads.
    pub applied: u64,
    /// The nodes from which it has had an answer of late.
    pub reached: Vec<NodeId>,
}

/// A lease, as it is granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// What the leader knows to be committed: the lease counts for views that are not older.
    pub index: u64,
    /// How long it runs, from when it was asked for.
    pub remains: Duration,
}

/// Why there is no lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The leader does not know yet what is committed.
    #[error("the leader has not committed an entry of its term yet")]
    NotReady,
    /// The leader may have been deposed without knowing.
    #[error("no quorum has acknowledged a heartbeat of late")]
    NoQuorum,
    /// The leader does not know of this run, or knows that it is dead, or has said so.
    #[error("the run is not one that lives, as far as the leader knows")]
    NotLive,
    /// It would only hold up everybody's barriers.
    #[error("what was committed a lease ago, up to entry {0}, is not applied there")]
    Behind(u64),
    /// Others do not reach it.
    #[error("not all who hold a lease reach that node")]
    Unreached,
}

/// What is known of a run that lives.
#[derive(Debug)]
struct Holder {
    run: Host,
    /// Until when its lease may run, by the leader's clock; of those that this leader granted.
    until: Option<Moment>,
    applied: u64,
    heard: Moment,
    /// When connections to it were refused at last.
    refused: Option<Moment>,
    /// It was said to be dead, and gets no lease any more: the word may be on its way through the log.
    condemned: bool,
}

/// What was committed when, as far back as a lease.
#[derive(Debug, Default)]
struct Commits(VecDeque<(Moment, u64)>);

impl Commits {
    fn note(&mut self, index: u64, now: Moment, lease: Duration) {
        match self.0.back_mut() {
            Some((since, last)) if now.since(*since) < lease / COMMITS_EACH_LEASE => *last = index.max(*last),
            Some((_, last)) if *last >= index => {}
            _ => self.0.push_back((now, index)),
        }
        // The last one that is a lease old answers for all before it.
        while self.0.get(1).is_some_and(|(at, _)| now.since(*at) >= lease) {
            self.0.pop_front();
        }
    }

    /// What was committed a lease ago.
    fn settled(&self, now: Moment, lease: Duration) -> u64 {
        let old = self.0.iter().rev().find(|(at, _)| now.since(*at) >= lease);
        old.map_or(0, |(_, index)| *index)
    }
}

/// The leases of one leadership of the cluster group. Made when this node is elected and dropped when it is not leader
/// any more; what its predecessor granted it does not know, and takes as running for as long as it could.
#[derive(Debug)]
pub struct Leases {
    profile: Profile,
    me: NodeId,
    elected: Moment,
    /// What is committed, once an entry of the own term is: before, there may be more than this node knows.
    committed: Option<u64>,
    /// What is applied here, once an entry of the own term is: before, there may be runs that it does not know of.
    applied: Option<u64>,
    acknowledged: Option<Moment>,
    commits: Commits,
    holders: BTreeMap<NodeId, Holder>,
    complaints: Complaints,
    in_force: u64,
}

impl Leases {
    /// This node was elected at `now`, which is no earlier than the moment it learnt so.
    #[must_use]
    pub fn elected(profile: Profile, me: NodeId, now: Moment) -> Self {
        Self {
            profile,
            me,
            elected: now,
            committed: None,
            applied: None,
            acknowledged: None,
            commits: Commits::default(),
            holders: BTreeMap::new(),
            complaints: Complaints::default(),
            in_force: 0,
        }
    }

    /// A quorum acknowledged a round of heartbeats that was sent then. Where this node is the only voter it is a quorum by
    /// itself, now.
    ///
    /// Where the last such round is a lease ago this node was cut off, or stopped: what it did not hear meanwhile says
    /// nothing of others, and their silence counts from here on.
    pub fn acknowledged(&mut self, sent: Moment) {
        if sent.since(self.acknowledged.unwrap_or(self.elected)) >= self.profile.lease() {
            self.holders.values_mut().for_each(|holder| holder.heard = holder.heard.max(sent));
            self.complaints.begin_anew();
        }
        self.acknowledged = self.acknowledged.max(Some(sent));
    }

    /// The end of the lease that is granted now, by this node's clock; `None` where it may have been deposed.
    fn end(&self, now: Moment) -> Option<Moment> {
        self.acknowledged.map(|sent| sent.plus(self.profile.lease())).filter(|end| *end > now)
    }

    /// The log is committed up to an entry, which is of the own term or not.
    pub fn committed(&mut self, index: u64, of_own_term: bool, now: Moment) {
        self.commits.note(index, now, self.profile.lease());
        if of_own_term {
            self.committed = self.committed.max(Some(index));
        }
    }

    /// This node has applied the log up to an entry, which is of the own term or not, and these runs live as of then. Its
    /// own view is told by [`Self::reported`], as everybody's.
    pub fn applied(
        &mut self,
        index: u64,
        of_own_term: bool,
        live: impl IntoIterator<Item = Host>,
        now: Moment,
    ) {
        if of_own_term {
            self.applied = self.applied.max(Some(index));
        }
        let mut before = std::mem::take(&mut self.holders);
        for run in live {
            let same = before.remove(&run.node).filter(|holder| holder.run == run);
            let holder = same.unwrap_or_else(|| {
                self.complaints.forget(run.node);
                Holder { run, until: None, applied: 0, heard: now, refused: None, condemned: false }
            });
            self.holders.insert(run.node, holder);
        }
        before.into_keys().filter(|node| !self.holders.contains_key(node)).for_each(|node| {
            self.complaints.forget(node);
        });
    }

    /// A run has applied the log up to this entry, with its view visible to all its threads.
    pub fn reported(&mut self, run: Host, applied: u64, now: Moment) {
        if let Some(holder) = self.holder(run) {
            holder.applied = holder.applied.max(applied);
        }
        self.heard(run, now);
    }

    /// A voter had a frame of a run at that time, by this node's clock.
    pub fn heard(&mut self, run: Host, at: Moment) {
        if let Some(holder) = self.holder(run) {
            holder.heard = holder.heard.max(at);
        }
    }

    /// Connections to a run were reset and reconnecting is refused. That is no proof: a firewall refuses too. It counts until
    /// something is heard of the run, and never while its lease runs.
    pub fn refuses(&mut self, run: Host, at: Moment) {
        if let Some(holder) = self.holder(run) {
            holder.refused = holder.refused.max(Some(at));
        }
    }

    fn holder(&mut self, run: Host) -> Option<&mut Holder> {
        self.holders.get_mut(&run.node).filter(|holder| holder.run == run)
    }

    /// A run asks for a lease at `now`.
    ///
    /// # Errors
    /// Why it gets none.
    pub fn ask(&mut self, ask: &Ask, now: Moment) -> Result<Grant, Denied> {
        self.reported(ask.run, ask.applied, now);
        if self.holder(ask.run).is_none() {
            return Err(Denied::NotLive);
        }
        let members: Vec<NodeId> = self.holders.keys().copied().collect();
        self.complaints.report(ask.run.node, &ask.reached, members.into_iter(), now);
        self.judge(now);
        let index = self.committed.ok_or(Denied::NotReady)?;
        let end = self.end(now).ok_or(Denied::NoQuorum)?;
        if self.complaints.is_barred(ask.run.node) {
            return Err(Denied::Unreached);
        }
        let settled = self.commits.settled(now, self.profile.lease());
        let guarded = end.plus(self.profile.guarded_lease() - self.profile.lease());
        let holder = self.holder(ask.run).ok_or(Denied::NotLive)?;
        if holder.condemned {
            return Err(Denied::NotLive);
        }
        if holder.applied < settled {
            return Err(Denied::Behind(settled));
        }
        holder.until = holder.until.max(Some(guarded));
        Ok(Grant { index, remains: end.since(now) })
    }

    fn judge(&mut self, now: Moment) {
        let wait = self.waits(now);
        let holders = self.holders.values();
        let runs: Vec<(Host, bool)> = holders.map(|holder| (holder.run, wait || holder.holds(now))).collect();
        self.complaints.decide(&runs, self.me, now);
    }

    /// Whether a lease of a predecessor may still run.
    fn waits(&self, now: Moment) -> bool {
        now < self.elected.plus(self.profile.guarded_lease())
    }

    /// Whether a lease of a run may still run at `now`; so it is with every run for a while after an election.
    #[must_use]
    pub fn may_hold(&self, run: Host, now: Moment) -> bool {
        let holder = self.holders.get(&run.node).filter(|holder| holder.run == run);
        holder.is_some_and(|holder| self.waits(now) || holder.holds(now))
    }

    /// The entry up to which everything is in force at `now`: each run that may hold a lease has applied it. It never goes
    /// back, and 0 says that nothing is known yet.
    pub fn in_force(&mut self, now: Moment) -> u64 {
        let Some(applied) = self.applied else { return self.in_force };
        let waits = self.waits(now);
        let holders = self.holders.values().filter(|holder| waits || holder.holds(now));
        let everywhere = holders.map(|holder| holder.applied).fold(applied, u64::min);
        self.in_force = self.in_force.max(everywhere);
        self.in_force
    }

    /// The runs that are to be taken for dead, each until it is: their leases have run out, and there is evidence. Nobody is
    /// as long as no quorum answers this node, which may be the one that is cut off. A level, to be looked at when
    /// [`Self::next`] says so and whenever evidence came.
    pub fn downs(&mut self, now: Moment) -> Vec<Host> {
        self.judge(now);
        if self.applied.is_none() || self.waits(now) || self.end(now).is_none() {
            return Vec::new();
        }
        let others = self.holders.values_mut().filter(|holder| holder.run.node != self.me);
        let mut dead = Vec::new();
        for holder in others {
            let refused = holder.refused.is_some_and(|at| at > holder.heard);
            let unheard = now.since(holder.heard) >= UNHEARD_MAX;
            let evidence = refused || unheard || self.complaints.condemns(holder.run);
            holder.condemned |= evidence && !holder.holds(now);
            if holder.condemned {
                dead.push(holder.run);
            }
        }
        dead
    }

    /// When time alone may change an answer, after `now`.
    #[must_use]
    pub fn next(&self, now: Moment) -> Option<Moment> {
        let ends = self.holders.values().filter_map(|holder| holder.until);
        let silences = self.holders.values().map(|holder| holder.heard.plus(UNHEARD_MAX));
        let election = self.elected.plus(self.profile.guarded_lease());
        ends.chain(silences).chain(self.complaints.ripe_at()).chain([election]).filter(|at| *at > now).min()
    }
}

impl Holder {
    fn holds(&self, now: Moment) -> bool {
        self.until.is_some_and(|until| now < until)
    }
}
