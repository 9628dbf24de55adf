//! Fan-out: who gets a message that this node accepted. Holds the route view of the node: which transient
//! subscribers, which shards and which shared groups a topic matches; of a node with peers together with the cluster's.
//! Called by connections, by the shards' relays and for what other hosts send; never waits, never touches a socket.

mod cache;
mod elsewhere;
mod gathering;
mod groups;
mod others;
mod parts;
mod view;

use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use mqtt_codec::QoS;
use parking_lot::RwLock;
use session_store::command::{GroupPick, RouteChange};
use session_store::matching::{Copied, GroupRef, Own, Subscribed};
use session_store::picks::Taker;
use session_store::word::GroupMembers;
use session_store::{ClientId, ConnectionId, Host, MessageRef, ShardId};
use topic_index::Filter;

pub(crate) use self::cache::TopicCache;
pub(crate) use self::elsewhere::Elsewhere;
pub(crate) use self::gathering::{Accepted, Gathering, Placed};
pub(crate) use self::groups::GroupView;
use self::groups::Holder;
pub(crate) use self::parts::Destination;
use self::view::{Highest, View};
use crate::config::SharedStrategy;
use crate::inbox::{Dropped, Inbox};

/// A transient subscriber that a topic matches.
#[derive(Debug)]
pub(crate) struct LocalTarget {
    /// Its mailbox.
    pub(crate) inbox: Arc<Inbox>,
    /// How it wants the message.
    pub(crate) copy: Copied,
    /// How it wants its own.
    pub(crate) own: Own,
}

/// Everything that one topic matches, as of one version of the route view.
#[derive(Debug, Default)]
pub(crate) struct Matched {
    /// Transient subscribers of this node.
    pub(crate) locals: Vec<LocalTarget>,
    /// Shards with persistent subscribers, and the highest QoS granted there: nobody waits for one that
    /// sends all of it at QoS 0.
    pub(crate) shards: Vec<(u16, QoS)>,
    /// Other hosts with transient subscribers, and the highest QoS granted there.
    pub(crate) hosts: Vec<(Host, QoS)>,
    /// Shared groups.
    pub(crate) groups: Vec<Arc<GroupView>>,
    /// The entry of the cluster group's log that it is as of at least: what a lease has to allow.
    pub(crate) as_of: u64,
    version: u64,
}

/// Who takes a message in a group.
#[derive(Debug)]
pub(crate) enum Next {
    /// A member here has it.
    Here,
    /// Somebody who picks one of the members there.
    Elsewhere(Destination, GroupPick),
    /// Nobody is left.
    Nobody,
}

/// The view as it is at some moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    /// What was matched in this version stands as of this entry of the cluster group's log.
    pub(crate) as_of: u64,
    version: u64,
}

impl Matched {
    /// Whether nobody gets the message.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many get it.
    fn len(&self) -> usize {
        self.locals.len() + self.shards.len() + self.hosts.len() + self.groups.len()
    }
}

/// The fan-out of one node.
#[derive(Debug)]
pub(crate) struct Fanout {
    view: RwLock<View>,
    /// Grows with each change of the view, under its write lock, so that view and version read under one
    /// read lock belong together.
    version: AtomicU64,
    strategy: SharedStrategy,
    /// Of a node with peers: who is on other nodes.
    elsewhere: OnceLock<Elsewhere>,
}

impl Fanout {
    /// An empty view.
    pub(crate) fn new(strategy: SharedStrategy) -> Self {
        let (view, version) = (RwLock::new(View::default()), AtomicU64::new(1));
        Self { view, version, strategy, elsewhere: OnceLock::new() }
    }

    /// The node has peers: from now on the cluster's view says which shards and which other hosts get a message, and the
    /// others hear of the transient subscribers here. To be called before there are any, once.
    pub(crate) fn join(&self, elsewhere: Elsewhere) {
        let _joined_before = self.elsewhere.set(elsewhere);
    }

