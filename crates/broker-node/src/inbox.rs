//! The mailbox of one connection: what publishers and shards leave for it. Shared by handle; the
//! connection's task is the only reader. Putting something in never waits: what exceeds the bounds is
//! dropped by policy and counted by whoever put it in.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use mqtt_codec::{QoS, ReasonCode};
use parking_lot::Mutex;
use session_store::command::{Push, Reply};
use session_store::limits::QueuePolicy;
use session_store::matching::{Copied, GroupRef};
use session_store::{ConnectionId, MessageRef, Outgoing};

pub(crate) use crate::losses::Dropped;
use crate::losses::{Loss, Losses};
use crate::worker::ONE_OF;

/// Bounds of what a transient session's connection may hold unsent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InboxLimits {
    /// QoS 1 and 2 messages.
    pub(crate) messages_max: u32,
    /// Bytes of these.
    pub(crate) bytes_max: u64,
    /// Bytes of QoS 0 messages.
    pub(crate) qos0_bytes_max: u64,
    /// What happens at the first two.
    pub(crate) policy: QueuePolicy,
}

/// Everything that came in since the last look.
#[derive(Debug, Default)]
pub(crate) struct Mail {
    /// Answers of shards; handled first.
    pub(crate) replies: Vec<Reply>,
    /// Packets from the shard of a persistent session.
    pub(crate) pushes: Vec<Push>,
    /// Messages for a transient session.
    pub(crate) messages: Vec<Outgoing>,
}

impl Mail {
    fn is_empty(&self) -> bool {
        self.replies.is_empty() && self.pushes.is_empty() && self.messages.is_empty()
    }
}

#[derive(Debug, Default)]
struct State {
    mail: Mail,
    /// QoS 1 and 2 messages in `mail`, and their bytes.
    queued: u32,
    queued_bytes: u64,
    qos0_bytes: u64,
    /// What the shard has pushed of its queue lies below this position: it says it again after it has lost its leader.
    pushed_below: u64,
    /// A message was dropped and the policy wants the client disconnected.
    overflow: bool,
    /// The broker ends the connection for this reason.
    end: Option<ReasonCode>,
    closed: bool,
    waker: Option<Waker>,
    /// How many times its reader has taken what there was.
    takes: u32,
    /// When the first message of `mail` came, where that is measured.
    since: Option<Instant>,
}

impl State {
    /// Takes the time of a message for a reader that has taken all before it, one of so many times.
    fn note_arrival(&mut self) {
        let measures = self.since.is_none() && self.takes.is_multiple_of(ONE_OF);
        if measures && !(self.mail.messages.is_empty() && self.mail.pushes.is_empty()) {
            self.since = Some(Instant::now());
        }
    }
}

/// What its reader takes from a mailbox.
#[derive(Debug)]
pub(crate) struct Taken {
    /// What came in.
    pub(crate) mail: Mail,
    /// A message was dropped, and the policy wants the client disconnected.
    pub(crate) overflow: bool,
    /// The broker ends the connection.
    pub(crate) end: Option<ReasonCode>,
    /// When the first message of the mail came, where that is measured.
    pub(crate) since: Option<Instant>,
}

/// A mailbox.
#[derive(Debug)]
pub(crate) struct Inbox {
    id: ConnectionId,
    limits: InboxLimits,
    state: Mutex<State>,
    /// What the connection holds beside the mailbox: it counts against the same bounds.
    backlog: AtomicU32,
    backlog_bytes: AtomicU64,
    backlog_qos0_bytes: AtomicU64,
    /// The client's Receive Maximum less what is in flight.
    room: AtomicU32,
    /// What the connection asked of shards and is not done.
    asked: AtomicU32,
    /// What of that waits for space in a log.
    parked: AtomicU32,
    /// What was lost on the way to the client.
    losses: Losses,
}

/// One message run for one subscriber.
pub(crate) struct Run<'a, M> {
    /// The messages, in their order.
    pub(crate) messages: M,
    /// How the subscriber wants them.
    pub(crate) copy: &'a Copied,
    /// The group that picked it; another of its members gets what this one does not acknowledge.
    pub(crate) group: Option<&'a GroupRef>,
}

impl Inbox {
    /// An empty mailbox for a connection.
    pub(crate) fn new(id: ConnectionId, limits: InboxLimits) -> Arc<Self> {
        Arc::new(Self {
            id,
            limits,
            state: Mutex::default(),
            backlog: AtomicU32::new(0),
            backlog_bytes: AtomicU64::new(0),
            backlog_qos0_bytes: AtomicU64::new(0),
            room: AtomicU32::new(u32::MAX),
            asked: AtomicU32::new(0),
            parked: AtomicU32::new(0),
            losses: Losses::default(),
        })
    }

