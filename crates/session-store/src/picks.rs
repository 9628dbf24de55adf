//! Who in a shared group takes an item of an outbox. Picked by whoever leads the outbox's shard, in the log before the
//! item is sent, and kept with the item until every target has it: whoever sends it again sends it to the same.
//! Never picks anybody itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ids::{ConnectionId, ShardId};
use crate::matching::GroupRef;

/// Bytes that a pick takes in an entry besides its group's names, at most.
const PICK_BYTES: usize = 64;

/// Who takes an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taker {
    /// A persistent member: the number decides in this shard which, as [`crate::command::GroupPick::choice`].
    Shard(ShardId, u64),
    /// A transient member, on its host.
    Member(ConnectionId),
}

/// Who takes an item in one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pick {
    /// The group.
    pub group: GroupRef,
    /// Who takes it there.
    pub taker: Taker,
}

impl Pick {
    /// Bytes that it takes in an entry, at most.
    #[must_use]
    pub fn size(&self) -> usize {
        Self::size_in(&self.group)
    }

    /// Bytes that one in this group takes in an entry, at most.
    #[must_use]
    pub fn size_in(group: &GroupRef) -> usize {
        group.group.len() + group.filter.as_str().len() + PICK_BYTES
    }
}

/// One item of an outbox in one of the groups that get it. Items are given to the members of a host in this order, so
/// that one of them says of all before it that they were given.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct InGroup {
    /// The item's position.
    pub position: u64,
    /// The group.
    pub group: GroupRef,
}

/// Who takes one item of the outbox, in all its groups or in the next ones by their names.
#[derive(Clone, Debug)]
pub struct PickedItem {
    /// The item's position.
    pub position: u64,
    /// Its groups in the order of their names, each once.
    pub picks: Vec<Pick>,
    /// Whether groups behind these follow.
    pub more: bool,
}

/// What is known of an item: who takes it in the groups that were looked at so far.
#[derive(Clone, Debug, Default)]
pub struct Picks {
    /// In the order of the groups' names.
    picks: Vec<Pick>,
    looked: Looked,
}

/// In which groups of an item it is known who takes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Looked {
    /// In none.
    #[default]
    Nowhere,
    /// In those up to this one.
    UpTo(GroupRef),
    /// In all of them.
    Everywhere,
}

impl Picks {
    /// Whether it is known of all groups: there are no others for this item, whoever subscribes later.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.looked == Looked::Everywhere
    }

    /// Who takes it, in the order of the groups' names. Those whose taker was gone before it had the item are
    /// left out: another item is for their groups.
    pub fn iter(&self) -> impl Iterator<Item = &Pick> {
        self.picks.iter()
    }

    /// The last group that was looked at, while others follow.
    #[must_use]
    pub fn behind(&self) -> Option<&GroupRef> {
        match &self.looked {
            Looked::UpTo(group) => Some(group),
            Looked::Nowhere | Looked::Everywhere => None,
        }
    }

    /// Who takes it in a group.
    #[must_use]
    pub fn taker(&self, group: &GroupRef) -> Option<Taker> {
        let index = self.picks.binary_search_by(|pick| pick.group.cmp(group)).ok()?;
        self.picks.get(index).map(|pick| pick.taker)
    }

    /// Bytes of it, as [`Pick::size`] counts.
    pub(crate) fn size(&self) -> usize {
        self.picks.iter().map(Pick::size).sum()
    }

    /// The picks of the next groups, and whether others follow. What is known already stays as it is: it may have been
    /// sent.
    pub fn add(&mut self, picks: Vec<Pick>, more: bool) {
        if self.is_complete() {
            return;
        }
        for pick in picks {
            if self.behind().is_none_or(|last| *last < pick.group) {
                self.looked = Looked::UpTo(GroupRef::clone(&pick.group));
                self.picks.push(pick);
            }
        }
        if !more {
            self.looked = Looked::Everywhere;
        }
    }

    /// Has those behind the first `known` speak of their groups by the names that are in memory already.
    pub(crate) fn share_names(&mut self, known: usize, names: &mut Names) {
        for pick in self.picks.iter_mut().skip(known) {
            pick.group = names.hold(&pick.group);
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.picks.len()
    }

    /// Takes out those that `gone` says.
    pub(crate) fn take_out(&mut self, mut gone: impl FnMut(&Pick) -> bool) -> Vec<GroupRef> {
        let out = self.picks.extract_if(.., |pick| gone(pick));
        out.map(|pick| pick.group).collect()
    }

    /// Picks as they were written to a store; `None` where their order is not that of the names.
    pub(crate) fn restored(picks: Vec<Pick>, looked: Looked) -> Option<Self> {
        let ascending = picks.is_sorted_by(|a, b| a.group < b.group);
        ascending.then_some(Self { picks, looked })
    }

    /// In which groups it is known.
    pub(crate) fn looked(&self) -> &Looked {
        &self.looked
    }

    /// Whether nothing is known.
    pub(crate) fn is_empty(&self) -> bool {
        self.looked == Looked::Nowhere
    }
}

