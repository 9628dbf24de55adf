//! Where what a shard decided goes: routes into the route view of every replica, and from the replica that leads the
//! rest, to the hosts that have attached, this one included. Owned by the shard's machine; never waits.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use mqtt_codec::QoS;
use raft_consensus::types::NodeId;
use session_store::command::RouteChange;
use session_store::word::Told;
use session_store::{Answer, Effect, Host, Source};
use topic_index::Filter;

use super::home::Home;
use super::lane::Target;
use super::parts;
use super::peers::{Peers, Word};
use crate::fanout::Fanout;
use crate::routes::as_of_entry;

/// Effects that wait for room on the way to one host at most. A host for which there is more hears nothing further, and
/// attaches again.
const WAITING_MAX: usize = 1 << 18;
/// Of these so many are looked at together at most.
const AT_A_TIME: usize = 1 << 12;

/// A host that hears everything that concerns it.
#[derive(Debug)]
struct Attached {
    number: u64,
    /// How often it was spoken to.
    told: u64,
    /// What it was told of the outbox.
    outbox_full: bool,
    /// What waits for room on the way there.
    waiting: VecDeque<Effect>,
}

/// Where the effects of one shard go.
pub(crate) struct Delivery {
    number: u16,
    me: Host,
    fanout: Arc<Fanout>,
    homes: Arc<[Home]>,
    peers: Peers,
    /// Who hears what this node decides while it leads. Nobody as soon as another has led: they have missed something.
    attached: BTreeMap<Host, Attached>,
    outbox_full: bool,
    /// The number of the shard's routes by now.
    routes: u64,
}

impl Delivery {
    /// For the shard with this number.
    pub(super) fn new(
        (number, me): (u16, Host),
        fanout: &Arc<Fanout>,
        (homes, peers): (&Arc<[Home]>, &Peers),
    ) -> Self {
        let (fanout, homes, peers) = (Arc::clone(fanout), Arc::clone(homes), peers.clone());
        let (attached, outbox_full, routes) = (BTreeMap::new(), false, 0);
        Self { number, me, fanout, homes, peers, attached, outbox_full, routes }
    }

    /// What there is of a route of the shard on this node.
    pub(super) fn announce(&self, change: &RouteChange) {
        self.fanout.change_route(self.number, change);
    }

    /// Whether a client's connection waits for the one before it to stop.
    pub(super) fn some_are_overtaken(&self, some: bool) {
        if let Some(home) = self.homes.get(usize::from(self.number)) {
            home.overtaken.send_if_modified(|told| std::mem::replace(told, some) != some);
        }
    }

    /// The shard's routes are those of this entry of its log, and may have changed by it.
    pub(super) fn routes_as_of(&mut self, index: u64) {
        self.routes = as_of_entry(index);
    }

    /// An entry of the shard's log changed routes: who leads announces it, before anybody hears of what follows.
    fn change_routes(&mut self, index: u64, changes: Vec<(Filter, Option<QoS>)>) {
        if changes.is_empty() {
            return;
        }
        self.routes_as_of(index);
        if let Some(home) = self.homes.get(usize::from(self.number)) {
            home.routes.record(index, changes);
        }
    }

    /// A host hears from now on what concerns it, beginning with `effects`: all that it may have missed.
    pub(super) fn attach(&mut self, host: Host, number: u64, effects: Vec<Effect>) {
        self.attached.retain(|other, _| other.node != host.node || *other == host);
        let (outbox_full, waiting) = (self.outbox_full, VecDeque::new());
        self.attached.insert(host, Attached { number, told: 0, outbox_full, waiting });
        self.tell(host, effects);
    }

    /// Carries out the effects of an entry in their order. Where this node does not lead the shard only routes count:
    /// whoever leads does the rest, and the hosts attach there.
    pub(super) fn carry_out(&mut self, effects: &mut Vec<Effect>, index: u64, leads: bool) {
        if !leads {
            self.attached.clear();
        }
        if effects.is_empty() {
            return;
        }
        let routes = effects.iter().filter_map(|effect| match effect {
            Effect::Route(change) => Some(change),
            _ => None,
        });
        let changed = routes.filter(|change| self.fanout.change_route(self.number, change));
        let changed = changed.map(|change| (change.filter.clone(), change.qos)).collect();
        self.change_routes(index, changed);
        let Some(home) = self.homes.get(usize::from(self.number)) else { return };
        let me = if self.attached.contains_key(&self.me) { Some(self.me) } else { None };
        let mut others: BTreeMap<Host, Vec<Effect>> = BTreeMap::new();
        let mut taken = Vec::new();
        let here = effects.drain(..).filter_map(|effect| match (effect, leads) {
            (Effect::Route(_), _) | (_, false) => None,
            (Effect::Outbox(_), true) => {
                home.relay.filled();
                None
            }
            (Effect::Scan(client, ask), true) => {
                home.relay.scan(client, ask);
                None
            }
            (Effect::Answer(Answer { source: Source::Outbox(outbox), number, .. }), true) => {
                taken.push((outbox.0, number));
                None
            }
            (effect, true) => match host_of(&effect) {
                host if host == me => Some(effect),
                Some(host) if host != self.me => {
                    others.entry(host).or_default().push(effect);
                    None
                }
                _ => None,
            },
        });
        if leads {
            home.routes.tell(self.routes);
        }
        home.carry_out(here);
        taken.into_iter().for_each(|(outbox, position)| self.taken(outbox, position));
        others.into_iter().for_each(|(host, effects)| self.tell(host, effects));
    }

