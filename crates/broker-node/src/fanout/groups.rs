//! Shared groups: who is a member, and which one takes a message (section 4.8.2 of MQTT 5.0).
//! A group's members are transient sessions of this node, each by itself, and shards with persistent ones,
//! each with as many places as it has members connected (all of them while none is).

use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use session_store::command::{GroupPick, Members, RouteChange};
use session_store::matching::{Copied, GroupName, GroupRef, Subscribed};
use session_store::{ClientId, ConnectionId};
use topic_index::{PlainFilter, Slot};

use crate::config::SharedStrategy;
use crate::inbox::Inbox;

/// A transient member.
#[derive(Debug)]
pub(crate) struct Member {
    /// Its mailbox.
    pub(crate) inbox: Arc<Inbox>,
    /// How it wants the messages.
    pub(crate) copy: Copied,
}

/// Who has a place in a group.
#[derive(Debug)]
pub(crate) enum Holder<'a> {
    /// A transient member of this node.
    Local(&'a Member),
    /// A member of a shard, which the number decides there.
    Shard(u16, GroupPick),
}

/// One group as it was at one version of the route view.
#[derive(Debug)]
pub(crate) struct GroupView {
    name: GroupRef,
    /// In the order of their connections.
    locals: Vec<Member>,
    /// Shards with their places; where they lie behind `locals` in the order of places.
    shards: Vec<(u16, u32)>,
    places: u64,
    turn: Arc<AtomicU64>,
}

/// One group in the route view.
#[derive(Debug, Default)]
pub(super) struct GroupSlot {
    name: Option<GroupRef>,
    locals: Vec<(ConnectionId, Arc<Inbox>, Subscribed)>,
    shards: Vec<(u16, Members)>,
    turn: Arc<AtomicU64>,
    /// Made when it is first asked for after a change.
    view: OnceLock<Arc<GroupView>>,
}

impl Slot for GroupSlot {
    fn is_empty(&self) -> bool {
        self.locals.is_empty() && self.shards.is_empty()
    }
}

impl GroupSlot {
    /// Adds or replaces a transient member; says whether it is new.
    pub(super) fn insert(&mut self, inbox: &Arc<Inbox>, subscribed: Subscribed) -> bool {
        self.view = OnceLock::new();
        match self.locals.binary_search_by_key(&inbox.id(), |(id, ..)| *id) {
            Ok(index) => {
                if let Some(found) = self.locals.get_mut(index) {
                    found.2 = subscribed;
                }
                false
            }
            Err(index) => {
                self.locals.insert(index, (inbox.id(), Arc::clone(inbox), subscribed));
                true
            }
        }
    }

    /// Removes a transient member; says whether it was there.
    pub(super) fn remove(&mut self, id: ConnectionId) -> bool {
        self.view = OnceLock::new();
        let found = self.locals.binary_search_by_key(&id, |(id, ..)| *id);
        found.map(|index| self.locals.remove(index)).is_ok()
    }

    /// Takes over how many members a shard has.
    pub(super) fn set_shard(&mut self, shard: u16, change: &RouteChange) {
        self.view = OnceLock::new();
        self.shards.retain(|(number, _)| *number != shard);
        if change.qos.is_some() {
            self.shards.push((shard, change.members));
            self.shards.sort_unstable_by_key(|(number, _)| *number);
        }
    }

    /// Remembers the group's name, which the index keeps apart.
    pub(super) fn named(&mut self, group: &Arc<str>, filter: &PlainFilter) -> &mut Self {
        self.name
            .get_or_insert_with(|| Arc::new(GroupName { group: Arc::clone(group), filter: filter.clone() }));
        self
    }

    /// The group as it is now.
    pub(super) fn view(&self) -> Option<Arc<GroupView>> {
        let name = self.name.as_ref()?;
        Some(Arc::clone(self.view.get_or_init(|| Arc::new(self.make_view(name)))))
    }