    fn change<R>(&self, change: impl FnOnce(&mut View) -> R) -> R {
        let mut view = self.view.write();
        let result = change(&mut view);
        self.version.fetch_add(1, Ordering::Release);
        result
    }

    /// Changes the transient subscribers of a filter, and has the other nodes hear of it.
    fn change_locals(&self, filter: &Filter, change: impl FnOnce(&mut View) -> Highest) {
        self.change(|view| self.announce(filter, change(view)));
    }

    /// Under the lock of the view, so that changes of one filter are announced in their order.
    fn announce(&self, filter: &Filter, (before, now): Highest) {
        if let Some(elsewhere) = self.elsewhere.get().filter(|_| before != now) {
            elsewhere.announced.change(filter.clone(), now);
        }
    }

    /// Adds or replaces a subscription of a transient session. Every publish that is matched on this node after this
    /// returns, on any thread, sees it; those on other nodes once what this host has announced by then is in force.
    pub(crate) fn subscribe(&self, filter: &Filter, inbox: &Arc<Inbox>, subscribed: Subscribed) {
        self.change_locals(filter, |view| view.subscribe(filter, inbox, subscribed));
    }

    /// Removes a subscription of a transient session.
    pub(crate) fn unsubscribe(&self, filter: &Filter, id: ConnectionId) {
        self.change_locals(filter, |view| view.unsubscribe(filter, id));
    }

