//! The routes and fences of the cluster group's state, by their owner. Owned by [`super::Cluster`], which says who is
//! alive; what a dead run had goes at once, and is cleaned up in pieces afterwards.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

use mqtt_codec::QoS;
use session_store::{ClientId, Epoch, Host};
use topic_index::Filter;

use super::chunked::{Chunked, Key};
use super::command::Refusal;
use super::route::{
    CHANGES_BYTES_MAX, CHANGES_MAX, Change, FENCES_BYTES_MAX, FENCES_MAX, Fence, Owner, ROUTES_BYTES_MAX,
    ROUTES_MAX, Routes, filter_bytes,
};

/// With more routes than this the tables are not checked after each step.
const SMALL: usize = 512;

/// Which connection is fenced, of those of one run.
pub(super) type Fenced = (ClientId, Epoch);

impl Key for Filter {
    fn bytes(&self) -> usize {
        filter_bytes(self)
    }
}

impl Key for Fenced {
    fn bytes(&self) -> usize {
        self.0.as_str().len()
    }
}

/// What is known of one owner.
#[derive(Clone, Debug, Default)]
pub(super) struct Owned {
    /// The number of its last [`Routes`].
    pub(super) last: u64,
    pub(super) routes: Chunked<Filter, QoS>,
    /// Fences of connections there; a shard has none.
    pub(super) fences: Chunked<Fenced, u64>,
}

/// What a dead run had and is not let go of yet.
#[derive(Clone, Debug)]
pub(super) struct Grave {
    pub(super) host: Host,
    pub(super) owned: Owned,
}

/// A record of a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    Owner(Owner),
    Routes(Owner, u32),
    Fences(Owner, u32),
}

/// All owners.
#[derive(Clone, Default)]
pub(super) struct Owners {
    pub(super) live: BTreeMap<Owner, Owned>,
    pub(super) graves: VecDeque<Grave>,
    /// Owners of which something changed since the last checkpoint.
    pub(super) touched: BTreeSet<Owner>,
    /// Records that went with the dead since then.
    pub(super) buried: BTreeSet<Place>,
}

impl Owners {
    pub(super) fn last(&self, owner: Owner) -> u64 {
        self.live.get(&owner).map_or(0, |owned| owned.last)
    }

    /// Whether an owner that may have routes was told of this already.
    pub(super) fn decide_routes(&self, routes: &Routes) -> Result<bool, Refusal> {
        let last = self.last(routes.owner);
        if routes.number <= last {
            return Ok(true);
        }
        if routes.predecessor != last {
            return Err(Refusal::Gap(last));
        }
        if routes.len() > CHANGES_MAX || routes.bytes() > CHANGES_BYTES_MAX {
            return Err(Refusal::TooManyChanges);
        }
        let known = self.live.get(&routes.owner).map(|owned| &owned.routes);
        let is_new = |filter: &&Filter| known.is_none_or(|known| known.get(filter).is_none());
        let (mut count, mut bytes) = known.map_or((0, 0), |known| (known.len(), known.bytes()));
        for filter in routes.adds.iter().map(|route| &route.filter).filter(is_new) {
            count += 1;
            bytes += filter_bytes(filter);
        }
        if count > ROUTES_MAX || bytes > ROUTES_BYTES_MAX {
            return Err(Refusal::TooManyRoutes);
        }
        Ok(false)
    }

    /// Takes over changes that were not refused; says what really changed.
    pub(super) fn change_routes(&mut self, routes: &Routes) -> Change {
        let owned = self.live.entry(routes.owner).or_default();
        self.touched.insert(routes.owner);
        owned.last = routes.number;
        let removes = routes.removes.iter().filter(|filter| owned.routes.remove(filter)).cloned().collect();
        let adds = &routes.adds;
        let adds = adds
            .iter()
            .filter(|route| owned.routes.insert(route.filter.clone(), route.qos))
            .cloned()
            .collect();
        Change::Routes(Routes { removes, adds, ..*routes })
    }

    pub(super) fn has_fence(&self, fence: &Fence) -> bool {
        let owned = self.live.get(&Owner::Host(fence.host));
        owned.is_some_and(|owned| owned.fences.get(&key(fence)).is_some())
    }