    /// What was lost on the way to the client.
    pub(crate) fn losses(&self) -> &Losses {
        &self.losses
    }

    /// The connection asks something of a shard.
    pub(crate) fn ask(&self) {
        self.asked.fetch_add(1, Ordering::AcqRel);
    }

    /// Something that it asked for is done.
    pub(crate) fn done(&self) {
        self.asked.fetch_sub(1, Ordering::AcqRel);
    }

    /// Whether something that it asked for is not done yet.
    pub(crate) fn is_asking(&self) -> bool {
        self.asked.load(Ordering::Acquire) > 0
    }

    /// Something that it asked for waits for space in a log.
    pub(crate) fn park(&self) {
        self.parked.fetch_add(1, Ordering::AcqRel);
    }

    /// It does so no more.
    pub(crate) fn unpark(&self) {
        self.parked.fetch_sub(1, Ordering::AcqRel);
    }

    /// Whether something that it asked for waits for space.
    pub(crate) fn is_parked(&self) -> bool {
        self.parked.load(Ordering::Acquire) > 0
    }

    /// Whose it is.
    pub(crate) fn id(&self) -> ConnectionId {
        self.id
    }

    /// How many more exchanges its client takes now: a hint for balancing shared groups.
    pub(crate) fn room(&self) -> u32 {
        self.room.load(Ordering::Relaxed)
    }

    /// Messages it waits with: a hint for balancing shared groups.
    pub(crate) fn load(&self) -> u32 {
        self.backlog.load(Ordering::Relaxed)
    }

    /// The connection tells what it holds itself.
    pub(crate) fn set_backlog(&self, backlog: Backlog) {
        self.backlog.store(backlog.messages, Ordering::Relaxed);
        self.backlog_bytes.store(backlog.bytes, Ordering::Relaxed);
        self.backlog_qos0_bytes.store(backlog.qos0_bytes, Ordering::Relaxed);
        self.room.store(backlog.room, Ordering::Relaxed);
    }

