//! Shared groups: who is a member, and which one takes a message (section 4.8.2 of MQTT 5.0).
//! A group's members are transient sessions of this node, each by itself, shards with persistent ones, each with as many
//! places as it has members connected (all of them while none is), and other hosts, each with as many as it was last heard to have.

use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use mqtt_codec::QoS;
use session_store::command::{GroupPick, Members, RouteChange};
use session_store::matching::{Copied, GroupName, GroupRef, Subscribed};
use session_store::{ClientId, ConnectionId, MessageRef};
use topic_index::{PlainFilter, Slot};

use super::others::Others;
use super::parts::Destination;
use super::view::Granted;
use crate::config::SharedStrategy;
use crate::inbox::{Dropped, Inbox, Run};

/// A transient member.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    /// Its mailbox.
    pub(crate) inbox: Arc<Inbox>,
    /// How it wants the messages.
    pub(crate) copy: Copied,
}

impl Member {
    /// Leaves a message with it; `None` where it has ended.
    pub(super) fn take(&self, message: &MessageRef, group: &GroupRef) -> Option<Dropped> {
        let messages = std::iter::once(message);
        let dropped = self.inbox.deliver(Run { messages, copy: &self.copy, group: Some(group) });
        (!dropped.closed).then_some(dropped)
    }
}

/// Who has a place in a group.
#[derive(Debug)]
pub(crate) enum Holder<'a> {
    /// A transient member of this node.
    Local(&'a Member),
    /// A member of a shard or of another host, which is picked there.
    Elsewhere(Destination, GroupPick),
}

/// One group as it was at one version of the route view.
#[derive(Debug)]
pub(crate) struct GroupView {
    name: GroupRef,
    /// In the order of their connections.
    locals: Vec<Member>,
    /// Shards and other hosts, whose places lie behind `locals` in the order of places.
    elsewhere: Vec<Others>,
    places: u64,
    turns: Turns,
}

/// Whose turn it is.
#[derive(Clone, Debug, Default)]
struct Turns {
    /// Of all, for what is published here.
    all: Arc<AtomicU64>,
    /// Of the members here, for what others have sent to one of them: were it the same, both would go in step.
    here: Arc<AtomicU64>,
}

/// What a shard says of a group: the highest QoS granted there, and how many members it has.
type RouteOfShard = (QoS, Members);

