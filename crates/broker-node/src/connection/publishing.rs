//! A message that is published by the word of whoever administers the cluster: matched, sent and acknowledged as one of a client
//! of this node. Called by the admin API. No client is behind it: no rule, no limit and no session has a say.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use mqtt_codec::{QoS, ReasonCode};
use parking_lot::Mutex;
use session_store::command::{Published, Reply};
use session_store::{ClientId, MessageRef};
use tokio::time::{sleep, timeout};

use crate::counters::NodeCounters;
use crate::fanout::{Accepted, Gathering, Matched, Placed};
use crate::inbox::{Dropped, Inbox};
use crate::shard::{Publisher, Staged};
use crate::worker::Node;

/// Between two looks whether there is a lease.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// The number of the only message.
const NUMBER: u64 = 1;

/// How long a lease is waited for: nothing has been sent by then.
const LEASE_WITHIN: Duration = Duration::from_secs(5);

/// Why a message is not acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotPublished {
    /// The node may not act on its view of the cluster; nobody has it.
    NoLease,
    /// A client would be told this; some may have it.
    Told(ReasonCode),
}

/// What a message was sent as.
struct Sent {
    staged: Staged,
    /// Answers that it waits for.
    waits: u32,
    dropped: Dropped,
    is_matched: bool,
}

/// Publishes a message. Gives whether anybody has subscribed to it, once a client of its own would have its acknowledgement;
/// waits for as long as that takes, but for a lease.
///
/// # Errors
/// There is no lease, or a client would be told that it is refused.
pub(crate) async fn publish(
    node: Arc<Node>,
    counters: Arc<Mutex<Arc<NodeCounters>>>,
    message: MessageRef,
) -> Result<bool, NotPublished> {
    let inbox = Inbox::new(node.next_connection(), node.inbox);
    let needs_lease = message.qos > QoS::AtMostOnce || message.retain;
    let sending = async {
        loop {
            match send(&node, &message, (&inbox, needs_lease)) {
                Some(sent) => break sent,
                None => sleep(LOOK_EVERY).await,
            }
        }
    };
    let sent = timeout(LEASE_WITHIN, sending).await.map_err(|_elapsed| NotPublished::NoLease)?;
    let Sent { mut staged, waits, dropped, is_matched } = sent;
    let (commands, hosts) = staged.take();
    for command in commands {
        node.shards.send(command, &inbox).await;
    }
    let late = node.shards.send_to_hosts(hosts, &inbox).await;
    {
        let counters = counters.lock();
        counters.count_dropped(dropped);
        counters.dropped_streams_full.add(late);
        counters.messages_without_subscriber.add(u64::from(!is_matched));
    }
    let answered = answers(&inbox, waits).await;
    inbox.close();
    if needs_lease {
        // What rests on a view that others may have left behind is not acknowledged.
        node.lease.until_allowed().await;
    }
    answered.map(|()| is_matched).map_err(NotPublished::Told)
}

/// Matches a message and leaves it with those who are here. `None` where it needs a lease for what was matched, and there is none.
fn send(node: &Node, message: &MessageRef, (inbox, needs_lease): (&Arc<Inbox>, bool)) -> Option<Sent> {
    let topic = message.body.topic();
    let topic_home = message.retain.then(|| node.shards.home_of_topic(topic));
    // Before the match, so that whoever subscribes behind it waits for what it misses by that.
    let flight = topic_home.and_then(|home| node.shards.begin_retained(home));
    let now = node.fanout.now();
    let matched = node.fanout.match_now(topic);
    // Behind the match: the clock is read last.
    if needs_lease && !node.lease.allows(now.as_of) {
        return None;
    }
    let mut sent = give(node, (message, topic_home), (&matched, inbox));
    if let (Some(home), Some(flight)) = (topic_home, flight) {
        sent.staged.depart(home, flight);
    }
    Some(sent)
}

fn give(
    node: &Node,
    (message, topic_home): (&MessageRef, Option<u16>),
    (matched, inbox): (&Matched, &Arc<Inbox>),
) -> Sent {
    let (mut gathered, mut staged, publisher) = (Gathering::default(), Staged::default(), ClientId::new(""));
    let from = Publisher { reply_to: Some(inbox.id()), ..Publisher::unasked(&publisher) };
    let accepted = Accepted {
        message: Arc::clone(message),
        publisher: &publisher,
        topic_home,
        number: if message.qos > QoS::AtMostOnce { NUMBER } else { 0 },
    };
    let mut waits =
        gathered.add((&node.fanout, matched), accepted, |to, item| staged.publish(to, from, item));
    let dropped = gathered.deliver(matched, inbox.id(), |placed| match placed {
        Placed::Here(number) => waits = waits.saturating_sub(u32::from(number == NUMBER)),
        Placed::Elsewhere(to, item) => staged.publish(to, from, item),
    });
    Sent { staged, waits, dropped, is_matched: !matched.is_empty() }
}

/// Waits for so many answers.
async fn answers(inbox: &Inbox, mut waits: u32) -> Result<(), ReasonCode> {
    let mut refused = Ok(());
    while waits > 0 {
        let taken = poll_fn(|context| inbox.poll_take(context)).await;
        if let Some(reason) = taken.end {
            return Err(reason);
        }
        for reply in taken.mail.replies {
            let Reply::Published(results) = reply else { continue };
            for (_, result) in results {
                waits = waits.saturating_sub(1);
                if result == Published::RetainedQuota {
                    refused = Err(ReasonCode::QuotaExceeded);
                }
            }
        }
    }
    refused
}
