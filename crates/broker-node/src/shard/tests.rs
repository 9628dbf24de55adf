//! Turns of a shard's task: nobody waits for more than a share of what others ask for.
//! Counts answers, never time.

use bytes::Bytes;
use mqtt_codec::{QoS, SharedPublish, Text};
use session_store::command::{Publish, PublishItem};
use session_store::limits::ShardLimits;
use session_store::shard::SCAN_STEPS;
use session_store::{ClientId, Message, ShardNumber, ShardSizes};
use topic_index::{Filter, PageBounds};

use super::*;
use crate::config::SharedStrategy;

type Waiting<T> = Vec<oneshot::Receiver<T>>;

fn task() -> ShardTask {
    let fanout = Arc::new(Fanout::new(SharedStrategy::RoundRobin));
    let state = Shard::new(ShardNumber { number: 0, of: 1 }, ShardLimits::default());
    ShardTask::new(state, 0, &fanout, Clock::start())
}

fn retain(task: &mut ShardTask, topics: usize) {
    let item = |number: usize| {
        let topic = format!("{number:05}/x");
        let body = SharedPublish::new(&Text::new(&topic).unwrap(), &Bytes::new(), &Bytes::from_static(b"x"));
        let message = Arc::new(Message { body, qos: QoS::AtMostOnce, retain: true, expires_at: None });
        let (number, groups) = (number as u64, Vec::new());
        PublishItem { number, message, sessions: false, store_retained: true, groups }
    };
    let items = (0..topics).map(item).collect();
    let publish = Publish { reply_to: None, publisher: ClientId::new("p"), items };
    task.take(ShardMail::Command(Command::Publish(publish), None));
}

/// A look-up that looks at every topic and finds none.
fn look_up() -> (ShardMail, oneshot::Receiver<Page>) {
    let filter = Filter::parse("+/nothing", 9).unwrap().plain().clone();
    let bounds = PageBounds { topics: 64, steps: SCAN_STEPS };
    let (answer, page) = oneshot::channel();
    (ShardMail::Page(PageWanted { filter, from: None, bounds }, answer), page)
}

fn ask_sizes() -> (ShardMail, oneshot::Receiver<ShardSizes>) {
    let (answer, sizes) = oneshot::channel();
    (ShardMail::Sizes(answer), sizes)
}

fn answered<T>(waiting: &mut Waiting<T>) -> usize {
    waiting.iter_mut().filter_map(|answer| answer.try_recv().ok()).count()
}

/// What the task had answered of `many` when it answered `one`, which came behind them.
async fn answered_before<T, U>(
    task: ShardTask,
    (inner, outer): (Vec<ShardMail>, Vec<ShardMail>),
    mut many: Waiting<T>,
    one: oneshot::Receiver<U>,
) -> usize {
    let (inner_to, inner_end) = mpsc::channel(2_048);
    let (outer_to, outer_end) = mpsc::channel(2_048);
    let (relay, _relay_end) = mpsc::channel(1);
    inner.into_iter().for_each(|mail| inner_to.try_send(mail).unwrap());
    outer.into_iter().for_each(|mail| outer_to.try_send(mail).unwrap());
    let running = tokio::spawn(task.run(Ends { outer: outer_end, inner: inner_end, relay }));
    one.await.unwrap();
    running.abort();
    answered(&mut many)
}

#[tokio::test]
async fn a_command_waits_for_one_page_a_turn_and_not_for_one_of_each_client() {
    const CLIENTS: usize = 64;
    let (mut mails, pages): (Vec<_>, Waiting<_>) = (0..CLIENTS).map(|_| look_up()).unzip();
    let (last, sizes) = ask_sizes();
    mails.push(last);
    let served = answered_before(task(), (Vec::new(), mails), pages, sizes).await;
    assert!(served <= CLIENTS / BATCH + 1, "{served} of {CLIENTS} pages went before a command");
}

#[tokio::test]
async fn connections_have_a_share_of_each_turn_however_much_comes_from_relays() {
    const RELAYED: usize = 1_024;
    let (inner, relayed): (Vec<_>, Waiting<_>) = (0..RELAYED).map(|_| ask_sizes()).unzip();
    let (outer, sizes) = ask_sizes();
    let served = answered_before(task(), (inner, vec![outer]), relayed, sizes).await;
    assert!(served <= 2 * BATCH, "{served} of {RELAYED} mails of relays went first");
}

#[test]
fn a_page_that_finds_nothing_is_not_the_last() {
    let mut task = task();
    retain(&mut task, 2 * SCAN_STEPS);
    let (mail, mut page) = look_up();
    task.take(mail);
    task.serve_page();
    let page = page.try_recv().unwrap();
    assert!(page.messages.is_empty() && page.next.is_some(), "{page:?}");
}

#[test]
fn look_ups_that_wait_are_bounded_and_end_with_their_asker() {
    let mut task = task();
    let (mails, mut pages): (Vec<_>, Waiting<_>) = (0..=PAGES_MAX).map(|_| look_up()).unzip();
    mails.into_iter().for_each(|mail| task.take(mail));
    assert_eq!((task.pages.len(), answered(&mut pages)), (PAGES_MAX, 1), "the oldest made room");
    drop(pages);
    let (mail, mut page) = look_up();
    task.take(mail);
    task.serve_page();
    assert!(page.try_recv().is_ok(), "nobody waits for those before it");
}
