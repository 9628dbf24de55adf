//! The numbers of this host's requests to one shard, who waits for their answers, and where they go: to the replica that
//! leads the shard. A shard applies a request once, however often it comes, so that all that is unanswered is sent again
//! wherever an answer may have been lost. Used by `Shards`, which sends; by `Home`, which hands out the answers; and by
//! the courier, which keeps the way to the leader.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mqtt_codec::ReasonCode;
use parking_lot::Mutex;
use raft_consensus::types::NodeId;
use session_store::command::{Command, Published, Reply};
use session_store::{ConnectionId, Request, Source};
use tokio::sync::{Notify, oneshot};

use super::in_flight::Flight;
use super::weight;
use crate::inbox::Inbox;

/// Requests to one shard that may be without an answer; whoever has more waits. Fewer than the shard keeps answers for.
const UNANSWERED_MAX: usize = 3_584;
/// Bytes of these requests, after which whoever has more waits: while no leader is known nothing else bounds them. More
/// than a group's mailbox and the entries on their way have.
const UNANSWERED_BYTES_MAX: usize = 32 << 20;

/// Who waits for the answer to a request.
#[derive(Debug, Default)]
pub(crate) struct Asker {
    /// The connection that asked.
    pub(crate) inbox: Option<Arc<Inbox>>,
    /// Told once the request is applied.
    pub(crate) applied: Option<oneshot::Sender<()>>,
    /// The request was the connection's last.
    pub(crate) ends: bool,
    /// It has retained publishes, which are on their way until it is answered.
    pub(crate) flight: Option<Flight>,
}

impl Asker {
    /// Answers a publish before it is in the log: a fault that tests must notice.
    pub(crate) fn answer_early(&self, command: &Command) {
        let reply = match command {
            Command::Publish(publish) => {
                let items = publish.items.iter();
                Reply::Published(items.map(|item| (item.number, Published::Taken)).collect())
            }
            Command::Receive(receive) => Reply::Received(receive.packet_id),
            _ => return,
        };
        if let Some(inbox) = &self.inbox {
            inbox.reply(reply);
        }
    }
}

/// Room for one unanswered request more. Whoever has it sends one or not: the next who waits looks again when it is dropped.
#[derive(Debug)]
pub(crate) struct RoomHere<'a>(&'a Link);

impl Drop for RoomHere<'_> {
    fn drop(&mut self) {
        self.0.room.notify_one();
    }
}

/// Where requests go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route {
    /// Nowhere: they wait until the courier has found the leader.
    Closed,
    /// To this node, as soon as they are asked for.
    To(NodeId),
}

/// What a host makes of words of a leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Words {
    /// The next ones.
    Next,
    /// Of an attachment that is over.
    Stale,
    /// Some before them are missing: the host has to attach again.
    Gap,
}

/// A stream of requests, as its source sees it.
#[derive(Debug)]
pub(crate) struct Link {
    source: Source,
    numbers: Mutex<Numbers>,
    /// The leader has spoken for the first time since the host attached.
    attached: Notify,
    /// Something that the leader said was lost.
    broken: Notify,
    /// There may be room for another request.
    room: Notify,
    /// The way to a leader is open.
    opened: Notify,
}

#[derive(Debug)]
struct Asked {
    asker: Asker,
    request: Arc<Request>,
    bytes: usize,
}

#[derive(Debug)]
struct Numbers {
    /// Every request below this one is answered.
    done_below: u64,
    /// From `done_below` on: what was asked; `None` where the answer has come.
    asked: VecDeque<Option<Asked>>,
    /// Bytes of what is there.
    bytes: usize,
    /// CONNECTs that wait for another connection to stop, since when. They are answered, and hear the rest later.
    deferred: BTreeMap<ConnectionId, (Instant, Arc<Request>)>,
    route: Route,
    /// The number of the present attachment to a leader.
    attachment: u64,
    /// How many times the leader has spoken since.
    heard: u64,
    /// How many answers came so far, and words that others followed.
    answers: u64,
    /// The leader has more to say.
    more: bool,
}

impl Numbers {
    fn next(&self) -> u64 {
        self.done_below + self.asked.len() as u64
    }

