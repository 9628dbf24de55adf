//! A model of a host: numbers the requests of its connections, sends them to whoever leads, again where the leader
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
    answer: Option<oneshot::Sender<()>>,
    replies: Arc<Mutex<Option<Reply>>>,
}

struct Socket {
    client: ClientId,
    epoch: Option<Epoch>,
    events: VecDeque<Event>,
    closed: bool,
}

#[derive(Default)]
struct State {
    last: u64,
    open: BTreeMap<u64, Open>,
    /// CONNECTs that wait for another connection to stop. A repeat is told what has become of it.
    deferred: BTreeMap<u64, Command>,
    sent: u64,
    /// What is deferred is to be asked again.
    again: bool,
    sockets: BTreeMap<u64, Socket>,
    dead: bool,
    heard: u64,
}

/// One run of a host.
#[derive(Clone)]
pub(crate) struct HostRun {
    pub(crate) host: Host,
    state: Arc<Mutex<State>>,
    wake: Arc<Notify>,
}

/// The host died, or will not answer any more.
pub(crate) struct Dead;

impl HostRun {
    pub(crate) fn new(host: Host) -> Self {
        Self { host, state: Arc::default(), wake: Arc::default() }
    }

    pub(crate) fn die(&self) {
        let mut state = self.state.lock();
        state.dead = true;
        state.open.clear();
        state.deferred.clear();
        state.sockets.clear();
        drop(state);
        self.wake.notify_waiters();
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
        self.tell(Command::End(End { client, epoch, will, expiry_s, unsent }));
    }

    /// Asks the home for something; the answer is there when this returns.
    pub(crate) async fn ask(&self, command: Command) -> Result<Option<Reply>, Dead> {
        let (answer, answered) = oneshot::channel();
        let replies = Arc::new(Mutex::new(None));
        self.push(Open { command, answer: Some(answer), replies: Arc::clone(&replies) });
        answered.await.map_err(|_| Dead)?;
        let reply = replies.lock().take();
        Ok(reply)
    }

    /// Tells the home something without waiting.
    pub(crate) fn tell(&self, command: Command) {
        self.push(Open { command, answer: None, replies: Arc::default() });
    }

    fn push(&self, open: Open) {
        let mut state = self.state.lock();
        if state.dead {
            return;
        }
        state.last += 1;
        let number = state.last;
        state.open.insert(number, open);
        drop(state);
        self.wake.notify_one();
    }

    /// What happened on a connection, if anything has; `None` within an error where it is closed.
    pub(crate) fn event(&self, connection: ConnectionId) -> Result<Option<Event>, Dead> {
        let mut state = self.state.lock();
        let socket = state.sockets.get_mut(&connection.number).filter(|socket| !socket.closed).ok_or(Dead)?;
        Ok(socket.events.pop_front())
    }

    /// Ends a connection, once.
    pub(crate) fn close(&self, connection: ConnectionId) {
        let end = {
            let mut state = self.state.lock();
            let socket = state.sockets.get_mut(&connection.number).filter(|socket| !socket.closed);
            let Some(socket) = socket else { return };
            socket.closed = true;
            socket.epoch.map(|epoch| (socket.client.clone(), epoch))
        };
        if let Some((client, epoch)) = end {
            self.tell_end(client, epoch);
        }
    }

    /// What the home says.
    pub(crate) fn hear(&self, effect: Effect) {
        match effect {
            Effect::Answer(Answer { number, reply, .. }) => {
                if let Some((Some(connection), Reply::Connected(Ok(told)))) = &reply {
                    self.attached(*connection, told.epoch);
                }
                self.answered(number, reply);
            }
            Effect::Gap { last, .. } => {
                let mut state = self.state.lock();
                state.sent = state.sent.min(last);
                drop(state);
                self.wake.notify_one();
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

    fn answered(&self, number: u64, reply: Option<Told>) {
        let mut state = self.state.lock();
        state.heard += 1;
        let Some(open) = state.open.remove(&number) else {
            if reply.is_some() && state.deferred.remove(&number).is_some() {
                drop(state);
                self.told_late(reply);
            }
            return;
        };
        if reply.is_none() && matches!(open.command, Command::Connect(_)) {
            state.deferred.insert(number, open.command);
        }
        *open.replies.lock() = reply.map(|(_, reply)| reply);
        if let Some(answer) = open.answer {
            let _ = answer.send(());
        }
    }

    fn told_late(&self, reply: Option<Told>) {
        if let Some((Some(connection), reply)) = reply {
            self.event_for(connection, vec![Event::Reply(reply)]);
        }
    }

    /// Sends what is open until the host dies.
    pub(crate) async fn drive(self, world: World) {
        let mut view = View::default();
        let mut heard = (0, SimTypes::now());
        while !self.is_dead() {
            let _ = SimTypes::timeout(LOOK, self.wake.notified()).await;
            let Some((now, replica)) = world.leader() else { continue };
            let batch = {
                let mut state = self.state.lock();
                if state.heard != heard.0 {
                    heard = (state.heard, SimTypes::now());
                }
                if now != view || SimTypes::now() >= heard.1 + PATIENCE {
                    state.sent = 0;
                    state.again = true;
                    heard.1 = SimTypes::now();
                }
                self.unsent(&mut state)
            };
            view = now;
            SimTypes::sleep(world.chance.millis(0..3)).await;
            for input in batch {
                let Ok(Ok(room)) = SimTypes::timeout(PATIENCE, replica.group.room()).await else { break };
                room.propose(input);
            }
        }
    }

    /// What nothing was heard of, for the end of a run.
    pub(crate) fn open(&self) -> String {
        let state = self.state.lock();
        let open = state.open.iter().map(|(number, open)| format!("{number}: {:?}", open.command));
        format!("{:?} has open {:?} of {}", self.host, open.collect::<Vec<_>>(), state.last)
    }

    fn unsent(&self, state: &mut State) -> Vec<Input> {
        let done_below = state.open.first_key_value().map_or(state.last + 1, |(first, _)| *first);
        let source = Source::Host(self.host);
        let deferred = state.deferred.iter().filter(|_| state.again);
        let open = state.open.range(state.sent + 1..).map(|(number, open)| (number, &open.command));
        let request = |(number, command): (&u64, &Command)| {
            Input::from(Request { source, number: *number, done_below, command: command.clone() })
        };
        let batch: Vec<Input> = open.chain(deferred).map(request).collect();
        state.again = false;
        state.sent = state.last;
        batch
    }
}
