//! What a shard itself sends: wills, QoS 2 messages of persistent sessions, redispatched messages of shared groups, and
//! look-ups of retained messages. A task of its own reads the outbox of the shard's state and empties it when every
//! target has what was sent; a target leaves out what it has seen, so that after a crash it may be sent again.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use session_store::command::{Command, Input, Publish, PublishItem, Scanned};
use session_store::outbox::{OUTBOX_ITEMS_MAX, OutboxItem, OutboxKind};
use session_store::scan::Ask;
use session_store::shard::{SCAN_PAGE, SCAN_STEPS};
use session_store::{ClientId, Request, ShardId, Source};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use topic_index::PageBounds;

use super::{Dispatch, PageWanted, Shards};
use crate::counters::NodeCounters;
use crate::fanout::Fanout;

/// Pages that one relay waits for at a time; with so many, what comes behind waits too.
const PAGES_MAX: usize = 1_024;

/// What the relay of one shard is told.
#[derive(Debug, Default)]
pub(crate) struct RelayMail {
    work: Notify,
    /// Pages that sessions want, one for each session at most.
    scans: Mutex<VecDeque<(ClientId, Ask)>>,
    /// The highest position that each target has.
    answered: Mutex<BTreeMap<u16, u64>>,
    progress: Notify,
    /// The last position of the outbox, and the last that all targets have.
    last: AtomicU64,
    sent: AtomicU64,
    room: Notify,
}

impl RelayMail {
    /// The outbox has items up to a position.
    pub(super) fn filled(&self, last: u64) {
        self.last.fetch_max(last, Ordering::AcqRel);
        self.work.notify_one();
    }

    /// A session wants a page of retained messages.
    pub(super) fn scan(&self, client: ClientId, ask: Ask) {
        self.scans.lock().push_back((client, ask));
        self.work.notify_one();
    }

    /// A target has everything up to a position.
    pub(super) fn answered(&self, target: u16, position: u64) {
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

    fn has(&self, target: u16, position: u64) -> bool {
        self.answered.lock().get(&target).is_some_and(|highest| *highest >= position)
    }

    fn was_sent(&self, position: u64) {
        self.sent.store(position, Ordering::Release);
        self.room.notify_waiters();
    }
}

/// What a relay sends with.
pub(super) struct Relay {
    pub(super) number: u16,
    pub(super) shards: Shards,
    pub(super) fanout: Arc<Fanout>,
    pub(super) counters: Arc<NodeCounters>,
}

/// Sends what its shard has to send, in order, until the shard's group ends.
pub(super) async fn run(relay: Relay) {
    let mut dispatch = Dispatch::new(&relay.fanout);
    let _ended = relay.serve(&mut dispatch).await;
}

impl Relay {
    /// Ends with `None` when the groups do.
    async fn serve(&self, dispatch: &mut Dispatch) -> Option<()> {
        let mail = self.shards.relay(self.number)?;
        let mut pages = JoinSet::new();
        let mut next = 1;
        loop {
            let scan = mail.scans.lock().pop_front();
            let scans = scan.is_some();
            if let Some((client, ask)) = scan {
                while pages.try_join_next().is_some() {}
                if pages.len() >= PAGES_MAX {
                    pages.join_next().await;
                }
                // What comes behind it does not wait for the page.
                pages.spawn(look_up(self.number, self.shards.clone(), client, ask));
            }
            let items = self.items_from(next).await?;
            match items.last().map(|(position, _)| *position) {
                Some(last) => {
                    self.send_all(dispatch, &items).await?;
                    self.tell(Input::Relayed(last)).await?;
                    mail.was_sent(last);
                    next = last + 1;
                }
                None if scans => {}
                None => mail.work.notified().await,
            }
        }
    }

    async fn items_from(&self, position: u64) -> Option<Vec<(u64, OutboxItem)>> {
        let group = self.shards.group(self.number)?;
        group.look_now(move |state| state.machine().outbox_from(position, Dispatch::BATCH)).await.ok()
    }

    /// Sends items to all who get them, and waits until they have them.
    async fn send_all(&self, dispatch: &mut Dispatch, items: &[(u64, OutboxItem)]) -> Option<()> {
        for (position, item) in items {
            self.dispatch(dispatch, *position, item);
        }
        let dispatched = dispatch.finish();
        self.counters.count_dropped(dispatched.dropped);
        let mut targets = BTreeMap::new();
        for (shard, request) in requests(ShardId(self.number), dispatched.commands) {
            targets.insert(shard, request.number);
            self.shards.group(shard)?.room().await.ok()?.propose(Input::Request(request));
        }
        let mail = self.shards.relay(self.number)?;
        for (target, position) in targets {
            while !mail.has(target, position) {
                mail.progress.notified().await;
            }
        }
        Some(())
    }

