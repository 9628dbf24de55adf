//! What a shard itself sends: wills, QoS 2 publishes of persistent sessions, redispatched messages of
//! shared groups, and look-ups of retained messages. In its own task, so that the shard never waits for
//! another shard.

use std::collections::BTreeMap;
use std::sync::Arc;

use session_store::command::{Command, Input, Publish, PublishItem, Scanned};
use session_store::outbox::{OutboxItem, OutboxKind};
use session_store::scan::Ask;
use session_store::shard::SCAN_PAGE;
use session_store::{ClientId, Request, ShardId, Source};
use tokio::sync::mpsc;

use super::{Dispatch, PageWanted, ShardMail, Shards};
use crate::counters::NodeCounters;
use crate::fanout::Fanout;

/// One thing to send.
#[derive(Debug)]
pub(super) enum RelayItem {
    /// An item of the shard's outbox, and its position.
    Outbox(u64, OutboxItem),
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
    let mut batch = Vec::with_capacity(Dispatch::BATCH);
    let mut dispatch = Dispatch::new(&relay.fanout);
    while items.recv_many(&mut batch, Dispatch::BATCH).await > 0 {
        let mut sent = 0;
        for item in batch.drain(..) {
            match item {
                RelayItem::Outbox(position, item) => {
                    relay.dispatch(&mut dispatch, position, &item);
                    sent = position;
                }
                RelayItem::Scan(client, ask) => {
                    // A look-up sees what was published before it.
                    relay.send(&mut dispatch).await;
                    if !relay.scan(client, ask).await {
                        return;
                    }
                }
            }
        }
        relay.send(&mut dispatch).await;
        if sent > 0 {
            relay.tell(Input::Relayed(sent)).await;
        }
    }
}

impl Relay {
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

    /// Sends the shards what was dispatched, past what connections have for them.
    async fn send(&self, dispatch: &mut Dispatch) {
        let dispatched = dispatch.finish();
        for (shard, request) in requests(ShardId(self.number), dispatched.commands) {
            self.shards.send_inner(shard, ShardMail::Input(Input::Request(request))).await;
        }
        self.counters.count_dropped(dispatched.dropped);
    }

    /// Fetches a page for a scan; `false` when the node stops.
    async fn scan(&self, client: ClientId, ask: Ask) -> bool {
        let Ask { scan, filter, shard, after } = ask;
        let wanted = PageWanted { filter, after, limit: SCAN_PAGE };
        let Some(page) = self.shards.page_inner(shard, wanted).await else { return false };
        let scanned = Scanned { client, scan, messages: page.messages, after: page.after };
        self.tell(Input::Scanned(scanned)).await;
        true
    }

    /// Tells its own shard.
    async fn tell(&self, input: Input) {
        self.shards.send_inner(self.number, ShardMail::Input(input)).await;
    }
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
