//! The task that owns one shard: takes commands from its mailboxes, applies them, carries out the
//! effects, and wakes up for what is due. It waits for nothing but mail, time and its relay.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use mqtt_codec::ReasonCode;
use parking_lot::Mutex;
use session_store::command::{Command, Input, PublishItem, Reply};
use session_store::counters::{QueueCounters, ShardCounters};
use session_store::retained::PageQuery;
use session_store::scan::Ask;
use session_store::{Answer, ClientId, ConnectionId, Effect, Host, Request, Shard, Source};
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::relay::RelayItem;
use super::{Page, PageWanted, ShardMail};
use crate::clock::Clock;
use crate::counters::NodeCounters;
use crate::fanout::Fanout;
use crate::inbox::Inbox;

/// Commands applied before others of the runtime get their turn: each can hold what one read of a socket
/// brings.
const BATCH: usize = 8;
/// With so much to relay, connections wait.
const RELAY_BACKLOG: usize = 4_096;
/// Time between two looks when nothing is due.
const IDLE: Duration = Duration::from_secs(3_600);

/// What the relay is to get.
#[derive(Debug)]
enum ToRelay {
    /// The item of the outbox at this position.
    Outbox(u64),
    /// A page for a scan.
    Scan(ClientId, Ask),
}

/// The channels of a shard's task.
pub(super) struct Ends {
    pub(super) outer: mpsc::Receiver<ShardMail>,
    pub(super) inner: mpsc::Receiver<ShardMail>,
    pub(super) relay: mpsc::Sender<RelayItem>,
}

/// One shard and what it needs to act.
pub(super) struct ShardTask {
    state: Shard,
    number: u16,
    /// The node's present run, whose requests these are.
    host: Host,
    /// Number of its last request.
    requests: u64,
    /// Position of the last item of the outbox that the relay has or is to get.
    relayed: u64,
    fanout: Arc<Fanout>,
    clock: Clock,
    totals: Arc<Mutex<(ShardCounters, QueueCounters)>>,
    counters: Arc<NodeCounters>,
    /// Connections of clients whose home this is.
    inboxes: HashMap<ConnectionId, Arc<Inbox>>,
    /// The node stops: connections end for this reason.
    ending: Option<ReasonCode>,
    effects: Vec<Effect>,
    to_relay: VecDeque<ToRelay>,
}

impl ShardTask {
    pub(super) fn new(state: Shard, (number, host): (u16, Host), fanout: &Arc<Fanout>, clock: Clock) -> Self {
        Self {
            state,
            number,
            host,
            requests: 0,
            relayed: 0,
            fanout: Arc::clone(fanout),
            clock,
            totals: Arc::default(),
            counters: Arc::default(),
            inboxes: HashMap::new(),
            ending: None,
            effects: Vec::new(),
            to_relay: VecDeque::new(),
        }
    }

    pub(super) fn counting(
        mut self,
        totals: Arc<Mutex<(ShardCounters, QueueCounters)>>,
        counters: Arc<NodeCounters>,
    ) -> Self {
        self.totals = totals;
        self.counters = counters;
        self
    }

    /// Runs until all senders of its mailboxes are gone.
    pub(super) async fn run(mut self, mut ends: Ends) {
        let mut batch = Vec::with_capacity(BATCH);
        let mut outer_batch = Vec::with_capacity(BATCH);
        loop {
            let wait = self.until_due();
            let takes_outer = self.to_relay.len() < RELAY_BACKLOG && self.state.outbox_room().is_some();
            let relays = !self.to_relay.is_empty();
            tokio::select! {
                biased;
                n = ends.inner.recv_many(&mut batch, BATCH) => if n == 0 { return },
                permit = ends.relay.reserve(), if relays => {
                    let Ok(permit) = permit else { return };
                    if let Some(item) = self.next_to_relay() {
                        permit.send(item);
                    }
                }
                n = ends.outer.recv_many(&mut outer_batch, BATCH), if takes_outer => if n == 0 { return },
                () = sleep(wait), if takes_outer => {}
            }
            for mail in batch.drain(..).chain(outer_batch.drain(..)) {
                self.take(mail);
            }
            if takes_outer && self.state.next_due().is_some_and(|at| at <= self.clock.now()) {
                self.apply(Input::Tick, None);
            }
            self.publish_counters();
            // Other shards, accepting and the driver get their turn, however much waits here.
            tokio::task::yield_now().await;
        }
    }

    fn until_due(&self) -> Duration {
        let now = self.clock.now();
        self.state.next_due().map_or(IDLE, |at| Duration::from_millis(at.0.saturating_sub(now.0)))
    }