    fn has_room(&self) -> bool {
        self.asked.len() < UNANSWERED_MAX && self.bytes < UNANSWERED_BYTES_MAX
    }
}

impl Link {
    /// A stream that has not begun, and leads nowhere yet.
    pub(crate) fn new(source: Source) -> Self {
        let (asked, deferred) = (VecDeque::new(), BTreeMap::new());
        let (route, attachment, heard, answers, more) = (Route::Closed, 0, 0, 0, false);
        let (done_below, bytes) = (1, 0);
        let numbers = Numbers { done_below, asked, bytes, deferred, route, attachment, heard, answers, more };
        let [attached, broken, room, opened] = [(); 4].map(|()| Notify::new());
        Self { source, numbers: Mutex::new(numbers), attached, broken, room, opened }
    }

    /// Whose stream it is.
    pub(crate) fn source(&self) -> Source {
        self.source
    }

    fn has_room(&self) -> bool {
        self.numbers.lock().has_room()
    }

    /// Waits until there may be one unanswered request more.
    async fn room(&self) -> RoomHere<'_> {
        loop {
            let room = self.room.notified();
            if self.has_room() {
                return RoomHere(self);
            }
            room.await;
        }
    }

    /// Waits until there may be one unanswered request more, and for room elsewhere besides.
    ///
    /// # Errors
    /// There is no such room.
    pub(super) async fn room_and<R, E, F: Future<Output = Result<R, E>>>(
        &self,
        elsewhere: impl Fn() -> F,
    ) -> Result<(RoomHere<'_>, R), E> {
        loop {
            let here = self.room().await;
            let there = elsewhere().await?;
            // Many may have waited for the one room while there was the other.
            if self.has_room() {
                return Ok((here, there));
            }
        }
    }

    /// Numbers a command, and sends it where a leader is known; else it waits for one. Requests reach `send` in the
    /// order of their numbers, which is why it must not wait.
    pub(crate) fn send(&self, command: Command, asker: Asker, send: impl FnOnce(NodeId, Arc<Request>)) {
        let mut numbers = self.numbers.lock();
        let (done_below, number) = (numbers.done_below, numbers.next());
        let bytes = weight::command(&command).bytes;
        let request = Arc::new(Request { source: self.source, number, done_below, command });
        if let Route::To(leader) = numbers.route {
            send(leader, Arc::clone(&request));
        }
        numbers.bytes += bytes;
        numbers.asked.push_back(Some(Asked { asker, request, bytes }));
    }

    /// The number of the next request.
    pub(crate) fn next(&self) -> u64 {
        self.numbers.lock().next()
    }

    /// Who leads the shard, where the way there is open.
    pub(crate) fn leader(&self) -> Option<NodeId> {
        self.way().map(|(leader, _)| leader)
    }

    /// The same, with the number of the attachment.
    pub(super) fn way(&self) -> Option<(NodeId, u64)> {
        let numbers = self.numbers.lock();
        match numbers.route {
            Route::Closed => None,
            Route::To(leader) => Some((leader, numbers.attachment)),
        }
    }

    /// Waits until the way to a leader was opened anew: what was sent before may be lost.
    pub(super) async fn until_opened_again(&self, attachment: u64) {
        loop {
            let opened = self.opened.notified();
            if self.way().is_some_and(|(_, now)| now != attachment) {
                return;
            }
            opened.await;
        }
    }

    /// Waits until the way to a leader is open for the first time.
    pub(super) async fn until_open(&self) {
        loop {
            let opened = self.opened.notified();
            if self.leader().is_some() {
                return;
            }
            opened.await;
        }
    }

    /// Waits until the way to another node is open, which leads the shard.
    pub(super) async fn until_led_elsewhere(&self, me: NodeId) {
        loop {
            let opened = self.opened.notified();
            if self.leader().is_some_and(|leader| leader != me) {
                return;
            }
            opened.await;
        }
    }

    /// Ends the connections that wait for the answer to a request before this number.
    pub(crate) fn end_asked_before(&self, number: u64, reason: ReasonCode) {
        let numbers = self.numbers.lock();
        let older = usize::try_from(number.saturating_sub(numbers.done_below)).unwrap_or(usize::MAX);
        for Asked { asker, .. } in numbers.asked.iter().take(older).flatten() {
            if let Some(inbox) = &asker.inbox {
                inbox.end(reason);
            }
        }
    }

    /// The answer to a request came; returns who waits for it, the first time. A CONNECT whose answer is still to come
    /// is `deferred`.
    pub(crate) fn answered(&self, number: u64, deferred: bool) -> Option<Asker> {
        let mut numbers = self.numbers.lock();
        let index = usize::try_from(number.checked_sub(numbers.done_below)?).ok()?;
        let Asked { asker, request, bytes } = numbers.asked.get_mut(index)?.take()?;
        numbers.bytes -= bytes;
        while let Some(None) = numbers.asked.front() {
            numbers.asked.pop_front();
            numbers.done_below += 1;
        }
        numbers.answers += 1;
        if let (Command::Connect(connect), true) = (&request.command, deferred) {
            numbers.deferred.insert(connect.connection, (Instant::now(), Arc::clone(&request)));
        }
        drop(numbers);
        self.room.notify_one();
        Some(asker)
    }

    /// A connection has been told what became of its CONNECT, or does not wait for it any more. Gives how long it waited for
    /// another one to stop, if it did.
    pub(super) fn connected(&self, connection: ConnectionId) -> Option<Duration> {
        let (since, _) = self.numbers.lock().deferred.remove(&connection)?;
        Some(since.elapsed())
    }

    /// Begins an attachment to whoever leads now, and gives its number. Until [`Self::unanswered_behind`] finds nothing more, requests wait.
    pub(super) fn attach(&self) -> u64 {
        let mut numbers = self.numbers.lock();
        numbers.route = Route::Closed;
        numbers.attachment += 1;
        numbers.heard = 0;
        numbers.attachment
    }

    /// Takes note of words of a leader, and of whether more follow at once.
    pub(super) fn hear(&self, (attachment, number): (u64, u64), more: bool) -> Words {
        let mut numbers = self.numbers.lock();
        if numbers.attachment != attachment || number < numbers.heard {
            return Words::Stale;
        }
        if number > numbers.heard {
            self.broken.notify_one();
            return Words::Gap;
        }
        numbers.heard += 1;
        // What is asked meanwhile is answered behind what follows.
        if more || numbers.more {
            numbers.answers += 1;
        }
        numbers.more = more;
        Words::Next
    }

    /// The first words of the present attachment were carried out.
    pub(super) fn attached(&self) {
        self.attached.notify_one();
    }

    /// Waits for [`Self::attached`].
    pub(super) async fn until_attached(&self, attachment: u64) {
        loop {
            let attached = self.attached.notified();
            if self.is_attached(attachment) {
                return;
            }
            attached.await;
        }
    }

    fn is_attached(&self, attachment: u64) -> bool {
        let numbers = self.numbers.lock();
        numbers.attachment == attachment && numbers.heard > 0
    }

    /// Something is missing, on the way there or back.
    pub(super) fn has_gap(&self) {
        self.broken.notify_one();
    }

    /// Waits until something is missing.
    pub(super) async fn until_broken(&self) {
        self.broken.notified().await;
    }

    /// The unanswered requests behind `number`, at most `limit`, each with what is answered by now; where there are none,
    /// requests go to `leader` from now on without a detour.
    pub(super) fn unanswered_behind(&self, number: u64, limit: usize, leader: NodeId) -> Vec<Arc<Request>> {
        let mut numbers = self.numbers.lock();
        let skip = usize::try_from((number + 1).saturating_sub(numbers.done_below)).unwrap_or(usize::MAX);
        let done_below = numbers.done_below;
        let behind = numbers.asked.iter_mut().skip(skip).flatten().take(limit);
        let again = behind.map(|Asked { request, .. }| {
            if request.done_below < done_below {
                Arc::make_mut(request).done_below = done_below;
            }
            Arc::clone(request)
        });
        let requests: Vec<Arc<Request>> = again.collect();
        if requests.is_empty() {
            numbers.route = Route::To(leader);
            self.opened.notify_waiters();
        }
        requests
    }

    /// CONNECTs that wait for another connection to stop: a repeat is told what has become of it.
    pub(super) fn deferred(&self) -> Vec<Arc<Request>> {
        self.numbers.lock().deferred.values().map(|(_, request)| Arc::clone(request)).collect()
    }

    /// How far the leader has come with its answers, and whether any request waits for one.
    pub(super) fn progress(&self) -> (u64, bool) {
        let numbers = self.numbers.lock();
        (numbers.answers, !numbers.asked.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use bytes::Bytes;
    use mqtt_codec::{PacketId, QoS, SharedPublish, Text};
    use session_store::command::{Connect, Receive, Release};
    use session_store::{ClientId, Epoch, Host, Message};

    use super::*;

    fn release() -> Command {
        Command::Release(Release {
            client: ClientId::new("c"),
            epoch: Epoch::default(),
            packet_id: PacketId::new(1).unwrap(),
        })
    }

    fn opened() -> Link {
        let link = Link::new(Source::Host(Host::default()));
        assert!(link.unanswered_behind(0, 10, 7).is_empty());
        link
    }

    fn sent(link: &Link) -> Option<(u64, u64)> {
        let mut sent = None;
        link.send(release(), Asker::default(), |leader, request| {
            assert_eq!(leader, 7);
            sent = Some((request.number, request.done_below));
        });
        sent
    }

    fn numbers(requests: &[Arc<Request>]) -> Vec<u64> {
        requests.iter().map(|request| request.number).collect()
    }

    #[test]
    fn numbers_are_dense_and_what_is_done_has_no_gap() {
        let link = opened();
        assert_eq!([sent(&link), sent(&link), sent(&link)], [(1, 1), (2, 1), (3, 1)].map(Some));
        assert!(link.answered(2, false).is_some());
        assert_eq!(sent(&link), Some((4, 1)), "the first is still open");
        assert!(link.answered(1, false).is_some());
        assert!([1, 2, 9].iter().all(|number| link.answered(*number, false).is_none()));
        assert_eq!(sent(&link), Some((5, 3)));
    }

    #[test]
    fn while_no_leader_is_known_requests_wait_and_then_go_in_their_order() {
        let link = opened();
        (0..3).for_each(|_| assert!(sent(&link).is_some()));
        link.answered(2, false);
        link.attach();
        assert_eq!((sent(&link), link.leader()), (None, None), "the way is closed");
        assert_eq!(numbers(&link.unanswered_behind(0, 2, 7)), [1, 3]);
        link.answered(1, false);
        let again = link.unanswered_behind(0, 1, 7);
        assert_eq!((again[0].number, again[0].done_below), (3, 3), "the shard forgets what is answered");
        assert_eq!(numbers(&link.unanswered_behind(3, 2, 7)), [4]);
        assert_eq!(sent(&link), None, "those before it come first");
        assert_eq!(numbers(&link.unanswered_behind(4, 2, 7)), [5]);
        assert!(link.unanswered_behind(5, 2, 7).is_empty());
        assert_eq!((sent(&link), link.leader()), (Some((6, 3)), Some(7)));
    }

    #[test]
    fn a_connect_that_waits_for_another_connection_is_asked_again_until_it_hears() {
        let link = opened();
        let connection = ConnectionId { host: Host::default(), number: 3 };
        let connect = Connect {
            client: ClientId::new("c"),
            connection,
            clean_start: false,
            expiry_s: 1,
            receive_maximum: 1,
            will: None,
        };
        link.send(Command::Connect(connect), Asker::default(), |_, _| {});
        link.send(release(), Asker::default(), |_, _| {});
        assert!(link.answered(1, true).is_some() && link.answered(2, true).is_some());
        assert_eq!(numbers(&link.deferred()), [1]);
        assert!(link.connected(connection).is_some() && link.connected(connection).is_none());
        assert!(link.deferred().is_empty());
    }

    #[test]
    fn words_that_are_missing_are_noticed_and_those_of_earlier_attachments_are_not_heard() {
        let link = opened();
        let first = link.attach();
        assert_eq!([0, 1].map(|number| link.hear((first, number), false)), [Words::Next; 2]);
        assert_eq!(link.hear((first, 3), false), Words::Gap);
        let second = link.attach();
        assert_eq!(link.hear((first, 2), false), Words::Stale);
        assert_eq!([0, 0].map(|number| link.hear((second, number), false)), [Words::Next, Words::Stale]);
    }

    /// Whether something would wait.
    fn waits(future: impl Future) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        std::pin::pin!(future).poll(&mut context).is_pending()
    }

    #[tokio::test]
    async fn who_has_too_much_unanswered_waits() {
        let link = opened();
        (0..UNANSWERED_MAX).for_each(|_| assert!(sent(&link).is_some()));
        assert!(waits(link.room()));
        link.answered(1, false);
        drop(link.room().await);
    }

    #[tokio::test]
    async fn who_gives_up_with_room_at_hand_leaves_it_to_the_next() {
        let link = opened();
        (0..UNANSWERED_MAX).for_each(|_| assert!(sent(&link).is_some()));
        let elsewhere = std::future::pending::<Result<(), ()>>;
        let mut gives_up = Box::pin(link.room_and(elsewhere));
        let mut next = Box::pin(link.room());
        let mut context = Context::from_waker(Waker::noop());
        assert!(gives_up.as_mut().poll(&mut context).is_pending());
        assert!(next.as_mut().poll(&mut context).is_pending());
        link.answered(1, false);
        assert!(gives_up.as_mut().poll(&mut context).is_pending(), "it has room here, and none elsewhere");
        drop(gives_up);
        drop(next.await);
    }

    /// Both have room here while they wait for the room elsewhere, of which there is enough for both.
    #[tokio::test]
    async fn room_that_was_there_before_is_looked_at_again() {
        let link = opened();
        (1..UNANSWERED_MAX).for_each(|_| assert!(sent(&link).is_some()));
        let elsewhere = Notify::new();
        let waits_too = || async {
            elsewhere.notified().await;
            Ok::<(), ()>(())
        };
        let mut context = Context::from_waker(Waker::noop());
        let mut both = [(); 2].map(|()| Box::pin(link.room_and(waits_too)));
        assert!(both.iter_mut().all(|one| one.as_mut().poll(&mut context).is_pending()));
        elsewhere.notify_waiters();
        let [first, mut second] = both;
        let room = first.await.unwrap();
        assert!(sent(&link).is_some());
        drop(room);
        assert!(second.as_mut().poll(&mut context).is_pending(), "the first has taken what there was");
        elsewhere.notify_one();
        assert!(second.as_mut().poll(&mut context).is_pending());
        link.answered(1, false);
        assert!(second.as_mut().poll(&mut context).is_ready());
    }

    #[tokio::test]
    async fn who_has_too_many_bytes_unanswered_waits_and_one_answer_makes_room_for_several() {
        let link = opened();
        link.attach();
        let body =
            |bytes| SharedPublish::new(&Text::new("t").unwrap(), &Bytes::new(), &vec![0; bytes].into());
        let receive = |bytes| {
            let message = Arc::new(Message {
                body: body(bytes),
                qos: QoS::ExactlyOnce,
                retain: false,
                expires_at: None,
            });
            let (client, packet_id) = (ClientId::new("c"), PacketId::MIN);
            Command::Receive(Receive { client, epoch: Epoch::default(), packet_id, message })
        };
        let send = |bytes| link.send(receive(bytes), Asker::default(), |_, _| panic!("no way is open"));
        send(1_000);
        assert!(!waits(link.room()));
        send(UNANSWERED_BYTES_MAX);
        let others: [_; 2] = std::array::from_fn(|_| async {
            let _room = link.room().await;
            send(1);
        });
        let [mut first, mut second] = others.map(Box::pin);
        let mut context = Context::from_waker(Waker::noop());
        assert!(
            first.as_mut().poll(&mut context).is_pending() && second.as_mut().poll(&mut context).is_pending()
        );
        link.answered(2, false);
        first.await;
        second.await;
    }

    #[tokio::test]
    async fn whoever_waits_for_an_answer_hears_of_a_new_way() {
        let link = opened();
        let (leader, attachment) = link.way().unwrap();
        assert!(waits(link.until_opened_again(attachment)));
        link.attach();
        assert!(link.way().is_none() && waits(link.until_opened_again(attachment)));
        assert!(link.unanswered_behind(0, 10, leader + 1).is_empty());
        link.until_opened_again(attachment).await;
        assert_eq!(link.way(), Some((leader + 1, attachment + 1)));
    }
}