    /// Whether a connection of a run that lives is fenced.
    pub(super) fn decide_fence(&self, fence: &Fence) -> Result<bool, Refusal> {
        let Some(owned) = self.live.get(&Owner::Host(fence.host)) else { return Ok(false) };
        if owned.fences.get(&key(fence)).is_some() {
            return Ok(true);
        }
        let bytes = owned.fences.bytes() + fence.client.as_str().len();
        if owned.fences.len() >= FENCES_MAX || bytes > FENCES_BYTES_MAX {
            return Err(Refusal::TooManyFences);
        }
        Ok(false)
    }

    pub(super) fn fence(&mut self, fence: &Fence) -> Change {
        let owner = Owner::Host(fence.host);
        self.live.entry(owner).or_default().fences.insert(key(fence), fence.connection);
        self.touched.insert(owner);
        Change::Fenced(fence.clone())
    }

    pub(super) fn unfence(&mut self, fence: &Fence) -> Change {
        let owner = Owner::Host(fence.host);
        if let Some(owned) = self.live.get_mut(&owner) {
            owned.fences.remove(&key(fence));
            self.touched.insert(owner);
        }
        Change::Unfenced(fence.clone())
    }

    /// A run is dead: it has no routes and no fences any more. Costs the same, whatever it had.
    pub(super) fn drop_run(&mut self, host: Host) -> Change {
        if let Some(owned) = self.live.remove(&Owner::Host(host)) {
            self.touched.insert(Owner::Host(host));
            self.graves.push_back(Grave { host, owned });
        }
        Change::Gone(host)
    }

    /// Lets go of one chunk of what the dead had. `None` where nothing is left of it.
    pub(super) fn bury(&mut self) -> Option<Change> {
        let Grave { host, owned } = self.graves.front_mut()?;
        let (host, owner) = (*host, Owner::Host(*host));
        let mut filters = Vec::new();
        if let Some((number, keys)) = owned.routes.pop() {
            self.buried.insert(Place::Routes(owner, number));
            filters = keys;
        } else if let Some((number, _)) = owned.fences.pop() {
            self.buried.insert(Place::Fences(owner, number));
        }
        let last = owned.routes.is_empty() && owned.fences.is_empty();
        if last {
            // Chunks that were emptied since the last checkpoint may still be written there.
            let emptied = owned.routes.take_touched().map(|(number, _)| Place::Routes(owner, number));
            self.buried.extend(emptied);
            let emptied = owned.fences.take_touched().map(|(number, _)| Place::Fences(owner, number));
            self.buried.extend(emptied);
            self.buried.insert(Place::Owner(owner));
            self.touched.remove(&owner);
            self.graves.pop_front();
        }
        Some(Change::Buried { host, filters, last })
    }

    /// Checks what must always hold; the tables themselves only while they are small, or where all is asked for.
    ///
    /// # Errors
    /// Names the rule that does not hold.
    pub(super) fn validate(&self, all: bool) -> Result<(), &'static str> {
        for (owner, owned) in &self.live {
            let Owned { routes, fences, .. } = owned;
            if matches!(owner, Owner::Shard(_)) && !fences.is_empty() {
                return Err("a shard has fences");
            }
            if routes.len() > ROUTES_MAX || routes.bytes() > ROUTES_BYTES_MAX {
                return Err("an owner has more routes than it may have");
            }
            if fences.len() > FENCES_MAX || fences.bytes() > FENCES_BYTES_MAX {
                return Err("a run has more fences than it may have");
            }
            if all || routes.len() + fences.len() <= SMALL {
                routes.validate()?;
                fences.validate()?;
            }
        }
        Ok(())
    }
}

fn key(fence: &Fence) -> Fenced {
    (fence.client.clone(), fence.epoch)
}

/// All that replicas share, and nothing of how it is written down.
impl fmt::Debug for Owners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut list = f.debug_list();
        for (owner, owned) in &self.live {
            list.entry(&(owner, owned.last));
            list.entries(owned.routes.iter()).entries(owned.fences.iter());
        }
        list.finish()
    }
}