    fn take(&mut self, mail: ShardMail) {
        match mail {
            ShardMail::Command(command, from) => self.command(command, from),
            ShardMail::Input(input) => self.apply(input, None),
            ShardMail::Page(wanted, answer) => {
                let _asker_gone = answer.send(self.page(&wanted));
            }
            ShardMail::Sizes(answer) => {
                let _asker_gone = answer.send(self.state.sizes());
            }
            ShardMail::EndConnections(reason) => {
                self.ending = Some(reason);
                self.inboxes.values().for_each(|inbox| inbox.end(reason));
            }
        }
    }

    fn page(&self, wanted: &PageWanted) -> Page {
        let PageWanted { filter, after, limit } = wanted;
        let mut messages = Vec::new();
        let query = PageQuery { filter, after: after.as_deref(), limit: *limit, now: self.clock.now() };
        let after = self.state.retained_page(&query, &mut messages);
        Page { messages, after }
    }

    /// Carries out a command of this node.
    fn command(&mut self, command: Command, from: Option<Arc<Inbox>>) {
        let ends = matches!(command, Command::End(_));
        if let (Command::Connect(_), Some(inbox)) = (&command, &from) {
            self.inboxes.insert(inbox.id(), Arc::clone(inbox));
            if let Some(reason) = self.ending {
                inbox.end(reason);
            }
        }
        match command {
            Command::Publish(publish) if !publish.items.iter().any(PublishItem::is_logged) => {
                self.with_effects(from.as_ref(), |state, effects| state.pass_on(&publish, effects));
            }
            command => {
                self.requests += 1;
                let (source, number) = (Source::Host(self.host), self.requests);
                // Nothing is lost within a process, so that no answer has to be kept.
                let request = Request { source, number, done_below: number, command };
                self.apply(Input::Request(request), from.as_ref());
            }
        }
        if let Some(inbox) = from.filter(|_| ends) {
            self.inboxes.remove(&inbox.id());
        }
    }

    fn apply(&mut self, input: Input, from: Option<&Arc<Inbox>>) {
        let now = self.clock.now();
        self.with_effects(from, |state, effects| state.apply(now, input, effects));
    }

    fn with_effects(&mut self, from: Option<&Arc<Inbox>>, change: impl FnOnce(&mut Shard, &mut Vec<Effect>)) {
        let mut effects = std::mem::take(&mut self.effects);
        change(&mut self.state, &mut effects);
        for effect in effects.drain(..) {
            self.carry_out(effect, from);
        }
        self.effects = effects;
    }

    /// An item of the outbox is still there: it is retired only after the relay has had it.
    fn next_to_relay(&mut self) -> Option<RelayItem> {
        match self.to_relay.pop_front()? {
            ToRelay::Outbox(position) => {
                self.state.outbox().get(position).map(|item| RelayItem::Outbox(position, item.clone()))
            }
            ToRelay::Scan(client, ask) => Some(RelayItem::Scan(client, ask)),
        }
    }

    fn reply(&mut self, id: ConnectionId, reply: Reply, from: Option<&Arc<Inbox>>) {
        let refused = matches!(reply, Reply::Connected(Err(_)));
        match from.filter(|inbox| inbox.id() == id).or_else(|| self.inboxes.get(&id)) {
            Some(inbox) => inbox.reply(reply),
            None => tracing::trace!(connection = id.number, "answer for a connection that is gone"),
        }
        if refused {
            self.inboxes.remove(&id);
        }
    }

    fn carry_out(&mut self, effect: Effect, from: Option<&Arc<Inbox>>) {
        match effect {
            Effect::Reply(id, reply) => self.reply(id, reply, from),
            Effect::Answer(Answer { reply: Some((Some(id), reply)), .. }) => self.reply(id, reply, from),
            // Nobody waits for the answer: mailboxes within a process lose nothing.
            Effect::Answer(_) => {}
            Effect::Gap { source, last } => {
                tracing::error!(?source, last, "a request came out of turn: please report this");
            }
            Effect::Push(id, pushes) => {
                if let Some(inbox) = self.inboxes.get(&id) {
                    let dropped = inbox.push(pushes);
                    self.counters.dropped_qos0_slow.add(dropped.qos0);
                }
            }
            Effect::Route(change) => self.fanout.change_route(self.number, &change),
            Effect::Outbox(last) => {
                self.to_relay.extend((self.relayed + 1..=last).map(ToRelay::Outbox));
                self.relayed = self.relayed.max(last);
            }
            Effect::Scan(client, ask) => self.to_relay.push_back(ToRelay::Scan(client, ask)),
        }
    }

    fn publish_counters(&mut self) {
        let (shard, queue) = self.state.take_counters();
        let mut totals = self.totals.lock();
        totals.0.add(&shard);
        totals.1.add(&queue);
    }
}