    /// Removes all subscriptions of a transient session.
    pub(crate) fn unsubscribe_all<'a>(&self, filters: impl Iterator<Item = &'a Filter>, id: ConnectionId) {
        self.change(|view| filters.for_each(|filter| self.announce(filter, view.unsubscribe(filter, id))));
    }

    /// What a shard has of a filter changed; says whether that is a change of its route. Of a node with peers the
    /// cluster's view says which shards have ordinary subscribers, and this one how many members groups have there.
    pub(crate) fn change_route(&self, shard: u16, change: &RouteChange) -> bool {
        if self.elsewhere.get().is_some() && matches!(change.filter, Filter::Plain(_)) {
            return true;
        }
        self.change(|view| view.change_route(shard, change))
    }

    /// Another host has said how many members groups have there.
    pub(crate) fn members_heard(&self, host: Host, members: &[GroupMembers]) {
        let changed = self.elsewhere.get().is_some_and(|elsewhere| elsewhere.heard(host, members));
        if changed {
            self.change(|_| ());
        }
    }

    /// The view now.
    pub(crate) fn now(&self) -> Now {
        let Some(elsewhere) = self.elsewhere.get() else {
            return Now { as_of: 0, version: self.version.load(Ordering::Acquire) };
        };
        // In this order: what stands in the version that is read stands as of the entry that was read before.
        let as_of = elsewhere.routes.applied();
        let version = self.version.load(Ordering::Acquire) + elsewhere.routes.version();
        Now { as_of, version }
    }

    /// What a topic matches as of `now` at least. `cache` remembers it until the view changes.
    pub(crate) fn matched(&self, topic: &[u8], now: Now, cache: &mut TopicCache) -> Rc<Matched> {
        if let Some(matched) = cache.get(topic, now.version) {
            return matched;
        }
        let matched = Rc::new(self.match_now(topic));
        cache.insert(topic, &matched);
        matched
    }

    /// Whether something was matched in this view.
    pub(crate) fn stands(matched: &Matched, now: Now) -> bool {
        now.version == matched.version
    }

    /// Whether the view has not changed since it was matched.
    pub(crate) fn is_current(&self, matched: &Matched) -> bool {
        Self::stands(matched, self.now())
    }

    /// What a topic matches now, not remembered.
    pub(crate) fn match_now(&self, topic: &[u8]) -> Matched {
        let mut matched = self.match_here(topic);
        if let Some(elsewhere) = self.elsewhere.get() {
            elsewhere.add_to(&mut matched, topic);
        }
        matched
    }

    /// What a topic matches in the node's own view, which of a node with peers is who is here, and groups.
    pub(crate) fn match_here(&self, topic: &[u8]) -> Matched {
        let view = self.view.read();
        let version = self.version.load(Ordering::Acquire);
        view.matched(topic, version)
    }

    /// Picks one place of a group for a message by the configured strategy.
    fn pick(&self, group: &GroupView, publisher: &ClientId, topic: &[u8]) -> Option<u64> {
        group.pick(self.strategy, publisher, topic)
    }

    /// Picks who takes a message in a group, for a relay that has it logged.
    pub(crate) fn taker(&self, group: &GroupView, publisher: &ClientId, topic: &[u8]) -> Option<Taker> {
        Some(match group.at(self.pick(group, publisher, topic)?)? {
            Holder::Local(member) => Taker::Member(member.inbox.id()),
            Holder::Elsewhere(Destination::Shard(shard), pick) => Taker::Shard(ShardId(shard), pick.choice),
            Holder::Elsewhere(Destination::Host(host), _) => Taker::Member(ConnectionId::any_on(host)),
        })
    }

    /// Gives a message to one of the transient members that a group has here; `None` where there is none.
    pub(crate) fn give_here(
        &self,
        group: &GroupRef,
        publisher: &ClientId,
        message: &MessageRef,
    ) -> Option<Dropped> {
        let here = self.view.read().group(group)?.only_here();
        let first = self.pick(&here, publisher, message.body.topic())?;
        std::iter::once(first).chain(here.behind(first)).find_map(|place| match here.at(place)? {
            Holder::Local(member) => member.take(message, group),
            Holder::Elsewhere(..) => None,
        })
    }

    /// Gives a message to the member of a group that was picked, or says who is to pick one.
    pub(crate) fn place(&self, matched: &Matched, publisher: &ClientId, message: &MessageRef) -> Next {
        let Some(group) = matched.groups.first() else { return Next::Nobody };
        let Some(first) = self.pick(group, publisher, message.body.topic()) else { return Next::Nobody };
        let places = std::iter::once(first).chain(group.behind(first));
        let next = places.into_iter().find_map(|place| match group.at(place)? {
            Holder::Local(member) => member.take(message, group.name()).map(|_| Next::Here),
            Holder::Elsewhere(to, pick) => Some(Next::Elsewhere(to, pick)),
        });
        next.unwrap_or(Next::Nobody)
    }

    /// How many transient members a group has here.
    pub(crate) fn members_here(&self, group: GroupRef) -> GroupMembers {
        let here = self.view.read().group(&group);
        let (members, full) = here.map_or((0, 0), |group| (group.locals(), group.full_locals()));
        let count = |members: usize| u32::try_from(members).unwrap_or(u32::MAX);
        GroupMembers { group, members: count(members), full: count(full) }
    }

    /// The group of that name as it is now, and nobody else: where a message of a member that is gone goes.
    pub(crate) fn group_now(&self, name: &GroupRef) -> Matched {
        let mut matched = {
            let view = self.view.read();
            let version = self.version.load(Ordering::Acquire);
            Matched { groups: view.group(name).into_iter().collect(), version, ..Matched::default() }
        };
        if let Some(elsewhere) = self.elsewhere.get() {
            elsewhere.add_group_to(&mut matched, name);
        }
        matched
    }

    /// The same, but for those that turned out to have no member any more.
    pub(crate) fn group_without(&self, name: &GroupRef, gone: &[Destination]) -> Matched {
        let matched = self.group_now(name);
        let groups = matched.groups.iter().map(|group| Arc::new(group.without(gone))).collect();
        Matched { groups, ..matched }
    }

    /// Subscriptions of transient sessions: ordinary ones, and shared ones.
    pub(crate) fn subscriptions(&self) -> (usize, usize) {
        self.view.read().subscriptions()
    }
}

#[cfg(test)]
mod tests;
