//! One stream to one run of another node, with those who wait for what is on it. Owned by the streams; says nothing.

use std::sync::Arc;

use mqtt_codec::ReasonCode;
use node_routing::frames::{Answered, Sending};
use parking_lot::Mutex;
use session_store::Host;
use session_store::command::{Published, Reply};
use session_store::word::{Frame, FramePart};
use tokio::sync::{Notify, oneshot};

use crate::inbox::Inbox;

/// What became of something that was sent by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It is in the memory of its target, or whoever was to have it is gone.
    Taken,
    /// There was no member of its group.
    Nobody,
}

/// Who waits for the answer to publishes.
pub(crate) enum Asker {
    /// Nobody.
    Nobody,
    /// The connection that published them, by their numbers; 0 is none.
    Connection(Arc<Inbox>),
    /// Whoever picks again by itself.
    Alone(oneshot::Sender<Taken>),
    /// An outbox, whose targets have them then.
    Outbox(Box<dyn FnOnce() + Send>),
}

impl Asker {
    /// All of it is answered, but for numbers that are 0; `all` where nothing found nobody.
    pub(super) fn answer(self, numbers: &[u64], all: bool) {
        match self {
            Self::Nobody => {}
            Self::Connection(inbox) => {
                let taken = |number: &u64| (*number != 0).then_some((*number, Published::Taken));
                let answered: Vec<(u64, Published)> = numbers.iter().filter_map(taken).collect();
                if !answered.is_empty() {
                    inbox.reply(Reply::Published(answered));
                }
            }
            Self::Alone(asked) => {
                let _gave_up = asked.send(if all { Taken::Taken } else { Taken::Nobody });
            }
            Self::Outbox(taken) => taken(),
        }
    }

    /// It can go to no node.
    pub(super) fn refuse(self, reason: ReasonCode) {
        match self {
            Self::Connection(inbox) => inbox.end(reason),
            other => other.answer(&[], true),
        }
    }

    /// Whether it picks somebody else by itself.
    pub(super) fn picks_itself(&self) -> bool {
        matches!(self, Self::Alone(_))
    }

    /// The connection that waits.
    pub(super) fn inbox(&self) -> Option<Arc<Inbox>> {
        match self {
            Self::Connection(inbox) => Some(Arc::clone(inbox)),
            _ => None,
        }
    }
}

/// The stream to one run.
pub(super) struct Way {
    me: Host,
    pub(super) to: Host,
    /// `None` once its target is known to be dead.
    pub(super) sending: Mutex<Option<Sending<Asker>>>,
    /// How many frames were answered when it was last looked.
    looked: Mutex<(u64, bool)>,
    room: Notify,
}

impl Way {
    pub(super) fn new(me: Host, to: Host) -> Self {
        let sending = Mutex::new(Some(Sending::new(me, to)));
        Self { me, to, sending, looked: Mutex::new((0, false)), room: Notify::new() }
    }

    pub(super) fn has_room(&self) -> bool {
        self.sending.lock().as_ref().is_none_or(Sending::has_room)
    }

    /// Waits until there is room.
    pub(super) async fn room(&self) {
        loop {
            let room = self.room.notified();
            if self.has_room() {
                return;
            }
            room.await;
        }
    }

    /// Something was answered.
    pub(super) fn has_progress(&self) {
        self.room.notify_waiters();
    }

    /// Whether nothing was answered since the last look, though something was waited for then and is now.
    pub(super) fn is_silent(&self) -> bool {
        let now = self.sending.lock().as_ref().map_or((0, false), Sending::progress);
        let before = std::mem::replace(&mut *self.looked.lock(), now);
        before.1 && now == before
    }

    /// Everything that is on it, and nothing more goes by it: what was said, and what was not.
    pub(super) fn give_up(&self) -> (Vec<Answered<Asker>>, Vec<(FramePart, Asker)>) {
        let sending = self.sending.lock().take();
        self.room.notify_waiters();
        sending.map(Sending::give_up).unwrap_or_default()
    }

    /// A part that was never said, as a frame by itself.
    pub(super) fn unsaid(&self, part: FramePart) -> Arc<Frame> {
        let (source, target, parts) = (self.me, self.to, vec![part]);
        Arc::new(Frame { source, target, number: 0, predecessor: 0, done_below: 0, parts })
    }
}
