//! What a shard itself sends: wills, QoS 2 messages of persistent sessions, redispatched messages of shared groups, and
//! look-ups of retained messages. A task on the node that leads the shard reads the outbox of the shard's state and
//! empties it when every target has what was sent; a target leaves out what it has seen, so that after a crash, or under
//! another leader, it may be sent again.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use raft_consensus::group::NoRoom;
use raft_consensus::proposer::ENTRY_BYTES_MAX;
use session_store::command::{Command, Input, Publish, PublishItem, Scanned};
use session_store::outbox::{OutboxItem, OutboxKind};
use session_store::scan::Ask;
use session_store::shard::{SCAN_PAGE, SCAN_STEPS};
use session_store::{ClientId, Request, ShardId, Source};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use topic_index::PageBounds;

use super::lane::{Lane, Lanes};
use super::{Dispatch, PageWanted, ShardGroup, Shards, weight};
use crate::counters::NodeCounters;
use crate::fanout::Fanout;

/// Pages that one relay waits for at a time; with so many, what comes behind waits too.
const PAGES_MAX: usize = 1_024;

/// What the relay of one shard is told.
#[derive(Debug, Default)]
pub(crate) struct RelayMail {
    work: Notify,
    /// The outbox has items that were not looked at.
    more: AtomicBool,
    /// Pages that sessions want, one for each session at most.
    scans: Mutex<VecDeque<(ClientId, Ask)>>,
    /// The highest position that each target has.
    answered: Mutex<BTreeMap<u16, u64>>,
    progress: Notify,
}

impl RelayMail {
    /// This node leads the shard from now on: what sessions wanted of an earlier leader they ask for again.
    pub(super) fn begin(&self) {
        self.scans.lock().clear();
    }

    /// The outbox has more items.
    pub(super) fn filled(&self) {
        self.more.store(true, Ordering::Release);
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
        self.progress.notify_waiters();
        self.work.notify_one();
    }

    fn has(&self, target: u16, position: u64) -> bool {
        self.answered.lock().get(&target).is_some_and(|highest| *highest >= position)
    }

    /// Waits until a target has everything up to a position.
    pub(super) async fn until_answered(&self, target: u16, position: u64) {
        loop {
            let progress = self.progress.notified();
            if self.has(target, position) {
                return;
            }
            progress.await;
        }
    }
}

/// What a relay sends with.
pub(super) struct Relay {
    pub(super) number: u16,
    pub(super) shards: Shards,
    pub(super) group: ShardGroup,
    pub(super) fanout: Arc<Fanout>,
    pub(super) counters: Arc<NodeCounters>,
    /// In which term this node leads the shard, if it does.
    pub(super) leads: watch::Receiver<Option<u64>>,
}

impl Relay {
    /// Sends what its shard has to send, in order, whenever this node leads it; until the shard's group ends.
    pub(super) async fn run(mut self) {
        loop {
            let Ok(term) = self.leads.wait_for(Option::is_some).await.map(|term| *term) else { return };
            let mut leads = self.leads.clone();
            tokio::select! {
                deposed = leads.wait_for(|now| *now != term) => if deposed.is_err() { return },
                ended = self.serve() => if ended.is_none() { return },
            }
        }
    }

    /// Ends with `None` when the groups do.
    async fn serve(&self) -> Option<()> {
        let mail = &self.shards.home(self.number)?.relay;
        let mut dispatch = Dispatch::new(&self.fanout);
        let (mut pages, mut lanes) = (JoinSet::new(), Lanes::default());
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
                pages.spawn(look_up(self.group.clone(), self.shards.clone(), client, ask));
            }
            let looks = mail.more.swap(false, Ordering::AcqRel);
            let items = if looks { self.items_from(next).await? } else { Vec::new() };
            if let Some(last) = items.last().map(|(position, _)| *position) {
                self.send(&mut dispatch, &items, &mut lanes).await;
                next = last + 1;
                mail.more.store(true, Ordering::Release);
            }
            if let Some(up_to) = lanes.relayed(next - 1, |target, position| mail.has(target, position)) {
                self.group.room().await.ok()?.propose(Input::Relayed(up_to));
            }
            if items.is_empty() && !scans {
                mail.work.notified().await;
            }
        }
    }

    async fn items_from(&self, position: u64) -> Option<Vec<(u64, OutboxItem)>> {
        let look = self.group.look_now(move |state| state.machine().outbox_from(position, Dispatch::BATCH));
        look.await.ok()
    }

    /// Sends items to all who get them: each shard takes them by a lane of its own, and waits for no other.
    async fn send(&self, dispatch: &mut Dispatch, items: &[(u64, OutboxItem)], lanes: &mut Lanes) {
        for (position, item) in items {
            self.dispatch(dispatch, *position, item);
        }
        let dispatched = dispatch.finish();
        self.counters.count_dropped(dispatched.dropped);
        for (target, request) in requests(ShardId(self.number), dispatched.commands) {
            let lane = || Lane { outbox: self.number, target, shards: self.shards.clone() };
            lanes.send(target, request, lane).await;
        }
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
}

