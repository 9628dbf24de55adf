//! A node: the shipped state, view, leases and barrier around a plain log, wired as the broker has to. What it does takes a
//! tick for each step, so that a pause may come between any two.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use mqtt_codec::QoS;
use node_routing::lease::{Applied, Ask, Barrier, Denied, Grant, Hold, Holding, Leases, Moment, Profile};
use node_routing::view::{Announcer, Matched, RouteView};
use raft_consensus::cluster::{Begin, Change, Cluster, Command, Fence, Follow, Owner};
use session_store::{ClientId, Epoch, Host, Incarnation, Millis, NodeId};
use topic_index::Filter;

use crate::check::Done;
use crate::log::{Log, Raft};
use crate::world::{Chance, Id, Mutant, ms};

#[derive(Clone, Debug)]
pub(crate) enum Message {
    Raft(Raft),
    /// What the sender has applied, and the nodes that it has heard of lately.
    Report(Host, u64, Vec<Id>),
    InForce(u64),
    Ask(Ask, Moment),
    Answer(Moment, Result<Grant, Denied>),
    Propose(Command),
    Ping,
    Pong,
    Frame(Fence, u64),
    Taken(u64),
}

#[derive(Clone, Debug)]
pub(crate) struct Publish {
    pub(crate) number: u64,
    pub(crate) topic: String,
    pub(crate) client: ClientId,
    pub(crate) epoch: Epoch,
}

/// How far a publish has come.
enum Stage {
    Read,
    Matched(Matched),
    /// These have not answered.
    Sent(Matched, BTreeSet<Host>),
}

pub(crate) struct Node {
    pub(crate) id: Id,
    pub(crate) run: Host,
    pub(crate) up: bool,
    pub(crate) paused: bool,
    /// What came while it was paused.
    pub(crate) held: Vec<(Id, Message)>,
    pub(crate) log: Log,
    /// Whether it applies what is committed.
    pub(crate) applies: bool,
    chance: Chance,
    /// Thousandths of the world's seconds that its seconds are.
    pub(crate) rate: u32,
    stopped: Duration,
    paused_at: Duration,
    mutant: Option<Mutant>,
    profile: Profile,
    voters: u32,
    state: Cluster,
    applied: u64,
    view: Arc<RouteView>,
    pub(crate) leases: Option<Leases>,
    pub(crate) holding: Holding,
    announcer: Announcer,
    barrier: Barrier,
    in_force: u64,
    pongs: BTreeMap<Id, Moment>,
    heard: BTreeMap<Id, Moment>,
    last_beat: Moment,
    last_ping: Moment,
    last_proposal: Moment,
    /// Filters of transient subscribers.
    filters: BTreeSet<String>,
    waiting: Vec<(u32, String, u64)>,
    takeovers: Vec<(Fence, Option<u64>)>,
    pub(crate) socket: VecDeque<Publish>,
    at_work: Option<(Publish, Stage, bool)>,
    /// Whether there was a lease when there was nothing to do yet.
    looked: bool,
    frames: Vec<(Id, Fence, u64)>,
    closed: bool,
    pub(crate) out: Vec<(Id, Message)>,
    pub(crate) done: Vec<Done>,
}

fn run_of(id: Id, incarnation: u32) -> Host {
    Host { node: NodeId(id), incarnation: Incarnation(incarnation) }
}

