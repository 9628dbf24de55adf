//! Time, the network and the nodes: what happens next follows from the seed and from what a test does. Knows nothing of
//! leases.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use raft_consensus::cluster::{ClusterId, Command, Founding};
use session_store::{ClientId, Epoch, Host};

use crate::check::Check;
use crate::node::{Message, Node, Publish};

pub(crate) type Id = u32;

/// How often a node looks at its timers, and does the next step of what it is at.
pub(crate) const TICK: Duration = Duration::from_millis(5);

pub(crate) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A fault that is built in, to show that it would be noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// The clock is read before the match.
    CheckFirst,
    /// A lease is dated from when the heartbeats' answers came.
    DatedFromReceipt,
    /// The node counts its lease from when the answer came.
    CountedFromAnswer,
    /// A new leader takes no lease as running.
    NoWait,
    /// A new leader grants leases at once.
    NotCommitted,
    /// SUBACK of a filter that was known before waits for nothing.
    SubackAtOnce,
    /// A new lease ends the one before, and counts at once.
    AnyIndex,
    /// The node's clock stands still while it is stopped.
    ClockStops,
    /// Frames of fenced connections take effect.
    NoFence,
}

/// A sequence of numbers that looks like chance (SplitMix64).
#[derive(Clone, Copy)]
pub(crate) struct Chance(pub u64);

impl Chance {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(crate) fn one_in(&mut self, many: u64) -> bool {
        self.below(many) == 0
    }
}

enum Event {
    Deliver(Id, Id, Message),
    Tick(Id),
}

pub(crate) struct World {
    pub(crate) now: Duration,
    pub(crate) chance: Chance,
    pub(crate) nodes: BTreeMap<Id, Node>,
    /// Ways on which everything is lost.
    pub(crate) cut: BTreeSet<(Id, Id)>,
    /// Ways on which everything is lost and every attempt to connect refused, by a firewall.
    pub(crate) rejected: BTreeSet<(Id, Id)>,
    pub(crate) delay_ms: u64,
    queue: BTreeMap<(Duration, u64), Event>,
    sequence: u64,
    pub(crate) check: Check,
}

impl World {
    pub(crate) fn new(voters: u32, seed: u64, mutant: Option<Mutant>) -> Self {
        let mut chance = Chance(seed);
        let founding = Founding { cluster: ClusterId([1; 16]), shards: 2 };
        let nodes = (1..=voters).map(|id| (id, Node::new(id, voters, chance.next(), mutant))).collect();
        let mut world = Self {
            now: Duration::ZERO,
            chance,
            nodes,
            cut: BTreeSet::new(),
            rejected: BTreeSet::new(),
            delay_ms: 4,
            queue: BTreeMap::new(),
            sequence: 0,
            check: Check::default(),
        };
        for id in 1..=voters {
            world.schedule(TICK, Event::Tick(id));
        }
        world.elect(1);
        world.node(1).propose(Command::Found(founding));
        world.until("all nodes have leases", |world| world.all_hold());
        world
    }

    pub(crate) fn node(&mut self, id: Id) -> &mut Node {
        self.nodes.get_mut(&id).unwrap()
    }

    fn schedule(&mut self, after: Duration, event: Event) {
        self.sequence += 1;
        self.queue.insert((self.now + after, self.sequence), event);
    }

    /// Makes a node stand for election now, past all timers and preferences, as a leader's handing over does.
    pub(crate) fn stand(&mut self, id: Id) {
        let now = self.now;
        self.node(id).stand(true, now);
        self.collect(id);
    }

    /// Elects a node, and waits until it knows.
    pub(crate) fn elect(&mut self, id: Id) {
        self.stand(id);
        self.until("it was elected", |world| world.nodes[&id].log.leads);
    }

    pub(crate) fn pair(one: Id, other: Id) -> [(Id, Id); 2] {
        [(one, other), (other, one)]
    }

    /// Cuts a node off from these, in both directions.
    pub(crate) fn cut_off(&mut self, id: Id, from: impl IntoIterator<Item = Id>) {
        self.cut
            .extend(from.into_iter().filter(|other| *other != id).flat_map(|other| Self::pair(id, other)));
    }

    pub(crate) fn kill(&mut self, id: Id) {
        self.node(id).up = false;
        self.node(id).held.clear();
    }

    pub(crate) fn restart(&mut self, id: Id) {
        let now = self.now;
        self.node(id).restart(now);
    }

    pub(crate) fn pause(&mut self, id: Id) {
        let now = self.now;
        self.node(id).pause(now);
    }

    pub(crate) fn resume(&mut self, id: Id) {
        let now = self.now;
        let held = self.node(id).resume(now);
        for (from, message) in held {
            self.schedule(Duration::ZERO, Event::Deliver(from, id, message));
        }
    }