/// Fetches a page for a scan of a session of this group; nothing comes of it when the node stops.
async fn look_up(group: ShardGroup, shards: Shards, client: ClientId, ask: Ask) -> Option<()> {
    let Ask { scan, filter, shard, from } = ask;
    let bounds = PageBounds { topics: SCAN_PAGE, steps: SCAN_STEPS };
    let page = shards.page(shard, PageWanted { filter, from, bounds }).await?;
    let scanned = Scanned { client, scan, messages: page.messages, after: page.next };
    shards.has_space().await;
    match group.room_for(weight::scanned(&scanned).bytes).await {
        Ok(room) => room.propose(Input::Scanned(scanned)),
        Err(NoRoom::Gone) => return None,
        Err(too_large @ NoRoom::TooLarge { .. }) => {
            tracing::error!(target: "quelea", shard, %too_large, "a retained message is left out");
            let nothing = Scanned { messages: Vec::new(), ..scanned };
            group.room_for(weight::scanned(&nothing).bytes).await.ok()?.propose(Input::Scanned(nothing));
        }
    }
    Some(())
}

/// What an outbox sends to each shard, in the order of its positions. All that a shard gets of one position is
/// in one item, unless that is for very many groups. A request is no larger than an entry should be, but for one item
/// that is larger by itself: the log has a bound for what it takes at once.
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
        items.dedup_by(|(_, again), (_, first)| again.number == first.number && join(first, again));
        let mut making = Making::of(outbox);
        for (publisher, item) in items {
            making.add_parts(&publisher, item);
        }
        making.finish_all();
        requests.extend(making.made.into_iter().map(|request| (shard, request)));
    }
    requests
}

/// Adds to an item what the same message is to do besides.
fn join(item: &mut PublishItem, more: &mut PublishItem) -> bool {
    item.sessions |= more.sessions;
    item.store_retained |= more.store_retained;
    item.groups.append(&mut more.groups);
    true
}

/// The requests of an outbox to one shard, while they are made.
struct Making {
    outbox: ShardId,
    publisher: ClientId,
    /// Of the request that is made: 0, or the position of the item that it goes on with.
    done_below: u64,
    together: Vec<PublishItem>,
    bytes: usize,
    made: Vec<Request>,
}

impl Making {
    fn of(outbox: ShardId) -> Self {
        Self {
            outbox,
            publisher: ClientId::new(""),
            done_below: 0,
            together: Vec::new(),
            bytes: 0,
            made: Vec::new(),
        }
    }

    /// Adds an item, in parts where it is for very many groups. Each part but the first begins with the last group of
    /// the one before it, and says so by the position as `done_below`: a shard that lacks that one refuses it.
    fn add_parts(&mut self, publisher: &ClientId, item: PublishItem) {
        let number = item.number;
        let mut last: Option<PublishItem> = None;
        item.into_parts(|mut part| {
            if let Some(before) = last.take() {
                part.groups.splice(..0, before.groups.last().cloned());
                self.add(publisher, before);
                self.finish(number - 1);
                self.done_below = number;
            }
            last = Some(part);
        });
        last.into_iter().for_each(|last| self.add(publisher, last));
    }

    /// Adds an item, or a part of one, to those before it if they are of the same publisher and there is room.
    fn add(&mut self, publisher: &ClientId, item: PublishItem) {
        let size = item.size();
        if self.publisher != *publisher || self.bytes + size > ENTRY_BYTES_MAX {
            self.finish_all();
            self.publisher = publisher.clone();
        }
        self.bytes += size;
        self.together.push(item);
    }

    /// Ends a request whose items are all there is of their positions.
    fn finish_all(&mut self) {
        let number = self.together.last().map_or(0, |item| item.number);
        self.finish(number);
    }

