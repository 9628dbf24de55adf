//! The routes by their filters, under the lock of the view. Changed by what the log's entries changed, never by a look at
//! the whole state but at the beginning.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mqtt_codec::QoS;
use raft_consensus::cluster::{Change, Cluster, Owner, Routes};
use session_store::matching::{GroupName, GroupRef};
use topic_index::{Filter, FilterIndex, SharedIndex, Slot};

use super::owners::{OwnerNumber, Owners};
use super::{GroupRoutes, Matched};

impl Slot for Owners {
    fn is_empty(&self) -> bool {
        Self::is_empty(self)
    }
}

/// A shared group: its name, and where it has members.
#[derive(Debug, Default)]
struct Group {
    name: Option<GroupRef>,
    owners: Owners,
}

impl Slot for Group {
    fn is_empty(&self) -> bool {
        self.owners.is_empty()
    }
}

/// The routes of one view.
#[derive(Debug, Default)]
pub(super) struct Index {
    plain: FilterIndex<Owners>,
    shared: SharedIndex<Group>,
    numbers: BTreeMap<Owner, OwnerNumber>,
    /// Owners by their number; `None` for one that is gone, so that no match finds it, and whose routes go bit by bit.
    owners: Vec<Option<Owner>>,
    /// Numbers that nothing speaks of.
    free: BTreeSet<OwnerNumber>,
    routes: usize,
}

impl Index {
    /// The routes of a state.
    pub(super) fn of(state: &Cluster) -> Self {
        let mut index = Self::default();
        for owner in state.owners() {
            let number = index.number(owner);
            for (filter, qos) in state.routes(owner) {
                index.set(filter, number, Some(qos));
            }
        }
        index
    }

    /// Takes over what changed.
    pub(super) fn change(&mut self, change: Change) {
        match change {
            Change::Routes(Routes { owner, removes, adds, .. }) => {
                let number = self.number(owner);
                removes.iter().for_each(|filter| self.set(filter, number, None));
                adds.iter().for_each(|route| self.set(&route.filter, number, Some(route.qos)));
            }
            Change::Gone(host) => {
                if let Some(number) = self.numbers.get(&Owner::Host(host)) {
                    self.name(*number, None);
                }
            }
            Change::Buried { host, filters, last } => {
                let Some(number) = self.numbers.get(&Owner::Host(host)).copied() else { return };
                filters.iter().for_each(|filter| self.set(filter, number, None));
                if last {
                    self.numbers.remove(&Owner::Host(host));
                    self.free.insert(number);
                }
            }
            Change::Fenced(_) | Change::Unfenced(_) | Change::Banned(_) | Change::Unbanned(_) => {}
        }
    }

    /// The number of an owner that lives; a new one where it has none.
    fn number(&mut self, owner: Owner) -> OwnerNumber {
        if let Some(number) = self.numbers.get(&owner) {
            return *number;
        }
        let number = self.free.pop_first().unwrap_or_else(|| {
            let number = u32::try_from(self.owners.len());
            self.owners.push(None);
            OwnerNumber(number.expect(
                "owners are shards and runs of at most 1,024 members, and what nothing speaks of is used again: \
                 there are never 2^32",
            ))
        });
        self.numbers.insert(owner, number);
        self.name(number, Some(owner));
        number
    }

    fn name(&mut self, OwnerNumber(number): OwnerNumber, owner: Option<Owner>) {
        if let Some(known) = self.owners.get_mut(number as usize) {
            *known = owner;
        }
    }

    fn set(&mut self, filter: &Filter, owner: OwnerNumber, qos: Option<QoS>) {
        let change = |owners: &mut Owners| match qos {
            Some(qos) => isize::from(owners.set(owner, qos)),
            None => -isize::from(owners.remove(owner)),
        };
        let more = match filter {
            Filter::Plain(plain) => self.plain.update(plain, change),
            Filter::Shared { group, filter } => self.shared.update(group, filter, |slot| {
                slot.name.get_or_insert_with(|| {
                    Arc::new(GroupName { group: Arc::clone(group), filter: filter.clone() })
                });
                change(&mut slot.owners)
            }),
        };
        self.routes = self.routes.saturating_add_signed(more);
    }

    /// Those of these owners that live, each once, with its highest QoS.
    fn living(&self, mut found: Vec<(OwnerNumber, QoS)>) -> Vec<(Owner, QoS)> {
        // Of one owner the highest comes first.
        found.sort_unstable_by(|one, other| (one.0, other.1).cmp(&(other.0, one.1)));
        found.dedup_by_key(|(number, _)| *number);
        let named = |(number, qos): (OwnerNumber, QoS)| {
            let owner = self.owners.get(number.0 as usize).copied().flatten()?;
            Some((owner, qos))
        };
        let mut living: Vec<(Owner, QoS)> = found.into_iter().filter_map(named).collect();
        living.sort_unstable();
        living
    }

    /// What a topic matches; the view says as of when.
    pub(super) fn matched(&self, topic: &[u8]) -> Matched {
        let mut found = Vec::new();
        self.plain.for_each_match(topic, |owners| owners.for_each(|owner, qos| found.push((owner, qos))));
        let mut groups = Vec::new();
        self.shared.for_each_match(topic, |_, slot| {
            let mut members = Vec::new();
            slot.owners.for_each(|owner, qos| members.push((owner, qos)));
            let owners = self.living(members);
            if let Some(name) = slot.name.as_ref().filter(|_| !owners.is_empty()) {
                groups.push(GroupRoutes { name: Arc::clone(name), owners });
            }
        });
        Matched { owners: self.living(found), groups, ..Matched::default() }
    }

    /// Where a shared group has members.
    pub(super) fn group(&self, name: &GroupRef) -> Option<GroupRoutes> {
        let slot = self.shared.get(&name.group, &name.filter)?;
        let mut members = Vec::new();
        slot.owners.for_each(|owner, qos| members.push((owner, qos)));
        let owners = self.living(members);
        (!owners.is_empty()).then(|| GroupRoutes { name: Arc::clone(name), owners })
    }

    /// Routes, those of runs that are gone included until they are let go of.
    pub(super) fn routes(&self) -> usize {
        self.routes
    }
}
