//! The holding side of leases: until when this node may act on which view. Owned by the node's lease task, read by every
//! thread that acknowledges something; it reads no clock and sends nothing.

use std::collections::VecDeque;
use std::time::Duration;

use super::grants::Grant;
use super::moment::Moment;
use super::profile::{Profile, SILENT_MAX};

/// Leases that are remembered at most: more than are granted in the length of one.
const LEASES_MAX: usize = 8;

/// A node that has been silent for so long leads nothing that others can lead: longer than the silence behind the death of
/// whoever granted leases.
const YIELDS_AFTER: Duration = Duration::from_secs(3);

/// A lease on this node's own clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// It counts for views as of this entry and later ones.
    pub index: u64,
    /// When it has run out.
    pub until: Moment,
}

/// What a node may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// It acts on its view.
    Holds,
    /// It acknowledges nothing that needs the view, and answers no CONNECT and no SUBSCRIBE; it keeps its clients.
    Silent,
    /// It has been silent for so long that its clients go elsewhere: their connections are to be closed.
    Over,
}

/// The leases of one run of this node.
#[derive(Clone, Debug)]
pub struct Holding {
    renewal: Duration,
    /// In the order of their ends.
    leases: VecDeque<Lease>,
    asked: Option<Moment>,
    /// When the last lease ran out, or will; at first when the run began.
    end: Moment,
}

impl Holding {
    /// A run begins without a lease.
    #[must_use]
    pub fn new(profile: &Profile, now: Moment) -> Self {
        Self { renewal: profile.renewal(), leases: VecDeque::new(), asked: None, end: now }
    }

    /// When to ask for the next lease; also after a refusal. Nothing has to be waited for before the first.
    #[must_use]
    pub fn asks_at(&self) -> Moment {
        self.asked.map_or(Moment::default(), |asked| asked.plus(self.renewal))
    }

    /// The node asks at `now`.
    pub fn asks(&mut self, now: Moment) {
        self.asked = Some(now);
    }

    /// A lease was granted that this node asked for at `asked`: it is counted from then, whenever the answer came. A lease
    /// for a later view does not end those that count already.
    pub fn granted(&mut self, asked: Moment, grant: Grant) {
        let lease = Lease { index: grant.index, until: asked.plus(grant.remains) };
        self.leases
            .retain(|known| known.until > asked && (known.index < lease.index || known.until > lease.until));
        let useless =
            self.leases.iter().any(|known| known.index <= lease.index && known.until >= lease.until);
        if useless || self.leases.len() >= LEASES_MAX {
            return;
        }
        let at = self.leases.partition_point(|known| known.until <= lease.until);
        self.leases.insert(at, lease);
        self.end = self.end.max(lease.until);
    }

    /// How long there has been none at `now`, where there was one before.
    #[must_use]
    pub fn lapsed_for(&self, now: Moment) -> Option<Duration> {
        (!self.leases.is_empty() && now >= self.end).then(|| now.since(self.end))
    }

    /// Whether others had better lead what this node leads: it has had no lease yet, or none for long. It is a member of a
    /// majority all the same, so that nobody else stands for election.
    #[must_use]
    pub fn yields(&self, now: Moment) -> bool {
        self.leases.is_empty() || now.since(self.end) >= YIELDS_AFTER
    }

    /// Whether this node may act at `now` on what it matched in a view as of entry `view`. The order is all: the bytes are
    /// read, then the view is loaded and matched, and then the clock is read. Whoever reads the clock first, or passes the
    /// index of a later view than the one that was matched, acknowledges what others have moved past.
    #[must_use]
    pub fn allows(&self, view: u64, now: Moment) -> bool {
        self.leases.iter().any(|lease| lease.index <= view && now < lease.until)
    }

    /// What the node may do at `now` with a view as of entry `view`.
    #[must_use]
    pub fn hold(&self, view: u64, now: Moment) -> Hold {
        match self.allows(view, now) {
            true => Hold::Holds,
            false if now.since(self.end) >= SILENT_MAX => Hold::Over,
            false => Hold::Silent,
        }
    }
}