    /// Ends a request, if there is something in it; its shard has all up to the position `number` then.
    fn finish(&mut self, number: u64) {
        if self.together.is_empty() {
            return;
        }
        let (items, publisher) = (std::mem::take(&mut self.together), self.publisher.clone());
        let (source, done_below) = (Source::Outbox(self.outbox), std::mem::take(&mut self.done_below));
        self.bytes = 0;
        let command = Command::Publish(Publish { reply_to: None, publisher, items });
        self.made.push(Request { source, number, done_below, command });
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use mqtt_codec::{QoS, SharedPublish, Text};
    use session_store::Message;
    use session_store::command::GroupPick;
    use session_store::matching::GroupName;
    use topic_index::Filter;

    use super::*;

    fn publish(publisher: &str, numbers: &[u64]) -> Command {
        publish_sized(publisher, numbers, 0)
    }

    fn publish_sized(publisher: &str, numbers: &[u64], bytes: usize) -> Command {
        let item = |number: &u64| {
            let payload = Bytes::from(vec![0; bytes]);
            let body = SharedPublish::new(&Text::new("t").unwrap(), &Bytes::new(), &payload);
            let message = Arc::new(Message { body, qos: QoS::ExactlyOnce, retain: false, expires_at: None });
            let (number, groups) = (*number, Vec::new());
            PublishItem { number, message, sessions: true, store_retained: false, groups }
        };
        let items = numbers.iter().map(item).collect();
        Command::Publish(Publish { reply_to: None, publisher: ClientId::new(publisher), items })
    }

    #[test]
    fn each_shard_gets_ascending_positions_and_each_position_once() {
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
            (3, 1, "a", vec![1]),
            (3, 2, "", vec![2]),
            (3, 4, "a", vec![4]),
            (3, 6, "b", vec![5, 6]),
            (5, 4, "a", vec![4]),
        ];
        assert_eq!(seen, expected);
        assert!(requests.iter().all(|(_, request)| request.source == Source::Outbox(ShardId(9))));
    }

    #[test]
    fn large_messages_of_one_publisher_do_not_make_one_request_larger_than_the_log_takes() {
        let numbers: Vec<u64> = (1..=9).collect();
        let sent = |bytes| requests(ShardId(9), vec![(3, publish_sized("a", &numbers, bytes))]).len();
        let counts = [0, ENTRY_BYTES_MAX / 4, ENTRY_BYTES_MAX / 2, ENTRY_BYTES_MAX + 1].map(sent);
        assert_eq!(counts, [1, 3, 9, 9], "a topic and its length come on top of the payload");
    }

    #[test]
    fn a_position_for_very_many_groups_is_sent_in_parts_and_is_complete_with_the_last() {
        let picks = |from: usize, to: usize| {
            let pick = |n: usize| {
                let name = format!("$share/{n:02}{}/t", "g".repeat(50_000));
                let Ok(Filter::Shared { group, filter }) = Filter::parse(name, 9) else {
                    panic!("not shared")
                };
                GroupPick { group: Arc::new(GroupName { group, filter }), choice: 0 }
            };
            (from..to).map(pick).collect::<Vec<_>>()
        };
        let with_picks = |numbers: &[u64], picks: Vec<GroupPick>| {
            let Command::Publish(mut publish) = publish("a", numbers) else { panic!("no publish") };
            publish.items.last_mut().unwrap().groups = picks;
            Command::Publish(publish)
        };
        // What one look at the topic gave, and what was picked again since a member had ended.
        let commands = vec![
            (3, with_picks(&[1, 2], picks(0, 11))),
            (3, publish("a", &[3])),
            (3, with_picks(&[2], picks(11, 12))),
        ];
        let told = |item: &PublishItem| (item.number, item.sessions, item.groups.len());
        let told = |request: Request| match request.command {
            Command::Publish(publish) => {
                (request.number, request.done_below, publish.items.iter().map(told).collect())
            }
            other => panic!("{other:?}"),
        };
        let made: Vec<_> =
            requests(ShardId(9), commands).into_iter().map(|(_, request)| told(request)).collect();
        let expected = [
            (1, 0, vec![(1, true, 0), (2, true, 5)]),
            // Each begins with the last group of the one before it.
            (1, 2, vec![(2, false, 6)]),
            (3, 2, vec![(2, false, 3), (3, true, 0)]),
        ];
        assert_eq!(made, expected);
    }
}