impl Node {
    pub(crate) fn new(id: Id, voters: u32, seed: u64, mutant: Option<Mutant>) -> Self {
        let profile = Profile::lan(ms(20)).unwrap();
        let mut chance = Chance(seed);
        // No two clocks differ by more than a tenth.
        let rate = 960 + u32::try_from(chance.below(80)).unwrap();
        let run = run_of(id, 1);
        Self {
            id,
            run,
            up: true,
            paused: false,
            held: Vec::new(),
            log: Log::new(id, voters),
            applies: true,
            chance,
            rate,
            stopped: Duration::ZERO,
            paused_at: Duration::ZERO,
            mutant,
            profile,
            voters,
            state: Cluster::default(),
            applied: 0,
            view: Arc::new(RouteView::new()),
            leases: None,
            holding: Holding::new(&profile, Moment::at(ms(u64::from(id) * 10_000))),
            announcer: Announcer::new(Owner::Host(run), 0),
            barrier: Barrier::default(),
            in_force: 0,
            pongs: BTreeMap::new(),
            heard: BTreeMap::new(),
            last_beat: Moment::default(),
            last_ping: Moment::default(),
            last_proposal: Moment::default(),
            filters: BTreeSet::new(),
            waiting: Vec::new(),
            takeovers: Vec::new(),
            socket: VecDeque::new(),
            at_work: None,
            looked: false,
            frames: Vec::new(),
            closed: false,
            out: Vec::new(),
            done: Vec::new(),
        }
    }

    fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// The node's clock. It began at some other time than every other.
    pub(crate) fn clock(&self, now: Duration) -> Moment {
        let stopped = if self.is(Mutant::ClockStops) { self.stopped } else { Duration::ZERO };
        Moment::at(ms(u64::from(self.id) * 10_000) + (now - stopped) * self.rate / 1_000)
    }

    pub(crate) fn pause(&mut self, now: Duration) {
        if !self.paused {
            (self.paused, self.paused_at) = (true, now);
        }
    }

    pub(crate) fn resume(&mut self, now: Duration) -> Vec<(Id, Message)> {
        if std::mem::take(&mut self.paused) {
            self.stopped += now - self.paused_at;
        }
        std::mem::take(&mut self.held)
    }

    /// Comes back after a kill: with its log and its vote.
    pub(crate) fn restart(&mut self, now: Duration) {
        self.up = true;
        self.log.restart(self.clock(now));
        (self.state, self.applied, self.view) = (Cluster::default(), 0, Arc::new(RouteView::new()));
        self.leases = None;
        self.next_run(now);
    }

    /// All that a run had is over: its connections, and what was on their way.
    fn next_run(&mut self, now: Duration) {
        self.run = run_of(self.id, self.run.incarnation.0 + 1);
        self.holding = Holding::new(&self.profile, self.clock(now));
        self.announcer = Announcer::new(Owner::Host(self.run), 0);
        self.barrier = Barrier::default();
        self.barrier.in_force(self.in_force);
        self.filters.clear();
        self.waiting.clear();
        self.takeovers.clear();
        self.socket.clear();
        self.frames.clear();
        (self.at_work, self.closed) = (None, false);
    }

    pub(crate) fn holds(&self, now: Duration) -> bool {
        self.up && self.allows(self.view.applied(), now)
    }

    fn allows(&self, view: u64, now: Duration) -> bool {
        let view = if self.is(Mutant::AnyIndex) { u64::MAX } else { view };
        self.holding.allows(view, self.clock(now))
    }

    fn send(&mut self, to: Id, message: Message) {
        self.out.push((to, message));
    }

    fn send_raft(&mut self, messages: Vec<(Id, Raft)>) {
        self.out.extend(messages.into_iter().map(|(to, message)| (to, Message::Raft(message))));
    }

    pub(crate) fn stand(&mut self, forced: bool, now: Duration) {
        self.leases = None;
        let votes = self.log.stand(forced, self.clock(now));
        self.send_raft(votes);
    }

    pub(crate) fn propose(&mut self, command: Command) {
        if self.log.leads {
            self.log.propose(command);
            // With the next heartbeat, but at once.
            self.last_beat = Moment::default();
        } else if let Some(leader) = self.log.leader {
            self.send(leader, Message::Propose(command));
        }
    }

