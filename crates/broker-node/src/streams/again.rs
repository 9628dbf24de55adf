//! Messages of shared groups that found no member where they were sent: somebody else is picked, until a member has it or
//! nobody is left. Owned by the streams, whose task does one after the other of each message, and several at a time.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use session_store::command::{Command, GroupPick, Publish, PublishItem, Published, Reply};
use session_store::matching::GroupRef;
use session_store::word::FramePart;
use session_store::{ClientId, ConnectionId, Host, MessageRef};
use tokio::sync::{Notify, oneshot};
use tokio::time::sleep;

use super::way::{Asker, Taken};
use super::{Inner, Streams};
use crate::fanout::{Destination, Next};
use crate::inbox::Inbox;

/// Messages that somebody is picked for at a time.
pub(super) const PLACING_MAX: usize = 256;
/// Before the view is matched again where no lease allows it.
const NO_LEASE: Duration = Duration::from_millis(10);

/// A message that somebody else is to have.
pub(super) struct Unplaced {
    /// Who waits for it, by which number.
    asker: Option<(Arc<Inbox>, u64)>,
    publisher: ClientId,
    /// Which connection published it, if one did.
    from: Option<ConnectionId>,
    message: MessageRef,
    groups: Vec<GroupRef>,
    /// Who has no member.
    gone: Vec<Destination>,
}

/// What waits for that: no more than was on its way.
#[derive(Default)]
pub(super) struct Again {
    waiting: Mutex<VecDeque<Unplaced>>,
    filled: Notify,
}

impl Again {
    /// Puts a message behind the others.
    pub(super) fn put(
        &self,
        (from, publisher): (Option<ConnectionId>, ClientId),
        (item, groups): (&PublishItem, Vec<GroupRef>),
        (gone, inbox): (Host, Option<Arc<Inbox>>),
    ) {
        let asker = inbox.filter(|_| item.number != 0).map(|inbox| (inbox, item.number));
        let (message, gone) = (Arc::clone(&item.message), vec![Destination::Host(gone)]);
        self.waiting.lock().push_back(Unplaced { asker, publisher, from, message, groups, gone });
        self.filled.notify_one();
    }

    /// Waits for the next one.
    pub(super) async fn next(&self) -> Unplaced {
        loop {
            let filled = self.filled.notified();
            if let Some(next) = self.waiting.lock().pop_front() {
                return next;
            }
            filled.await;
        }
    }
}

impl Streams {
    /// Finds a member of each group for a message, and answers.
    pub(super) async fn place(self, unplaced: Unplaced) {
        for group in &unplaced.groups {
            let mut gone = unplaced.gone.clone();
            while let Some(nobody) = self.place_in(&unplaced, group, &gone).await {
                gone.push(nobody);
            }
        }
        if let Some((inbox, number)) = unplaced.asker {
            inbox.reply(Reply::Published(vec![(number, Published::Taken)]));
        }
    }

    /// Gives a message to one member of a group; gives who turned out to have none.
    async fn place_in(
        &self,
        unplaced: &Unplaced,
        group: &GroupRef,
        gone: &[Destination],
    ) -> Option<Destination> {
        let next = self.inner.pick(unplaced, group, gone).await;
        match next {
            Next::Nobody | Next::Here => None,
            Next::Elsewhere(to, pick) => match self.send_picked(unplaced, (to, pick)).await {
                Taken::Taken => None,
                Taken::Nobody => Some(to),
            },
        }
    }

    async fn send_picked(&self, unplaced: &Unplaced, (to, pick): (Destination, GroupPick)) -> Taken {
        let message = Arc::clone(&unplaced.message);
        let item =
            PublishItem { number: 0, message, sessions: false, store_retained: false, groups: vec![pick] };
        let publisher = unplaced.publisher.clone();
        let publish = Publish { reply_to: unplaced.from, publisher, epoch: None, items: vec![item] };
        match to {
            Destination::Shard(shard) => {
                let Some(shards) = self.inner.shards() else { return Taken::Taken };
                shards.send_applied(shard, Command::Publish(publish)).await;
                Taken::Taken
            }
            Destination::Host(host) => {
                let (asked, taken) = oneshot::channel();
                let part = FramePart { outbox: None, publish };
                self.send_now(host, part, Asker::Alone(asked));
                taken.await.unwrap_or(Taken::Taken)
            }
        }
    }
}

impl Inner {
    /// Who takes a message in a group, by a view that may be acted on; gives it to them where they are here.
    async fn pick(&self, unplaced: &Unplaced, group: &GroupRef, gone: &[Destination]) -> Next {
        loop {
            let found = self.start.fanout.group_without(group, gone);
            if self.lease().allows(found.as_of) {
                return self.start.fanout.place(&found, &unplaced.publisher, &unplaced.message);
            }
            sleep(NO_LEASE).await;
        }
    }
}
