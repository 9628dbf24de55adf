//! A model of a host: numbers the requests of its connections to each shard, sends them to whoever leads it, again where the leader
//! changed or nothing is heard, and hands out what comes back. It has no disk: when it dies its connections are gone.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use openraft::type_config::TypeConfigExt;
use parking_lot::Mutex;
use session_store::command::{Command, End, Input, Push, Reply, WillFate};
use session_store::stream::Told;
use session_store::{Answer, ClientId, ConnectionId, Effect, Epoch, Host, Request, Source};
use tokio::sync::{Notify, oneshot};

use crate::home::{SHARDS, home_of};
use crate::minority;
use crate::replica::SimTypes;
use crate::world::{View, World};

/// Without an answer for so long everything is asked again.
const PATIENCE: Duration = Duration::from_millis(400);
const LOOK: Duration = Duration::from_millis(15);

/// What a connection is told.
pub(crate) enum Event {
    Reply(Reply),
    Push(Push),
}

struct Open {
    command: Command,
    answer: Option<oneshot::Sender<Option<Reply>>>,
}

struct Socket {
    client: ClientId,
    epoch: Option<Epoch>,
    events: VecDeque<Event>,
    closed: bool,
}

/// The requests of a host to one shard.
#[derive(Default)]
struct Link {
    last: u64,
    open: BTreeMap<u64, Open>,
    /// What waits for space in the log of whoever leads the shard. It has no number yet.
    parked: VecDeque<Open>,
    /// CONNECTs that wait for another connection to stop. A repeat is told what has become of it.
    deferred: BTreeMap<u64, Command>,
    sent: u64,
    /// What is deferred is to be asked again.
    again: bool,
    heard: u64,
}

#[derive(Default)]
struct State {
    links: [Link; SHARDS as usize],
    sockets: BTreeMap<u64, Socket>,
    dead: bool,
}

impl State {
    fn link(&mut self, shard: u16) -> &mut Link {
        &mut self.links[usize::from(shard)]
    }
}

/// One run of a host.
#[derive(Clone)]
pub(crate) struct HostRun {
    pub(crate) host: Host,
    state: Arc<Mutex<State>>,
    wakes: Arc<[Notify; SHARDS as usize]>,
}

/// The host died, or will not answer any more.
pub(crate) struct Dead;

impl HostRun {
    pub(crate) fn new(host: Host) -> Self {
        Self { host, state: Arc::default(), wakes: Arc::default() }
    }

    pub(crate) fn die(&self) {
        let mut state = self.state.lock();
        *state = State { dead: true, ..State::default() };
        drop(state);
        self.wakes.iter().for_each(Notify::notify_waiters);
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.state.lock().dead
    }

    /// A new connection.
    pub(crate) fn accept(&self, client: &ClientId) -> ConnectionId {
        let mut state = self.state.lock();
        let number = state.sockets.last_key_value().map_or(1, |(last, _)| last + 1);
        let socket = Socket { client: client.clone(), epoch: None, events: VecDeque::new(), closed: false };
        state.sockets.insert(number, socket);
        ConnectionId { host: self.host, number }
    }

    /// The home has accepted a connection. If that has ended meanwhile, the home does not know yet.
    fn attached(&self, connection: ConnectionId, epoch: Epoch) {
        let late = {
            let mut state = self.state.lock();
            let Some(socket) = state.sockets.get_mut(&connection.number) else { return };
            let first = socket.epoch.replace(epoch).is_none();
            (first && socket.closed).then(|| socket.client.clone())
        };
        if let Some(client) = late {
            self.tell_end(client, epoch);
        }
    }

    fn tell_end(&self, client: ClientId, epoch: Epoch) {
        let (will, expiry_s, unsent) = (WillFate::Keep, None, Vec::new());
        let shard = home_of(client.as_str().as_bytes());
        self.tell(shard, Command::End(End { client, epoch, will, expiry_s, unsent }));
    }

    /// Asks a shard for something, now and not when the answer is first waited for.
    pub(crate) fn ask(
        &self,
        shard: u16,
        command: Command,
    ) -> impl Future<Output = Result<Option<Reply>, Dead>> + use<> {
        let (answer, answered) = oneshot::channel();
        self.push(shard, Open { command, answer: Some(answer) });
        async move { answered.await.map_err(|_| Dead) }
    }

    /// Tells a shard something without waiting.
    pub(crate) fn tell(&self, shard: u16, command: Command) {
        self.push(shard, Open { command, answer: None });
    }

    fn push(&self, shard: u16, open: Open) {
        let mut state = self.state.lock();
        if state.dead {
            return;
        }
        let link = state.link(shard);
        if open.command.frees() {
            link.number(open);
        } else {
            link.parked.push_back(open);
        }
        drop(state);
        self.wakes[usize::from(shard)].notify_one();
    }

    /// What happened on a connection, if anything has; `None` within an error where it is closed.
    pub(crate) fn event(&self, connection: ConnectionId) -> Result<Option<Event>, Dead> {
        let mut state = self.state.lock();
        let socket = state.sockets.get_mut(&connection.number).filter(|socket| !socket.closed).ok_or(Dead)?;
        Ok(socket.events.pop_front())
    }

    /// Ends a connection, once; its will is kept.
    pub(crate) fn close(&self, connection: ConnectionId) {
        if let Some((client, Some(epoch))) = self.shut(connection) {
            self.tell_end(client, epoch);
        }
    }

