//! What a look-up of retained messages waits for: that each node has an answer of the topic's home to every retained publish
//! that it had begun. What begins later is matched against the new subscription. One round of questions is under way for
//! each shard at a time, and answers everybody who came before it began.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use session_store::scan::Ask;
use session_store::{NodeId, ShardId};
use tokio::sync::{Mutex, oneshot};
use tokio::time::{Instant, sleep, timeout};
use topic_index::PageBounds;

use super::in_flight::Flight;
use super::peers::Word;
use super::{Page, PageWanted, Shards};

/// How long a node may take to say whether it has settled, before it is asked again: twice as long as it waits before it says
/// that it has not.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a node waits for its publishes before it says that some are still on their way.
pub(super) const SETTLES_WITHIN: Duration = Duration::from_secs(1);
/// A node that has said nothing for so long is not waited for: its leases have run out and its clients were closed, or it is
/// about to be taken for dead. None of what it had on its way was acknowledged.
const SILENT_FOR: Duration = Duration::from_secs(10);
/// Before a node is asked again that could not hear.
const NOT_HEARD: Duration = Duration::from_millis(50);

/// The rounds of questions about one shard.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    /// How many have begun.
    begun: AtomicU64,
    /// The last one that came to its end.
    ended: Mutex<u64>,
}

impl Rounds {
    /// Returns when a round has come to its end that began after this was called; `round` is one.
    async fn after_now(&self, round: impl Future<Output = ()>) {
        let begun = self.begun.load(Ordering::Acquire);
        let mut ended = self.ended.lock().await;
        if *ended > begun {
            return;
        }
        let number = self.begun.fetch_add(1, Ordering::AcqRel) + 1;
        round.await;
        *ended = number;
    }
}

impl Shards {
    /// A retained message is about to be matched that is for this shard; it is on its way until what is returned is dropped.
    pub(crate) fn begin_retained(&self, topic_home: u16) -> Option<Flight> {
        self.home(topic_home).map(|home| home.in_flight.begin())
    }

    /// A page of a look-up for a new subscription; `None` when the node stops. The first one comes behind every retained publish
    /// that was matched before.
    pub(crate) async fn look_up(&self, ask: Ask, bounds: PageBounds) -> Option<Page> {
        let Ask { filter, shard, from, .. } = ask;
        if shard == 0 && from.is_none() {
            self.until_retained_settled().await;
        }
        self.page(shard, PageWanted { filter, from, bounds }).await
    }

    /// Waits until the retained publishes that any node had begun by now are at the homes of their topics.
    async fn until_retained_settled(&self) {
        let alone = self.others().is_none();
        join_all((0..).zip(self.inner.homes.iter()).map(|(shard, home)| async move {
            match alone {
                true => home.in_flight.until_settled().await,
                false => home.rounds.after_now(self.ask_all(shard)).await,
            }
        }))
        .await;
    }

    /// Asks all nodes until each has settled, with the outboxes of all shards among what they had on its way: between two leaders
    /// nobody speaks for a shard's. One that has none for long is not waited for.
    async fn ask_all(&self, shard: u16) {
        let until = Instant::now() + SILENT_FOR;
        loop {
            let nodes: BTreeSet<NodeId> = self.live_runs().into_iter().map(|run| run.node).collect();
            let answers = nodes.into_iter().map(|node| self.until_settled_on(node, shard));
            let outboxes: BTreeSet<ShardId> = join_all(answers).await.into_iter().flatten().collect();
            if outboxes.len() >= usize::from(self.count()) || Instant::now() >= until {
                return;
            }
            sleep(NOT_HEARD).await;
        }
    }

    /// Asks a node until it has settled, is dead, or has said nothing for long; gives whose outboxes it sends.
    async fn until_settled_on(&self, node: NodeId, shard: u16) -> Vec<ShardId> {
        let mut heard = Instant::now();
        while heard.elapsed() < SILENT_FOR && self.live_runs().iter().any(|run| run.node == node) {
            let (answer, answered) = oneshot::channel();
            self.tell(node.0.into(), shard, Word::Settled(answer));
            match timeout(ANSWER_TIMEOUT, answered).await {
                Ok(Ok(settled)) if settled.all => return settled.outboxes,
                Ok(Ok(_)) => heard = Instant::now(),
                Ok(Err(_)) => sleep(NOT_HEARD).await,
                Err(_) => {}
            }
        }
        Vec::new()
    }
}

#[cfg(test)]
impl Shards {
    /// This node, which sends a shard's outbox, says that it does not, until what is returned is dropped.
    pub(crate) fn is_not_sending(&self, shard: u16) -> impl Drop + use<> {
        self.inner.homes[usize::from(shard)].sending.begin(shard)
    }

    /// Says to a node that QoS 0 is to be passed on.
    pub(crate) fn passes_on(&self, to: u32, shard: u16, publish: session_store::command::Publish) {
        self.tell(u64::from(to), shard, Word::PassOn(publish));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::{Context, Waker};

    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn one_round_answers_all_who_came_before_it_and_nobody_who_came_later() {
        let rounds = Rounds::default();
        let goes_on: [Arc<Notify>; 3] = std::array::from_fn(|_| Arc::default());
        let [mut first, mut second, mut third] = goes_on.each_ref().map(|goes_on| {
            let goes_on = Arc::clone(goes_on);
            Box::pin(rounds.after_now(async move { goes_on.notified().await }))
        });
        let mut context = Context::from_waker(Waker::noop());
        assert!(first.as_mut().poll(&mut context).is_pending());
        // They came while the first round was under way.
        assert!(second.as_mut().poll(&mut context).is_pending());
        assert!(third.as_mut().poll(&mut context).is_pending());
        goes_on[0].notify_one();
        assert!(first.as_mut().poll(&mut context).is_ready());
        assert!(second.as_mut().poll(&mut context).is_pending(), "it asks itself");
        goes_on[1].notify_one();
        assert!(second.as_mut().poll(&mut context).is_ready());
        assert!(third.as_mut().poll(&mut context).is_ready(), "the second round began after it had come");
    }

    #[tokio::test]
    async fn a_round_that_nobody_waits_for_any_more_answers_nobody() {
        let rounds = Rounds::default();
        let mut context = Context::from_waker(Waker::noop());
        let mut first = Box::pin(rounds.after_now(std::future::pending()));
        assert!(first.as_mut().poll(&mut context).is_pending());
        let mut second = Box::pin(rounds.after_now(std::future::pending()));
        assert!(second.as_mut().poll(&mut context).is_pending());
        drop(first);
        assert!(second.as_mut().poll(&mut context).is_pending());
        let mut third = Box::pin(rounds.after_now(async {}));
        assert!(third.as_mut().poll(&mut context).is_pending());
        drop(second);
        third.await;
    }
}