/// One group in the route view.
#[derive(Debug, Default)]
pub(super) struct GroupSlot {
    name: Option<GroupRef>,
    locals: Vec<(ConnectionId, Arc<Inbox>, Subscribed)>,
    granted: Granted,
    shards: Vec<(u16, RouteOfShard)>,
    turns: Turns,
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
        self.granted.count(subscribed.qos, true);
        match self.locals.binary_search_by_key(&inbox.id(), |(id, ..)| *id) {
            Ok(index) => {
                if let Some(found) = self.locals.get_mut(index) {
                    let old = std::mem::replace(&mut found.2, subscribed);
                    self.granted.count(old.qos, false);
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
        let removed = found.map(|index| self.locals.remove(index)).ok();
        removed.iter().for_each(|(.., old)| self.granted.count(old.qos, false));
        removed.is_some()
    }

    /// What its transient members here were granted.
    pub(super) fn granted(&self) -> &Granted {
        &self.granted
    }

    /// Takes over how many members a shard has; says whether their highest QoS is another one now.
    pub(super) fn set_shard(&mut self, shard: u16, change: &RouteChange) -> bool {
        self.view = OnceLock::new();
        let known = self.shards.iter().find(|(number, _)| *number == shard).map(|(_, (qos, _))| *qos);
        self.shards.retain(|(number, _)| *number != shard);
        if let Some(qos) = change.qos {
            self.shards.push((shard, (qos, change.members)));
            self.shards.sort_unstable_by_key(|(number, _)| *number);
        }
        known != change.qos
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
        let connected = self.shards.iter().any(|(_, (_, of))| of.connected > 0) || !locals.is_empty();
        let places = |members: &Members| if connected { members.connected } else { members.all };
        let shard = |(number, (_, of)): &(u16, RouteOfShard)| Others::of_shard(*number, places(of));
        let elsewhere = self.shards.iter().map(shard).collect();
        GroupView::of(Arc::clone(name), (locals, elsewhere), self.turns.clone())
    }
}

impl GroupView {
    fn of(name: GroupRef, (locals, elsewhere): (Vec<Member>, Vec<Others>), turns: Turns) -> Self {
        let places = elsewhere.iter().map(|others| u64::from(others.places)).sum::<u64>();
        let places = locals.len() as u64 + places;
        Self { name, locals, elsewhere, places, turns }
    }

    /// A group with nobody here; turns begin with this one.
    pub(super) fn without_locals(name: GroupRef, turn: u64) -> Self {
        let turns = Turns { all: Arc::new(AtomicU64::new(turn)), ..Turns::default() };
        Self::of(name, (Vec::new(), Vec::new()), turns)
    }

    /// The same group with these besides, each with its places; those that it has already keep theirs.
    pub(super) fn with(&self, others: impl Iterator<Item = Others>) -> Self {
        let mut elsewhere = self.elsewhere.clone();
        for others in others {
            if !elsewhere.iter().any(|known| known.to == others.to) {
                elsewhere.push(others);
            }
        }
        Self::of(Arc::clone(&self.name), (self.locals.clone(), elsewhere), self.turns.clone())
    }

    /// The same group without those who have no member any more.
    pub(super) fn without(&self, gone: &[Destination]) -> Self {
        let stays = |others: &&Others| !gone.contains(&others.to);
        let elsewhere = self.elsewhere.iter().filter(stays).cloned().collect();
        Self::of(Arc::clone(&self.name), (self.locals.clone(), elsewhere), self.turns.clone())
    }

    /// The same group, of which only who is here counts.
    pub(super) fn only_here(&self) -> Self {
        let here = Arc::clone(&self.turns.here);
        let turns = Turns { all: Arc::clone(&here), here };
        Self::of(Arc::clone(&self.name), (self.locals.clone(), Vec::new()), turns)
    }

    /// How many members are here.
    pub(super) fn locals(&self) -> usize {
        self.locals.len()
    }

    /// How many of them have no room in their window.
    pub(super) fn full_locals(&self) -> usize {
        self.locals.iter().filter(|member| member.inbox.room() == 0).count()
    }

    /// The group's name.
    pub(crate) fn name(&self) -> &GroupRef {
        &self.name
    }

    /// Picks the place that takes a message; members whose window is full are passed over as long as
    /// another has room. `None` when there is no member.
    pub(super) fn pick(&self, strategy: SharedStrategy, publisher: &ClientId, topic: &[u8]) -> Option<u64> {
        let place = match strategy {
            SharedStrategy::RoundRobin => self.turns.all.fetch_add(1, Ordering::Relaxed),
            SharedStrategy::Random => scramble(self.turns.all.fetch_add(1, Ordering::Relaxed)),
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
        let turn = self.turns.all.fetch_add(1, Ordering::Relaxed);
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
        match self.local(place) {
            Some(member) => member.inbox.room() > 0,
            None => self.others(place).is_some_and(|(others, choice)| others.has_room(choice)),
        }
    }

    /// Who has a place that is not here, and as which of theirs.
    fn others(&self, place: u64) -> Option<(&Others, u64)> {
        let mut choice = place.checked_sub(self.locals.len() as u64)?;
        for others in &self.elsewhere {
            if choice < u64::from(others.places) {
                return Some((others, choice));
            }
            choice -= u64::from(others.places);
        }
        None
    }

    /// Who has a place.
    pub(super) fn at(&self, place: u64) -> Option<Holder<'_>> {
        if let Some(member) = self.local(place) {
            return Some(Holder::Local(member));
        }
        let (others, choice) = self.others(place)?;
        Some(Holder::Elsewhere(others.to, GroupPick { group: Arc::clone(&self.name), choice }))
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