    pub(crate) fn subscribe(&mut self, client: u32, filter: &str) {
        let new = self.filters.insert(filter.to_owned());
        let number = if new {
            self.announcer.change(Filter::parse(filter, 16).unwrap(), Some(QoS::AtLeastOnce))
        } else if self.is(Mutant::SubackAtOnce) {
            0
        } else {
            self.announcer.number()
        };
        self.waiting.push((client, filter.to_owned(), number));
    }

    /// As home of a client: its connection is taken for over.
    pub(crate) fn take_over(&mut self, fence: Fence) {
        self.takeovers.push((fence, None));
    }

    pub(crate) fn receive(&mut self, from: Id, message: Message, now: Duration) {
        let clock = self.clock(now);
        self.heard.insert(from, clock);
        match message {
            Message::Raft(message) => self.receive_raft(from, message, now),
            Message::Report(run, applied, heard) => {
                if let Some(leases) = &mut self.leases {
                    leases.reported(run, applied, clock);
                    let live: Vec<Host> =
                        self.state.live().filter(|run| heard.contains(&run.node.0)).collect();
                    live.into_iter().for_each(|run| leases.heard(run, clock));
                }
            }
            Message::InForce(index) => {
                self.in_force = self.in_force.max(index);
                self.barrier.in_force(index);
            }
            Message::Ask(ask, asked) => {
                if let Some(leases) = &mut self.leases {
                    let answer = leases.ask(&ask, clock);
                    self.send(from, Message::Answer(asked, answer));
                }
            }
            Message::Answer(asked, Ok(grant)) => {
                let asked = if self.is(Mutant::CountedFromAnswer) { clock } else { asked };
                self.holding.granted(asked, grant);
            }
            Message::Answer(_, Err(_)) => {}
            Message::Propose(command) => {
                if self.log.leads {
                    self.propose(command);
                }
            }
            Message::Ping => self.send(from, Message::Pong),
            Message::Pong => drop(self.pongs.insert(from, clock)),
            Message::Frame(fence, number) => self.frames.push((from, fence, number)),
            Message::Taken(number) => {
                if let Some((publish, Stage::Sent(_, open), _)) = &mut self.at_work
                    && publish.number == number
                {
                    open.retain(|host| host.node.0 != from);
                }
            }
        }
    }

    fn receive_raft(&mut self, from: Id, message: Raft, now: Duration) {
        let clock = self.clock(now);
        let before = (self.log.commit, self.log.acknowledged);
        let (out, elected) = self.log.receive(from, message, clock);
        self.send_raft(out);
        if elected {
            let since = if self.is(Mutant::NoWait) { Moment::default() } else { clock };
            self.leases = Some(Leases::elected(self.profile, NodeId(self.id), since));
            self.last_beat = clock;
        }
        if !self.log.leads {
            self.leases = None;
        }
        let Some(leases) = &mut self.leases else { return };
        if self.log.acknowledged != before.1
            && let Some((sent, known)) = self.log.acknowledged
        {
            leases.acknowledged(if self.mutant == Some(Mutant::DatedFromReceipt) { known } else { sent });
        }
        if self.log.commit > before.0 {
            // Everybody hears of it at once.
            self.last_beat = Moment::default();
        }
    }

    pub(crate) fn tick(&mut self, refused: &[Id], now: Duration) {
        self.apply(now);
        self.lead(refused, now);
        self.follow(now);
        self.lease(now);
        self.answer(now);
        self.work(now);
        self.take_frames(now);
    }

    /// Applies what is committed, and tells the leader.
    fn apply(&mut self, now: Duration) {
        let before = self.applied;
        while self.applies && self.applied < self.log.commit {
            self.applied += 1;
            let mut changes = Vec::new();
            if let Some(command) = self.log.entries[self.applied as usize - 1].command.clone() {
                let _refused =
                    self.state.apply_telling(Millis(0), &command, &mut |change| changes.push(change));
            }
            self.state.clean_up(1, &mut |change| changes.push(change));
            for change in &changes {
                if let Change::Routes(routes) = change
                    && routes.owner == Owner::Host(self.run)
                {
                    self.announcer.applied(routes.number);
                    self.barrier.applied(Applied { number: routes.number, index: self.applied });
                }
            }
            Follow::applied(&*self.view, self.applied, changes);
        }
        let dead =
            self.state.member(self.run.node).is_some_and(|member| self.run.incarnation < member.lowest_live);
        if dead {
            self.next_run(now);
        }
        if self.applied > before {
            self.report(now);
        }
    }