    fn dispatch(&self, dispatch: &mut Dispatch, position: u64, item: &OutboxItem) {
        let message = &item.message;
        match &item.kind {
            OutboxKind::Publish => {
                let topic_home = message.retain.then(|| self.shards.home_of_topic(message.body.topic()));
                dispatch.publish(&item.publisher, (message, position), topic_home);
            }
            OutboxKind::Redispatch(group) => dispatch.redispatch(group, (message, position)),
        }
    }

    /// Tells its own shard.
    async fn tell(&self, input: Input) -> Option<()> {
        self.shards.group(self.number)?.room().await.ok()?.propose(input);
        Some(())
    }
}

/// Fetches a page for a scan of the shard `number`; nothing comes of it when the node stops.
async fn look_up(number: u16, shards: Shards, client: ClientId, ask: Ask) -> Option<()> {
    let Ask { scan, filter, shard, from } = ask;
    let bounds = PageBounds { topics: SCAN_PAGE, steps: SCAN_STEPS };
    let page = shards.page(shard, PageWanted { filter, from, bounds }).await?;
    let scanned = Scanned { client, scan, messages: page.messages, after: page.next };
    shards.group(number)?.room().await.ok()?.propose(Input::Scanned(scanned));
    Some(())
}

/// What an outbox sends to each shard, in the order of its positions. All that a shard gets of one position is
/// in one request, since it takes a position once.
fn requests(outbox: ShardId, commands: Vec<(u16, Command)>) -> Vec<(u16, Request)> {
    let mut by_shard: BTreeMap<u16, Vec<(ClientId, PublishItem)>> = BTreeMap::new();
    for (shard, command) in commands {
        if let Command::Publish(Publish { publisher, items, .. }) = command {
            let items = items.into_iter().map(|item| (publisher.clone(), item));
            by_shard.entry(shard).or_default().extend(items);
        }
    }
    let mut requests = Vec::new();
    for (shard, mut items) in by_shard {
        items.sort_by_key(|(_, item)| item.number);
        let (mut publisher, mut together): (ClientId, Vec<PublishItem>) = (ClientId::new(""), Vec::new());
        for (by, item) in items {
            let same = together.last().is_some_and(|last| last.number == item.number || by == publisher);
            if !same {
                requests.extend(request(outbox, shard, &publisher, std::mem::take(&mut together)));
                publisher = by;
            }
            together.push(item);
        }
        requests.extend(request(outbox, shard, &publisher, together));
    }
    requests
}

/// The request that these items make; `None` where there are none.
fn request(
    outbox: ShardId,
    shard: u16,
    publisher: &ClientId,
    items: Vec<PublishItem>,
) -> Option<(u16, Request)> {
    let number = items.last()?.number;
    let command = Command::Publish(Publish { reply_to: None, publisher: publisher.clone(), items });
    Some((shard, Request { source: Source::Outbox(outbox), number, done_below: number, command }))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use mqtt_codec::{QoS, SharedPublish, Text};
    use session_store::Message;

    use super::*;

    fn publish(publisher: &str, numbers: &[u64]) -> Command {
        let item = |number: &u64| {
            let body = SharedPublish::new(&Text::new("t").unwrap(), &Bytes::new(), &Bytes::new());
            let message = Arc::new(Message { body, qos: QoS::ExactlyOnce, retain: false, expires_at: None });
            let (number, groups) = (*number, Vec::new());
            PublishItem { number, message, sessions: true, store_retained: false, groups }
        };
        let items = numbers.iter().map(item).collect();
        Command::Publish(Publish { reply_to: None, publisher: ClientId::new(publisher), items })
    }

    #[test]
    fn each_shard_gets_ascending_positions_and_each_position_in_one_request() {
        let commands = vec![
            (3, publish("a", &[1, 4])),
            (5, publish("a", &[4])),
            (3, publish("b", &[5, 6])),
            // Picked again after the rest, since a member had ended.
            (3, publish("", &[1, 2, 5])),
        ];
        let requests = requests(ShardId(9), commands);
        let seen: Vec<(u16, u64, &str, Vec<u64>)> = requests
            .iter()
            .map(|(shard, request)| match &request.command {
                Command::Publish(publish) => {
                    let numbers = publish.items.iter().map(|item| item.number).collect();
                    (*shard, request.number, publish.publisher.as_str(), numbers)
                }
                other => panic!("{other:?}"),
            })
            .collect();
        let expected = [
            (3, 1, "a", vec![1, 1]),
            (3, 2, "", vec![2]),
            (3, 4, "a", vec![4]),
            (3, 6, "b", vec![5, 5, 6]),
            (5, 4, "a", vec![4]),
        ];
        assert_eq!(seen, expected);
        assert!(requests.iter().all(|(_, request)| request.source == Source::Outbox(ShardId(9))));
    }
}