    /// This shard has what an outbox sent, up to a position: whoever leads that one is told.
    fn taken(&self, outbox: u16, position: u64) {
        let Some(home) = self.homes.get(usize::from(outbox)) else { return };
        match home.link.leader() {
            Some(leader) if leader != node_of(self.me) => {
                self.peers.tell(leader, outbox, Word::Taken(self.number, position));
            }
            // Where nobody is known to lead it asks again.
            _ => home.relay.answered(Target::Shard(self.number), position),
        }
    }

    fn tell(&mut self, host: Host, effects: Vec<Effect>) {
        let Some(attached) = self.attached.get_mut(&host) else { return };
        attached.outbox_full = self.outbox_full;
        if effects.is_empty() && attached.waiting.is_empty() {
            // News of the outbox, or that nothing was missed: there is always room for that.
            return self.say(host, Vec::new(), false);
        }
        attached.waiting.extend(effects);
        if attached.waiting.len() > WAITING_MAX {
            attached.waiting.clear();
            // By the number that is missing the host sees that it has to attach again.
            attached.told += 1;
            return self.say(host, Vec::new(), false);
        }
        self.say_waiting(host);
    }

    /// Says what waits for a host, as far as there is room on the way.
    fn say_waiting(&mut self, host: Host) {
        let node = node_of(host);
        while let Some(attached) =
            self.attached.get_mut(&host).filter(|attached| !attached.waiting.is_empty())
        {
            if !self.peers.has_room_to_tell(node) {
                if let Some(home) = self.homes.get(usize::from(self.number)) {
                    home.backlog.notify_one();
                }
                return;
            }
            let some = attached.waiting.len().min(AT_A_TIME);
            let mut parts = parts::of_effects(attached.waiting.drain(..some).collect());
            if parts.is_empty() {
                return;
            }
            let rest = parts.split_off(1);
            for effect in rest.into_iter().flatten().rev() {
                attached.waiting.push_front(effect);
            }
            let more = !attached.waiting.is_empty();
            parts.into_iter().for_each(|effects| self.say(host, effects, more));
        }
    }

    fn say(&mut self, host: Host, effects: Vec<Effect>, more: bool) {
        let Some(attached) = self.attached.get_mut(&host) else { return };
        let (attachment, number, routes) = (attached.number, attached.told, self.routes);
        attached.told += 1;
        let outbox_full = self.outbox_full;
        let told = Told { attachment, number, outbox_full, routes, more, effects };
        self.peers.tell(node_of(host), self.number, Word::Told(told));
    }

    /// Goes on with what waits for room on the way to hosts.
    pub(super) fn go_on(&mut self) {
        let waits: Vec<Host> = self.lagging().collect();
        waits.into_iter().for_each(|host| self.say_waiting(host));
    }

    /// The hosts on whose way something waits for room.
    pub(super) fn lagging(&self) -> impl Iterator<Item = Host> {
        self.attached.iter().filter(|(_, attached)| !attached.waiting.is_empty()).map(|(host, _)| *host)
    }

    /// Whether the shard's outbox is full.
    pub(super) fn outbox_is_full(&mut self, full: bool) {
        if self.outbox_full == full {
            return;
        }
        self.outbox_full = full;
        let news = self.attached.iter().filter(|(_, attached)| attached.outbox_full != full);
        let news: Vec<Host> = news.map(|(host, _)| *host).collect();
        news.into_iter().for_each(|host| self.tell(host, Vec::new()));
    }
}

/// The host that an effect concerns.
fn host_of(effect: &Effect) -> Option<Host> {
    match effect {
        Effect::Answer(Answer { source: Source::Host(host), .. })
        | Effect::Gap { source: Source::Host(host), .. } => Some(*host),
        Effect::Reply(connection, _) | Effect::Push(connection, _) => Some(connection.host),
        _ => None,
    }
}

/// The number by which the log knows a host's node.
pub(super) fn node_of(host: Host) -> NodeId {
    NodeId::from(host.node.0)
}