    fn make_view(&self, name: &GroupRef) -> GroupView {
        let member = |(_, inbox, subscribed): &(ConnectionId, Arc<Inbox>, Subscribed)| Member {
            inbox: Arc::clone(inbox),
            copy: subscribed.copy(),
        };
        let locals: Vec<Member> = self.locals.iter().map(member).collect();
        let connected = self.shards.iter().any(|(_, members)| members.connected > 0) || !locals.is_empty();
        let places = |members: &Members| if connected { members.connected } else { members.all };
        let shards: Vec<(u16, u32)> =
            self.shards.iter().map(|(number, members)| (*number, places(members))).collect();
        let count = locals.len() as u64 + shards.iter().map(|(_, places)| u64::from(*places)).sum::<u64>();
        GroupView { name: Arc::clone(name), locals, shards, places: count, turn: Arc::clone(&self.turn) }
    }
}

impl GroupView {
    /// The group's name.
    pub(crate) fn name(&self) -> &GroupRef {
        &self.name
    }

    /// Picks the place that takes a message; members whose window is full are passed over as long as
    /// another has room. `None` when there is no member.
    pub(super) fn pick(&self, strategy: SharedStrategy, publisher: &ClientId, topic: &[u8]) -> Option<u64> {
        let place = match strategy {
            SharedStrategy::RoundRobin => self.turn.fetch_add(1, Ordering::Relaxed),
            SharedStrategy::Random => scramble(self.turn.fetch_add(1, Ordering::Relaxed)),
            SharedStrategy::Sticky => 0,
            SharedStrategy::HashClient => hash(publisher.as_str().as_bytes()),
            SharedStrategy::HashTopic => hash(topic),
            SharedStrategy::LeastInFlight => self.least_loaded(),
        };
        let first = place.checked_rem(self.places)?;
        let keeps_place = matches!(
            strategy,
            SharedStrategy::Sticky | SharedStrategy::HashClient | SharedStrategy::HashTopic
        );
        if keeps_place {
            return Some(first);
        }
        let with_room = self.from(first).find(|place| self.has_room(*place));
        Some(with_room.unwrap_or(first))
    }

    /// All places, in the order of turns, beginning with this one.
    fn from(&self, first: u64) -> impl Iterator<Item = u64> + use<> {
        (first..self.places).chain(0..first)
    }

    /// All places but this one, in the order of turns: who takes its messages when its holder has ended.
    pub(super) fn behind(&self, place: u64) -> impl Iterator<Item = u64> + use<> {
        self.from(place).skip(1)
    }

    /// The place of the transient member with the fewest messages, in turn among equals; a shard's place
    /// when its turn comes, since its members' loads are not known here.
    fn least_loaded(&self) -> u64 {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let locals = self.locals.len() as u64;
        let place = turn.checked_rem(self.places).unwrap_or(0);
        if place >= locals {
            return place;
        }
        (place..locals)
            .chain(0..place)
            .min_by_key(|place| self.local(*place).map_or(u32::MAX, |member| member.inbox.load()))
            .unwrap_or(place)
    }

    /// The transient member with this connection.
    pub(crate) fn member(&self, id: ConnectionId) -> Option<&Member> {
        let index = self.locals.binary_search_by_key(&id, |member| member.inbox.id()).ok()?;
        self.locals.get(index)
    }

    fn local(&self, place: u64) -> Option<&Member> {
        self.locals.get(usize::try_from(place).ok()?)
    }

    fn has_room(&self, place: u64) -> bool {
        self.local(place).is_none_or(|member| member.inbox.room() > 0)
    }

    /// Who has a place.
    pub(super) fn at(&self, place: u64) -> Option<Holder<'_>> {
        if let Some(member) = self.local(place) {
            return Some(Holder::Local(member));
        }
        let mut choice = place.checked_sub(self.locals.len() as u64)?;
        for (shard, places) in &self.shards {
            if choice < u64::from(*places) {
                let group = Arc::clone(&self.name);
                return Some(Holder::Shard(*shard, GroupPick { group, choice }));
            }
            choice -= u64::from(*places);
        }
        None
    }
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = foldhash::quality::FixedState::default().build_hasher();
    hasher.write(bytes);
    hasher.finish()
}

/// Spreads consecutive numbers evenly and without a pattern (the finaliser of SplitMix64).
fn scramble(n: u64) -> u64 {
    let mut z = n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