    /// Leaves a run of messages for a transient session.
    pub(crate) fn deliver<'a, M>(&self, run: Run<'a, M>) -> Dropped
    where
        M: Iterator<Item = &'a MessageRef>,
    {
        let mut dropped = Dropped::default();
        let backlog = (self.backlog.load(Ordering::Relaxed), self.backlog_bytes.load(Ordering::Relaxed));
        let qos0_backlog = self.backlog_qos0_bytes.load(Ordering::Relaxed);
        let mut state = self.state.lock();
        if state.closed {
            dropped.closed = true;
            return dropped;
        }
        state.mail.messages.reserve(run.messages.size_hint().1.unwrap_or(0));
        for message in run.messages {
            let qos = message.qos.min(run.copy.qos);
            let size = message.size() as u64;
            if qos == QoS::AtMostOnce {
                if !self.takes_qos0(&mut state, qos0_backlog, size) {
                    dropped.qos0 += 1;
                    self.losses.note(Loss::Slow, 1, message.body.topic());
                    continue;
                }
            } else {
                if !self.takes(&mut state, backlog, size) {
                    dropped.queue_full += 1;
                    self.losses.note(Loss::QueueFull, 1, message.body.topic());
                    continue;
                }
                state.queued += 1;
                state.queued_bytes += size;
            }
            state.mail.messages.push(Outgoing {
                message: Arc::clone(message),
                qos,
                retain: message.retain && run.copy.retain_as_published,
                subscription_ids: run.copy.ids.clone(),
                group: run.group.filter(|_| qos > QoS::AtMostOnce).cloned(),
            });
        }
        state.note_arrival();
        Self::wake(state);
        dropped
    }

    /// Whether there is room for one QoS 1 or 2 message more. Where the policy drops the oldest, the
    /// session's own queue does that, and the mailbox only bounds what has not got there yet.
    fn takes(&self, state: &mut State, (messages, bytes): (u32, u64), size: u64) -> bool {
        let (held, held_bytes) = match self.limits.policy {
            QueuePolicy::DropOldest => (state.queued, state.queued_bytes),
            QueuePolicy::DropNewest | QueuePolicy::Disconnect => {
                (state.queued.saturating_add(messages), state.queued_bytes + bytes)
            }
        };
        let room = held < self.limits.messages_max && held_bytes + size <= self.limits.bytes_max;
        if !room && self.limits.policy == QueuePolicy::Disconnect {
            state.overflow = true;
        }
        room
    }

    /// Takes a QoS 0 message while less than the bound waits, so that one of any size gets through; what
    /// waits is at most the bound and one message.
    fn takes_qos0(&self, state: &mut State, backlog: u64, size: u64) -> bool {
        let room = state.qos0_bytes + backlog < self.limits.qos0_bytes_max;
        state.qos0_bytes += if room { size } else { 0 };
        room
    }

    /// Leaves packets for a persistent session's client. Its shard bounds those of QoS 1 and 2 by the
    /// client's window, and may say them again, which is left out; of QoS 0 it takes what it has room for.
    pub(crate) fn push(&self, pushes: Vec<Push>) -> Dropped {
        let mut dropped = Dropped::default();
        let qos0_backlog = self.backlog_qos0_bytes.load(Ordering::Relaxed);
        let mut state = self.state.lock();
        if state.closed {
            return dropped;
        }
        for push in pushes {
            if let Push::Publish { packet_id: None, item, .. } = &push {
                let size = item.message.size() as u64;
                if !self.takes_qos0(&mut state, qos0_backlog, size) {
                    dropped.qos0 += 1;
                    self.losses.note(Loss::Slow, 1, item.message.body.topic());
                    continue;
                }
            }
            if let Push::Publish { packet_id: Some(_), position, .. } | Push::Stored { position, .. } = &push
            {
                if *position < state.pushed_below {
                    continue;
                }
                state.pushed_below = position + 1;
            }
            state.mail.pushes.push(push);
        }
        state.note_arrival();
        Self::wake(state);
        dropped
    }

    /// Leaves an answer of a shard.
    pub(crate) fn reply(&self, reply: Reply) {
        let mut state = self.state.lock();
        if !state.closed {
            state.mail.replies.push(reply);
            Self::wake(state);
        }
    }

    fn wake(mut state: parking_lot::MutexGuard<'_, State>) {
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Has the connection look again at what it depends on.
    pub(crate) fn wake_reader(&self) {
        Self::wake(self.state.lock());
    }

    /// Tells the connection to end.
    pub(crate) fn end(&self, reason: ReasonCode) {
        let mut state = self.state.lock();
        state.end = Some(reason);
        Self::wake(state);
    }

    /// Waits until the connection is told to end, whatever else comes in meanwhile.
    pub(crate) async fn ended(&self) -> ReasonCode {
        poll_fn(|context| {
            let mut state = self.state.lock();
            match state.end.take() {
                Some(reason) => Poll::Ready(reason),
                None => {
                    state.waker = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// Gives back mail that its reader could not use yet; it comes before what came since.
    pub(crate) fn put_back(&self, mut mail: Mail) {
        let mut state = self.state.lock();
        mail.replies.append(&mut state.mail.replies);
        mail.pushes.append(&mut state.mail.pushes);
        mail.messages.append(&mut state.mail.messages);
        state.mail = mail;
        Self::wake(state);
    }

    /// Takes what came in. Pending when there is nothing.
    pub(crate) fn poll_take(&self, context: &Context<'_>) -> Poll<Taken> {
        let mut state = self.state.lock();
        if state.mail.is_empty() && !state.overflow && state.end.is_none() {
            match &state.waker {
                Some(waker) if waker.will_wake(context.waker()) => {}
                _ => state.waker = Some(context.waker().clone()),
            }
            return Poll::Pending;
        }
        (state.queued, state.queued_bytes, state.qos0_bytes) = (0, 0, 0);
        let overflow = std::mem::take(&mut state.overflow);
        let (mail, end, since) = (std::mem::take(&mut state.mail), state.end.take(), state.since.take());
        state.takes = state.takes.wrapping_add(1);
        Poll::Ready(Taken { mail, overflow, end, since })
    }

    /// Takes what there is and lets nothing more in.
    pub(crate) fn close(&self) -> Mail {
        let mut state = self.state.lock();
        state.closed = true;
        state.waker = None;
        std::mem::take(&mut state.mail)
    }
}

/// What a connection holds beside its mailbox.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backlog {
    /// QoS 1 and 2 messages.
    pub(crate) messages: u32,
    /// Bytes of these.
    pub(crate) bytes: u64,
    /// Bytes of QoS 0 packets that wait for the socket.
    pub(crate) qos0_bytes: u64,
    /// Exchanges that the client still takes.
    pub(crate) room: u32,
}
