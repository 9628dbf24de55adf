//! Fan-out: who gets a message that this node accepted. Holds the route view of the node: which transient
//! subscribers, which shards and which shared groups a topic matches. Called by connections and by the
//! shards' relays; never waits, never touches a socket.

mod cache;
mod gathering;
mod groups;
mod parts;
mod view;

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use mqtt_codec::QoS;
use parking_lot::RwLock;
use session_store::command::RouteChange;
use session_store::matching::{Copied, GroupRef, Own, Subscribed};
use session_store::picks::Taker;
use session_store::{ClientId, ConnectionId, ShardId};
use topic_index::Filter;

pub(crate) use self::cache::TopicCache;
pub(crate) use self::gathering::{Accepted, Gathering, Placed};
pub(crate) use self::groups::GroupView;
use self::groups::Holder;
use self::view::View;
use crate::config::SharedStrategy;
use crate::inbox::Inbox;

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
    /// Shared groups.
    pub(crate) groups: Vec<Arc<GroupView>>,
    version: u64,
}

impl Matched {
    /// Whether nobody gets the message.
    pub(crate) fn is_empty(&self) -> bool {
        self.locals.is_empty() && self.shards.is_empty() && self.groups.is_empty()
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
}

impl Fanout {
    /// An empty view.
    pub(crate) fn new(strategy: SharedStrategy) -> Self {
        Self { view: RwLock::new(View::default()), version: AtomicU64::new(1), strategy }
    }

    fn change<R>(&self, change: impl FnOnce(&mut View) -> R) -> R {
        let mut view = self.view.write();
        let result = change(&mut view);
        self.version.fetch_add(1, Ordering::Release);
        result
    }

    /// Adds or replaces a subscription of a transient session. Every publish that is matched after this
    /// returns, on any thread, sees it.
    pub(crate) fn subscribe(&self, filter: &Filter, inbox: &Arc<Inbox>, subscribed: Subscribed) {
        self.change(|view| view.subscribe(filter, inbox, subscribed));
    }

    /// Removes a subscription of a transient session.
    pub(crate) fn unsubscribe(&self, filter: &Filter, id: ConnectionId) {
        self.change(|view| view.unsubscribe(filter, id));
    }

    /// Removes all subscriptions of a transient session.
    pub(crate) fn unsubscribe_all<'a>(&self, filters: impl Iterator<Item = &'a Filter>, id: ConnectionId) {
        self.change(|view| filters.for_each(|filter| view.unsubscribe(filter, id)));
    }

    /// Every message goes to each of so many shards from now on, whoever subscribes there: with replicas on other nodes
    /// this one's routes may be older than a subscription that was answered.
    pub(crate) fn reach_all(&self, shards: u16) {
        self.change(|view| view.reach_all(shards));
    }

    /// A shard announces that a route changed.
    pub(crate) fn change_route(&self, shard: u16, change: &RouteChange) {
        self.change(|view| view.change_route(shard, change));
    }

    /// What a topic matches now. `cache` remembers it until the view changes.
    pub(crate) fn matched(&self, topic: &[u8], cache: &mut TopicCache) -> Rc<Matched> {
        let version = self.version.load(Ordering::Acquire);
        if let Some(matched) = cache.get(topic, version) {
            return matched;
        }
        let matched = Rc::new(self.match_now(topic));
        cache.insert(topic, &matched);
        matched
    }

    /// Whether the view has not changed since it was matched.
    pub(crate) fn is_current(&self, matched: &Matched) -> bool {
        self.version.load(Ordering::Acquire) == matched.version
    }

    /// What a topic matches now, not remembered.
    pub(crate) fn match_now(&self, topic: &[u8]) -> Matched {
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
            Holder::Shard(shard, pick) => Taker::Shard(ShardId(shard), pick.choice),
        })
    }

    /// The group of that name as it is now, and nobody else: where a message of a member that is gone goes.
    pub(crate) fn group_now(&self, name: &GroupRef) -> Matched {
        let view = self.view.read();
        let version = self.version.load(Ordering::Acquire);
        Matched { groups: view.group(name).into_iter().collect(), version, ..Matched::default() }
    }

    /// Subscriptions of transient sessions: ordinary ones, and shared ones.
    pub(crate) fn subscriptions(&self) -> (usize, usize) {
        self.view.read().subscriptions()
    }
}

#[cfg(test)]
mod tests;