    fn report(&mut self, now: Duration) {
        let clock = self.clock(now);
        let lately = |(_, at): &(&Id, &Moment)| clock.since(**at) < ms(100);
        let heard = self.heard.iter().filter(lately).map(|(id, _)| *id).collect();
        let to = if self.log.leads { Some(self.id) } else { self.log.leader };
        if let Some(to) = to {
            self.send(to, Message::Report(self.run, self.view.applied(), heard));
        }
    }

    /// What a leader does besides.
    fn lead(&mut self, refused: &[Id], now: Duration) {
        let clock = self.clock(now);
        if !self.log.leads {
            return;
        }
        if clock.since(self.last_beat) >= ms(50) {
            self.last_beat = clock;
            let beat = self.log.beat(clock);
            self.send_raft(beat);
        }
        let Some(leases) = &mut self.leases else { return };
        let own = |index: u64| self.log.term_of(index) == self.log.term;
        let early = self.mutant == Some(Mutant::NotCommitted);
        leases.committed(self.log.commit, early || own(self.log.commit), clock);
        leases.applied(self.applied, own(self.applied), self.state.live().collect::<Vec<_>>(), clock);
        for run in self.state.live().filter(|run| refused.contains(&run.node.0)) {
            leases.refuses(run, clock);
        }
        let (in_force, dead) = (leases.in_force(clock), leases.downs(clock));
        if in_force > self.in_force {
            self.done.push(Done::InForce(in_force));
            (1..=self.voters).for_each(|peer| self.send(peer, Message::InForce(in_force)));
        }
        let tail = self.log.entries[self.log.commit as usize..].to_vec();
        for run in dead {
            let on_its_way = |entry: &crate::log::Entry| entry.command == Some(Command::Down(run));
            if !tail.iter().any(on_its_way) {
                self.propose(Command::Down(run));
            }
        }
    }

    /// Elections, and what everybody has to say to the leader.
    fn follow(&mut self, now: Duration) {
        let clock = self.clock(now);
        if !self.log.leads && clock.since(self.log.heard) > self.log.timeout {
            self.log.timeout = ms(150 + self.chance.below(150));
            self.stand(false, now);
        }
        if clock.since(self.last_ping) >= ms(50) {
            self.last_ping = clock;
            (1..=self.voters)
                .filter(|peer| *peer != self.id)
                .for_each(|peer| self.out.push((peer, Message::Ping)));
            self.report(now);
        }
        if clock.since(self.last_proposal) < ms(40) {
            return;
        }
        self.last_proposal = clock;
        if !self.state.live().any(|run| run == self.run) {
            let begin =
                Begin { host: self.run, token: 1, name: "".into(), address: "".into(), knows_level: 1 };
            self.propose(Command::Begin(begin));
        } else if let Some(routes) = self.announcer.out().cloned() {
            self.propose(Command::Routes(routes));
        }
        let fences: Vec<Fence> = self.takeovers.iter().map(|(fence, _)| fence.clone()).collect();
        let view = Arc::clone(&self.view);
        for fence in fences.into_iter().filter(|fence| view.admits(&fence.client, fence.epoch, fence.host)) {
            self.propose(Command::Fence(fence));
        }
    }