    pub(crate) fn heal(&mut self) {
        self.cut.clear();
        self.rejected.clear();
        let ids: Vec<Id> = self.nodes.keys().copied().collect();
        for id in ids {
            self.resume(id);
            self.node(id).applies = true;
            self.node(id).log.withholds = false;
            if !self.nodes[&id].up {
                self.restart(id);
            }
        }
    }

    /// Sends what a node has to send, and writes down what it did.
    fn collect(&mut self, id: Id) {
        let node = self.nodes.get_mut(&id).unwrap();
        let (out, done) = (std::mem::take(&mut node.out), std::mem::take(&mut node.done));
        self.check.log(&self.nodes[&id].log, self.now);
        for what in done {
            self.check.done(what, self.now);
        }
        for (to, message) in out {
            if to != id && (self.cut.contains(&(id, to)) || self.rejected.contains(&(id, to))) {
                continue;
            }
            let delay = if to == id { Duration::ZERO } else { ms(1 + self.chance.below(self.delay_ms)) };
            self.schedule(delay, Event::Deliver(id, to, message));
        }
    }

    /// The next thing that happens.
    fn step(&mut self) {
        let ((at, _), event) = self.queue.pop_first().unwrap();
        self.now = at;
        match event {
            Event::Deliver(from, to, message) => {
                let node = self.nodes.get_mut(&to).unwrap();
                if node.paused {
                    node.held.push((from, message));
                } else if node.up {
                    node.receive(from, message, at);
                }
                self.collect(to);
            }
            Event::Tick(id) => {
                self.schedule(TICK, Event::Tick(id));
                if self.nodes[&id].up && !self.nodes[&id].paused {
                    let refused: Vec<Id> = self
                        .nodes
                        .values()
                        .filter(|peer| {
                            self.rejected.contains(&(id, peer.id))
                                || (!peer.up && !self.cut.contains(&(id, peer.id)))
                        })
                        .map(|peer| peer.id)
                        .collect();
                    self.node(id).tick(&refused, at);
                }
                self.collect(id);
            }
        }
    }

    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.queue.first_key_value().unwrap().0.0 <= end {
            self.step();
        }
        self.now = end;
    }

    /// Goes on until it is so; how long it took.
    pub(crate) fn until(&mut self, what: &str, mut done: impl FnMut(&Self) -> bool) -> Duration {
        let from = self.now;
        while !done(self) {
            assert!(self.now < from + ms(30_000), "not within 30 s: {what}");
            self.run(TICK);
        }
        self.now - from
    }

    pub(crate) fn holds(&self, id: Id) -> bool {
        self.nodes[&id].holds(self.now)
    }

    pub(crate) fn all_hold(&self) -> bool {
        self.nodes.keys().all(|id| self.holds(*id))
    }

    /// A client of a node subscribes.
    pub(crate) fn subscribe(&mut self, id: Id, client: u32, filter: &str) {
        self.node(id).subscribe(client, filter);
        self.collect(id);
    }

    /// Whether the last SUBSCRIBE of that client and filter was answered.
    pub(crate) fn subscribed(&self, client: u32, filter: &str) -> bool {
        self.check.subscribed(client, filter)
    }

    /// A client of a node publishes; the number of the message.
    pub(crate) fn publish(&mut self, id: Id, topic: &str) -> u64 {
        self.publish_as(id, "p", 1, topic)
    }

    pub(crate) fn publish_as(&mut self, id: Id, client: &str, epoch: u64, topic: &str) -> u64 {
        let number = self.check.sent(self.now);
        let (client, epoch) = (ClientId::new(client), Epoch(epoch));
        self.node(id).socket.push_back(Publish { number, topic: topic.to_owned(), client, epoch });
        number
    }

    pub(crate) fn acked(&self, number: u64) -> bool {
        self.check.acked(number)
    }

    pub(crate) fn run_of(&self, id: Id) -> Host {
        self.nodes[&id].run
    }

    /// Panics where something was acknowledged that should not have been.
    pub(crate) fn assert_sound(&self) {
        assert_eq!(self.check.found, Vec::<String>::new());
    }

    /// Everything that was broken comes back, and then everything works.
    pub(crate) fn assert_recovers(&mut self) {
        self.heal();
        self.until("all nodes have leases again", Self::all_hold);
        let ids: Vec<Id> = self.nodes.keys().copied().collect();
        for id in &ids {
            self.subscribe(*id, 1_000 + id, "recovered/+");
        }
        self.until("all SUBSCRIBEs are answered", |world| {
            ids.iter().all(|id| world.subscribed(1_000 + id, "recovered/+"))
        });
        let sent: Vec<u64> = ids.iter().map(|id| self.publish(*id, "recovered/x")).collect();
        self.until("all publishes are acknowledged", |world| sent.iter().all(|number| world.acked(*number)));
        self.assert_sound();
    }
}
