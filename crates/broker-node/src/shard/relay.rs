//! What a shard itself sends: wills, QoS 2 publishes of persistent sessions, redispatched messages of
//! shared groups, and look-ups of retained messages. In its own task, so that the shard never waits for
//! another shard.

use std::sync::Arc;

use session_store::command::{Command, Scanned};
use session_store::matching::GroupRef;
use session_store::scan::Ask;
use session_store::shard::SCAN_PAGE;
use session_store::{ClientId, MessageRef};
use tokio::sync::mpsc;

use super::{Dispatch, PageWanted, Shards};
use crate::counters::NodeCounters;
use crate::fanout::Fanout;

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
    let mut batch = Vec::with_capacity(Dispatch::BATCH);
    let mut dispatch = Dispatch::new(&fanout);
    while items.recv_many(&mut batch, Dispatch::BATCH).await > 0 {
        for item in batch.drain(..) {
            match item {
                RelayItem::Publish { publisher, message } => {
                    let topic_home = message.retain.then(|| shards.home_of_topic(message.body.topic()));
                    dispatch.publish(&publisher, &message, topic_home);
                }
                RelayItem::Redispatch { group, message } => dispatch.redispatch(&group, &message),
                RelayItem::Scan(client, ask) => {
                    // A look-up sees what was published before it.
                    counters.count_dropped(shards.send_dispatched(dispatch.finish()).await);
                    let Ask { scan, filter, shard, after } = ask;
                    let wanted = PageWanted { filter, after, limit: SCAN_PAGE };
                    let Some(page) = shards.page_inner(shard, wanted).await else { return };
                    let scanned = Scanned { client, scan, messages: page.messages, after: page.after };
                    shards.send_inner(number, Command::Scanned(scanned)).await;
                }
            }
        }
        counters.count_dropped(shards.send_dispatched(dispatch.finish()).await);
    }
}