    fn lease(&mut self, now: Duration) {
        let clock = self.clock(now);
        if clock >= self.holding.asks_at() {
            self.holding.asks(clock);
            let lately = |(_, at): &(&Id, &Moment)| clock.since(**at) < ms(300);
            let reached = self.pongs.iter().filter(lately).map(|(id, _)| NodeId(*id)).collect();
            let ask = Ask { run: self.run, applied: self.view.applied(), reached };
            let to = if self.log.leads { Some(self.id) } else { self.log.leader };
            if let Some(to) = to {
                self.send(to, Message::Ask(ask, clock));
            }
        }
        let over = self.holding.hold(self.view.applied(), clock) == Hold::Over;
        if over && !std::mem::replace(&mut self.closed, over) {
            self.done.push(Done::Closed);
        }
    }

    /// SUBACKs and takeovers, once what they wait for is in force.
    fn answer(&mut self, now: Duration) {
        if !self.holds(now) {
            return;
        }
        let reached = self.barrier.reached();
        let run = self.run;
        for (client, filter, _) in self.waiting.extract_if(.., |(_, _, number)| *number <= reached) {
            self.done.push(Done::Subscribed(run, client, filter));
        }
        let (view, in_force) = (Arc::clone(&self.view), self.in_force);
        for (fence, seen) in &mut self.takeovers {
            if seen.is_none() && !view.admits(&fence.client, fence.epoch, fence.host) {
                *seen = Some(view.applied());
            }
        }
        let done = |(_, seen): &mut (Fence, Option<u64>)| seen.is_some_and(|index| index <= in_force);
        for (fence, _) in self.takeovers.extract_if(.., done) {
            self.done.push(Done::TookOver(fence));
        }
    }

    /// The next step of the publish that this node is at.
    fn work(&mut self, now: Duration) {
        let Some((publish, stage, early)) = self.at_work.take() else {
            if let Some(publish) = self.socket.pop_front() {
                self.done.push(Done::Read(publish.number));
                let early = self.is(Mutant::CheckFirst) && self.looked;
                self.at_work = Some((publish, Stage::Read, early));
            }
            self.looked = self.holds(now);
            return;
        };
        if !self.view.admits(&publish.client, publish.epoch, self.run) {
            return;
        }
        let stage = match stage {
            Stage::Read => Stage::Matched(self.view.matched(publish.topic.as_bytes())),
            Stage::Matched(matched) if early || self.allows(matched.index, now) => {
                let hosts = matched.owners.iter().filter_map(|(owner, _)| match owner {
                    Owner::Host(host) => Some(*host),
                    Owner::Shard(_) => None,
                });
                let open = hosts.collect();
                self.send_frames(&publish, &open);
                Stage::Sent(matched, open)
            }
            // It is parked, and matched again.
            Stage::Matched(_) => Stage::Read,
            Stage::Sent(matched, mut open) => {
                let live: BTreeSet<Host> = self.state.live().collect();
                open.retain(|host| live.contains(host));
                if open.is_empty() && (early || self.holds(now)) {
                    self.done.push(Done::Acked(self.run, publish, matched));
                    return;
                }
                if now.subsec_millis() % 50 < 5 {
                    self.send_frames(&publish, &open);
                }
                Stage::Sent(matched, open)
            }
        };
        self.at_work = Some((publish, stage, early));
    }

    fn send_frames(&mut self, publish: &Publish, hosts: &BTreeSet<Host>) {
        let fence =
            Fence { client: publish.client.clone(), epoch: publish.epoch, host: self.run, connection: 1 };
        for host in hosts {
            self.send(host.node.0, Message::Frame(fence.clone(), publish.number));
        }
    }

    /// Frames take effect under a lease, and those of fenced connections not at all.
    fn take_frames(&mut self, now: Duration) {
        if !self.holds(now) {
            return;
        }
        for (from, fence, number) in std::mem::take(&mut self.frames) {
            let view = Arc::clone(&self.view);
            if self.is(Mutant::NoFence) || view.admits(&fence.client, fence.epoch, fence.host) {
                self.done.push(Done::Took(fence));
                self.send(from, Message::Taken(number));
            }
        }
    }
}