/// The names of the groups that picks speak of: each is in memory once, however many items there are for it, although
/// each entry of the log brings names of its own.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// By how many picks each is held.
    held: BTreeMap<GroupRef, usize>,
}

impl Names {
    /// The name for one pick more.
    fn hold(&mut self, group: &GroupRef) -> GroupRef {
        let known = self.held.get_key_value(group).map_or(group, |(known, _)| known);
        let name = GroupRef::clone(known);
        *self.held.entry(GroupRef::clone(&name)).or_default() += 1;
        name
    }

    /// One pick less has it.
    pub(crate) fn let_go(&mut self, group: &GroupRef) {
        if let Some(count) = self.held.get_mut(group) {
            *count -= 1;
            if *count == 0 {
                self.held.remove(group);
            }
        }
    }

    /// Whether these are the names of exactly the picks of these items.
    pub(crate) fn are_of<'a>(&self, items: impl Iterator<Item = &'a Picks>) -> bool {
        let mut count = 0;
        let shared = items.flat_map(Picks::iter).all(|pick| {
            count += 1;
            self.held.get_key_value(&pick.group).is_some_and(|(held, _)| Arc::ptr_eq(held, &pick.group))
        });
        shared && count == self.held.values().sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use topic_index::Filter;

    use super::*;
    use crate::matching::GroupName;

    fn pick(group: &str, choice: u64) -> Pick {
        let filter = Filter::parse("t", 9).unwrap().plain().clone();
        Pick {
            group: Arc::new(GroupName { group: group.into(), filter }),
            taker: Taker::Shard(ShardId(1), choice),
        }
    }

    fn known(picks: &Picks) -> Vec<(String, Taker)> {
        picks.iter().map(|pick| (pick.group.group.to_string(), pick.taker)).collect()
    }

    #[test]
    fn what_was_picked_stays_as_it_is_and_goes_on_behind_the_last_group() {
        let mut picks = Picks::default();
        assert!(picks.is_empty() && !picks.is_complete() && picks.behind().is_none());
        picks.add(vec![pick("a", 1), pick("c", 1)], true);
        assert_eq!(picks.behind(), Some(&pick("c", 0).group));
        // Picked by somebody who did not know of that.
        picks.add(vec![pick("a", 2), pick("b", 2), pick("c", 2), pick("d", 2)], true);
        picks.add(vec![pick("e", 3)], false);
        picks.add(vec![pick("f", 4)], false);
        let expected = [("a", 1), ("c", 1), ("d", 2), ("e", 3)];
        let expected = expected.map(|(group, choice)| (group.to_owned(), pick(group, choice).taker));
        assert_eq!(known(&picks), expected);
        assert!(picks.is_complete() && picks.behind().is_none());
        assert_eq!(picks.taker(&pick("c", 9).group), Some(pick("c", 1).taker));
        assert_eq!(picks.taker(&pick("b", 9).group), None);
    }

    #[test]
    fn a_pick_that_is_taken_out_is_not_picked_again_here() {
        let mut picks = Picks::default();
        picks.add(vec![pick("a", 1), pick("b", 1)], true);
        assert_eq!(picks.take_out(|pick| &*pick.group.group == "b"), [pick("b", 1).group]);
        picks.add(vec![pick("b", 2), pick("c", 2)], false);
        assert_eq!(
            known(&picks),
            [("a".to_owned(), pick("a", 1).taker), ("c".to_owned(), pick("c", 2).taker)]
        );
    }
}