#[cfg(test)]
mod tests {
    use std::future::Future as _;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Poll, Waker};

    use session_store::command::Reply;
    use session_store::limits::QueuePolicy;
    use session_store::{ConnectionId, Incarnation, NodeId as Node};

    use super::*;
    use crate::config::SharedStrategy;
    use crate::inbox::{Inbox, InboxLimits};
    use crate::shard::sending::Sending;

    const HOST: Host = Host { node: Node(1), incarnation: Incarnation(1) };
    const OTHER: Host = Host { node: Node(2), incarnation: Incarnation(1) };

    fn connection(homes: &[Home], host: Host) -> Arc<Inbox> {
        let limits =
            InboxLimits { messages_max: 9, bytes_max: 9, qos0_bytes_max: 9, policy: QueuePolicy::DropNewest };
        let inbox = Inbox::new(ConnectionId { host, number: 1 }, limits);
        homes[0].directory.insert(&inbox);
        inbox
    }

    /// What an earlier leader missed it must not go on behind: the host would leave out what is said again of it.
    #[test]
    fn who_has_led_before_tells_nobody_anything_until_they_attach_again() {
        let fanout = Arc::new(Fanout::new(SharedStrategy::RoundRobin));
        let (home, _words) = Home::new((0, HOST), &Arc::default(), (&fanout, &Sending::new(1)));
        let (homes, peers) = (Arc::new([home]) as Arc<[Home]>, Peers::default());
        peers.join(node_of(HOST), &homes);
        let inbox = connection(&homes, HOST);
        let mut delivery = Delivery::new((0, HOST), &fanout, (&homes, &peers));
        let say = |delivery: &mut Delivery, leads| {
            delivery.carry_out(&mut vec![Effect::Reply(inbox.id(), Reply::Stop)], 1, leads);
            match inbox.poll_take(&Context::from_waker(Waker::noop())) {
                Poll::Ready(taken) => taken.mail.replies.len(),
                Poll::Pending => 0,
            }
        };
        delivery.attach(HOST, homes[0].link.attach(), Vec::new());
        assert_eq!((say(&mut delivery, true), say(&mut delivery, true)), (1, 1));
        assert_eq!(say(&mut delivery, false), 0, "another leads");
        assert_eq!(say(&mut delivery, true), 0, "and something of what that one said is missing here");
        delivery.attach(HOST, homes[0].link.attach(), Vec::new());
        assert_eq!(say(&mut delivery, true), 1);
        // Nothing follows from an entry of another leader: it has led all the same.
        delivery.carry_out(&mut Vec::new(), 2, false);
        assert_eq!(say(&mut delivery, true), 0);
    }

    /// A host that was away for long may have missed more than the way there takes at once.
    #[test]
    fn what_has_no_room_on_the_way_waits_and_keeps_its_order() {
        let fanout = Arc::new(Fanout::new(SharedStrategy::RoundRobin));
        let home_of = |host| {
            Arc::new([Home::new((0, host), &Arc::default(), (&fanout, &Sending::new(1))).0]) as Arc<[Home]>
        };
        let (here, there) = (home_of(HOST), home_of(OTHER));
        let takes = Arc::new(AtomicUsize::new(2));
        let mut peers = Peers::default();
        peers.takes = Some(Arc::clone(&takes));
        peers.join(node_of(OTHER), &there);
        let inbox = connection(&there, OTHER);
        let heard = || match inbox.poll_take(&Context::from_waker(Waker::noop())) {
            Poll::Ready(taken) => taken.mail.replies.len(),
            Poll::Pending => 0,
        };
        let mut delivery = Delivery::new((0, HOST), &fanout, (&here, &peers));
        let missed = |count| (0..count).map(|_| Effect::Reply(inbox.id(), Reply::Stop)).collect::<Vec<_>>();
        delivery.attach(OTHER, there[0].link.attach(), missed(3 * AT_A_TIME));
        assert_eq!((heard(), delivery.lagging().count()), (2 * AT_A_TIME, 1));
        delivery.carry_out(&mut missed(1), 1, true);
        assert_eq!(heard(), 0, "nothing overtakes what waits");
        takes.store(9, Ordering::Relaxed);
        delivery.go_on();
        assert_eq!((heard(), delivery.lagging().count()), (AT_A_TIME + 1, 0));

        takes.store(0, Ordering::Relaxed);
        let mut broken = std::pin::pin!(there[0].link.until_broken());
        let mut is_broken = || broken.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready();
        delivery.carry_out(&mut missed(WAITING_MAX), 2, true);
        assert!(!is_broken(), "all of it still waits");
        delivery.carry_out(&mut missed(1), 3, true);
        assert!(is_broken() && delivery.lagging().count() == 0, "the host attaches again");
        assert_eq!(heard(), 0);
    }
}