    /// DISCONNECT of a client, that discards its will; it counts once this returns.
    pub(crate) async fn disconnect(
        &self,
        connection: ConnectionId,
        expiry_s: Option<u32>,
    ) -> Result<(), Dead> {
        let Some((client, Some(epoch))) = self.shut(connection) else { return Err(Dead) };
        let shard = home_of(client.as_str().as_bytes());
        let (will, unsent) = (WillFate::Discard, Vec::new());
        self.ask(shard, Command::End(End { client, epoch, will, expiry_s, unsent })).await.map(drop)
    }

    fn shut(&self, connection: ConnectionId) -> Option<(ClientId, Option<Epoch>)> {
        let mut state = self.state.lock();
        let socket = state.sockets.get_mut(&connection.number).filter(|socket| !socket.closed)?;
        socket.closed = true;
        Some((socket.client.clone(), socket.epoch))
    }

    /// What a shard says.
    pub(crate) fn hear(&self, shard: u16, effect: Effect) {
        match effect {
            Effect::Answer(Answer { number, reply, .. }) => {
                if let Some((Some(connection), Reply::Connected(Ok(told)))) = &reply {
                    self.attached(*connection, told.epoch);
                }
                self.heard_answer(shard, number, reply);
            }
            Effect::Gap { last, .. } => {
                let mut state = self.state.lock();
                let link = state.link(shard);
                link.sent = link.sent.min(last);
                drop(state);
                self.wakes[usize::from(shard)].notify_one();
            }
            Effect::Reply(connection, Reply::Stop) => self.close(connection),
            Effect::Reply(connection, reply) => {
                if let Reply::Connected(Ok(told)) = &reply {
                    self.attached(connection, told.epoch);
                }
                self.event_for(connection, vec![Event::Reply(reply)]);
            }
            Effect::Push(connection, pushes) => {
                self.event_for(connection, pushes.into_iter().map(Event::Push).collect());
            }
            Effect::Route(_) | Effect::Outbox(_) | Effect::Scan(..) => {}
        }
    }

    fn event_for(&self, connection: ConnectionId, events: Vec<Event>) {
        if let Some(socket) = self.state.lock().sockets.get_mut(&connection.number) {
            socket.events.extend(events);
        }
    }

    fn heard_answer(&self, shard: u16, number: u64, reply: Option<Told>) {
        let mut state = self.state.lock();
        let link = state.link(shard);
        link.heard += 1;
        let Some(open) = link.open.remove(&number) else {
            if reply.is_some() && link.deferred.remove(&number).is_some() {
                drop(state);
                self.told_late(reply);
            }
            return;
        };
        if reply.is_none() && matches!(open.command, Command::Connect(_)) {
            link.deferred.insert(number, open.command);
        }
        drop(state);
        if let Some(answer) = open.answer {
            let _ = answer.send(reply.map(|(_, reply)| reply));
        }
    }

    fn told_late(&self, reply: Option<Told>) {
        if let Some((Some(connection), reply)) = reply {
            self.event_for(connection, vec![Event::Reply(reply)]);
        }
    }

    /// Sends what is open to a shard until the host dies.
    pub(crate) async fn drive(self, world: World, shard: u16) {
        let mut view = View::default();
        let mut heard = (0, SimTypes::now());
        while !self.is_dead() {
            let _ = SimTypes::timeout(LOOK, self.wakes[usize::from(shard)].notified()).await;
            let Some((now, part)) = world.leader(shard) else { continue };
            let has_room = world.replica(now.node).is_some_and(|replica| replica.has_room());
            let batch = {
                let mut state = self.state.lock();
                let link = state.link(shard);
                if link.heard != heard.0 {
                    heard = (link.heard, SimTypes::now());
                }
                if now != view || SimTypes::now() >= heard.1 + PATIENCE {
                    link.sent = 0;
                    link.again = true;
                    heard.1 = SimTypes::now();
                }
                link.unsent(self.host, has_room)
            };
            view = now;
            SimTypes::sleep(world.chance.millis(0..3)).await;
            for input in batch {
                let Ok(Ok(room)) = SimTypes::timeout(PATIENCE, part.group.room()).await else { break };
                minority::proposed(&world.history, now.node);
                room.propose(input);
            }
        }
    }

    /// Whether everything was answered.
    pub(crate) fn is_idle(&self) -> bool {
        let idle = |link: &Link| link.open.is_empty() && link.parked.is_empty();
        self.state.lock().links.iter().all(idle)
    }

    /// What nothing was heard of, for the end of a run.
    pub(crate) fn open(&self) -> String {
        let state = self.state.lock();
        let of = |link: &Link| {
            let open = link.open.iter().map(|(number, open)| format!("{number}: {:?}", open.command));
            open.collect::<Vec<_>>()
        };
        format!("{:?} has open {:?}", self.host, state.links.iter().map(of).collect::<Vec<_>>())
    }
}

impl Link {
    fn number(&mut self, open: Open) {
        self.last += 1;
        self.open.insert(self.last, open);
    }

    fn unsent(&mut self, host: Host, has_room: bool) -> Vec<Input> {
        while has_room && let Some(open) = self.parked.pop_front() {
            self.number(open);
        }
        let done_below = self.open.first_key_value().map_or(self.last + 1, |(first, _)| *first);
        let source = Source::Host(host);
        let deferred = self.deferred.iter().filter(|_| self.again);
        let open = self.open.range(self.sent + 1..).map(|(number, open)| (number, &open.command));
        let request = |(number, command): (&u64, &Command)| {
            Input::from(Request { source, number: *number, done_below, command: command.clone() })
        };
        let batch: Vec<Input> = open.chain(deferred).map(request).collect();
        self.again = false;
        self.sent = self.last;
        batch
    }
}
