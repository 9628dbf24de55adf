//! What a shard itself sends: wills, QoS 2 messages of persistent sessions, redispatched messages of shared groups, and
//! look-ups of retained messages. A task of its own reads the outbox of the shard's state and empties it when every
//! target has what was sent; a target leaves out what it has seen, so that it may be sent again after a crash.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use session_store::command::{Command, Input, Publish, Scanned};
use session_store::outbox::{OUTBOX_ITEMS_MAX, OutboxItem, OutboxKind};
use session_store::scan::Ask;
use session_store::shard::SCAN_PAGE;
use session_store::stream::{Request, Source};
use session_store::{ClientId, ConnectionId, MessageRef, ShardId};
use tokio::sync::Notify;

use super::{PageWanted, Shards};
use crate::counters::NodeCounters;
use crate::fanout::{Fanout, ShardPart};
use crate::inbox::Dropped;

/// Items of the outbox that are on their way together.
const BATCH: usize = 64;

/// What the relay of one shard is told.
#[derive(Debug, Default)]
pub(crate) struct RelayMail {
    work: Notify,
    /// Pages that sessions want, one for each session at most.
    scans: Mutex<VecDeque<(ClientId, Ask)>>,
    /// The highest position that each target has, and a word when one moves.
    answered: Mutex<BTreeMap<ShardId, u64>>,
    progress: Notify,
    /// The last position of the outbox, and the last that was sent.
    last: AtomicU64,
    sent: AtomicU64,
    room: Notify,
}

impl RelayMail {
    /// The outbox has items up to a position.
    pub(super) fn filled(&self, last: u64) {
        self.last.store(last, Ordering::Release);
        self.work.notify_one();
    }

    /// A session wants a page of retained messages.
    pub(super) fn scan(&self, client: ClientId, ask: Ask) {
        self.scans.lock().push_back((client, ask));
        self.work.notify_one();
    }

    /// A target has everything up to a position.
    pub(super) fn answered(&self, target: ShardId, position: u64) {
        let mut answered = self.answered.lock();
        let highest = answered.entry(target).or_default();
        *highest = position.max(*highest);
        drop(answered);
        self.progress.notify_one();
    }

    /// Waits while the outbox has no room for what clients publish at QoS 2.
    pub(super) async fn room(&self) {
        loop {
            let room = self.room.notified();
            let waiting = self.last.load(Ordering::Acquire).saturating_sub(self.sent.load(Ordering::Acquire));
            if waiting < OUTBOX_ITEMS_MAX as u64 {
                return;
            }
            room.await;
        }
    }

    fn has(&self, target: ShardId, position: u64) -> bool {
        self.answered.lock().get(&target).is_some_and(|highest| *highest >= position)
    }

    fn was_sent(&self, position: u64) {
        self.sent.store(position, Ordering::Release);
        self.room.notify_waiters();
    }
}

/// What a relay sends with.
pub(super) struct Relay {
    pub(super) shard: ShardId,
    pub(super) shards: Shards,
    pub(super) fanout: Arc<Fanout>,
    pub(super) counters: Arc<NodeCounters>,
}

/// Sends what its shard has to send, in order, until the shard's group ends.
pub(super) async fn run(relay: Relay) {
    let Some(mail) = relay.shards.relay(relay.shard) else { return };
    let mut next = 1;
    loop {
        let scan = mail.scans.lock().pop_front();
        let busy = scan.is_some();
        if let Some((client, ask)) = scan
            && relay.look_up(client, ask).await.is_none()
        {
            return;
        }
        let Some(items) = relay.items_from(next).await else { return };
        let Some((last, _)) = items.last() else {
            if !busy {
                mail.work.notified().await;
            }
            continue;
        };
        next = last + 1;
        if relay.send_all(&mail, items).await.is_none() {
            return;
        }
        mail.was_sent(next - 1);
    }
}

impl Relay {
    async fn items_from(&self, position: u64) -> Option<Vec<(u64, OutboxItem)>> {
        let group = self.shards.group(self.shard)?;
        group.look_now(move |state| state.machine().outbox_from(position, BATCH)).await.ok()
    }

    async fn look_up(&self, client: ClientId, ask: Ask) -> Option<()> {
        let Ask { scan, filter, shard, after } = ask;
        let page = self.shards.page(shard, PageWanted { filter, after, limit: SCAN_PAGE }).await?;
        let scanned = Scanned { client, scan, messages: page.messages, after: page.after };
        self.shards.group(self.shard)?.room().await.ok()?.propose(Input::Scanned(scanned));
        Some(())
    }

    /// Sends items to all who get them, waits until they have them, and empties the outbox of them.
    async fn send_all(&self, mail: &RelayMail, items: Vec<(u64, OutboxItem)>) -> Option<()> {
        let last = items.last()?.0;
        let mut targets = BTreeMap::new();
        for (position, item) in items {
            for part in self.deliver(&item) {
                targets.insert(part.shard, position);
                self.send(part, position, &item).await?;
            }
        }
        for (target, position) in targets {
            while !mail.has(target, position) {
                mail.progress.notified().await;
            }
        }
        self.shards.group(self.shard)?.room().await.ok()?.propose(Input::Relayed(last));
        Some(())
    }

    /// Delivers an item to this node's transient subscribers; returns what shards get of it.
    fn deliver(&self, item: &OutboxItem) -> Vec<ShardPart> {
        let OutboxItem { publisher, message, kind } = item;
        let (parts, dropped) = match kind {
            OutboxKind::Publish => {
                let home = message.retain.then(|| self.shards.home_of_topic(message.body.topic()));
                deliver(&self.fanout, (publisher, message), home)
            }
            OutboxKind::Redispatch(group) => {
                let parts = self.fanout.redispatch(group, message, publisher).unwrap_or_default();
                (parts.shards, parts.dropped)
            }
        };
        self.counters.count_dropped(dropped);
        parts
    }

    async fn send(&self, part: ShardPart, position: u64, item: &OutboxItem) -> Option<()> {
        let group = self.shards.group(part.shard)?;
        let items = vec![part.into_item(position, MessageRef::clone(&item.message))];
        let publish = Publish { reply_to: None, publisher: item.publisher.clone(), items };
        let command = Command::Publish(publish);
        let request = Request { source: Source::Outbox(self.shard), number: position, done_below: 0, command };
        group.room().await.ok()?.propose(Input::Request(request));
        Some(())
    }
}

/// Delivers a message that has no connection to this node's transient subscribers; returns what shards get of it, and
/// what mailboxes had no room for.
pub(super) fn deliver(
    fanout: &Fanout,
    (publisher, message): (&ClientId, &MessageRef),
    home: Option<ShardId>,
) -> (Vec<ShardPart>, Dropped) {
    let matched = fanout.match_now(message.body.topic());
    let mut dropped = matched.deliver(std::slice::from_ref(message), ConnectionId::default());
    let parts = fanout.parts(&matched, message, publisher, home);
    dropped.add(parts.dropped);
    (parts.shards, dropped)
}
