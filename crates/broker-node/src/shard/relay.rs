//! What a shard itself sends: wills, QoS 2 publishes of persistent sessions, redispatched messages of
//! shared groups, and look-ups of retained messages. In its own task, so that the shard never waits for
//! another shard.

use std::sync::Arc;

use session_store::command::{Command, Publish, Scanned};
use session_store::matching::GroupRef;
use session_store::scan::Ask;
use session_store::shard::SCAN_PAGE;
use session_store::{ClientId, ConnectionId, MessageRef};
use tokio::sync::mpsc;

use super::{PageWanted, Shards};
use crate::counters::NodeCounters;
use crate::fanout::{Fanout, ShardPart};
use crate::inbox::Dropped;

/// Nobody's connection: what a shard publishes comes from none.
const NO_CONNECTION: ConnectionId = ConnectionId(0);

/// One thing to send.
#[derive(Debug)]
pub(super) enum RelayItem {
    /// A message of the shard's own.
    Publish { publisher: ClientId, message: MessageRef },
    /// A message of a group whose member is gone.
    Redispatch { group: GroupRef, message: MessageRef },
    /// A page for a scan.
    Scan(ClientId, Ask),
}

/// What a relay sends with.
pub(super) struct Relay {
    pub(super) number: u16,
    pub(super) shards: Shards,
    pub(super) fanout: Arc<Fanout>,
    pub(super) counters: Arc<NodeCounters>,
}

/// Sends what its shard hands it, in order, until the shard is gone.
pub(super) async fn run(relay: Relay, mut items: mpsc::Receiver<RelayItem>) {
    let Relay { number, shards, fanout, counters } = relay;
    while let Some(item) = items.recv().await {
        match item {
            RelayItem::Publish { publisher, message } => {
                let store = message.retain;
                let dropped = publish(&shards, &fanout, (publisher, message), store).await;
                counters.count_dropped(dropped);
            }
            RelayItem::Redispatch { group, message } => {
                let nobody = ClientId::new("");
                if let Some(parts) = fanout.redispatch(&group, &message, &nobody) {
                    counters.count_dropped(parts.dropped);
                    send_parts(&shards, parts.shards, &nobody, &message).await;
                }
            }
            RelayItem::Scan(client, ask) => {
                let Ask { scan, filter, shard, after } = ask;
                let wanted = PageWanted { filter, after, limit: SCAN_PAGE };
                let Some(page) = shards.page_inner(shard, wanted).await else { return };
                let scanned = Scanned { client, scan, messages: page.messages, after: page.after };
                shards.send_inner(number, Command::Scanned(scanned)).await;
            }
        }
    }
}

/// Publishes a message of a shard or of the node itself; with `store` it becomes its topic's retained one.
/// Returns what mailboxes had no room for.
pub(super) async fn publish(
    shards: &Shards,
    fanout: &Fanout,
    (publisher, message): (ClientId, MessageRef),
    store: bool,
) -> Dropped {
    let topic = message.body.topic();
    let (parts, mut dropped) = {
        let matched = fanout.match_now(topic);
        let dropped = matched.deliver(std::slice::from_ref(&message), NO_CONNECTION);
        let home = store.then(|| shards.home_of_topic(topic));
        (fanout.parts(&matched, &message, &publisher, home), dropped)
    };
    dropped.add(parts.dropped);
    send_parts(shards, parts.shards, &publisher, &message).await;
    dropped
}

async fn send_parts(shards: &Shards, parts: Vec<ShardPart>, publisher: &ClientId, message: &MessageRef) {
    for part in parts {
        let shard = part.shard;
        let items = vec![part.into_item(0, MessageRef::clone(message))];
        let publish = Publish { reply_to: None, publisher: publisher.clone(), items };
        shards.send_inner(shard, Command::Publish(publish)).await;
    }
}
