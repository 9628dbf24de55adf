//! What an outbox sends to the shards, as numbered requests: items of one position joined, in the order of positions, cut
//! where they are too large. Called by the outbox's relay; sends nothing itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use raft_consensus::proposer::ENTRY_BYTES_MAX;
use session_store::command::{Command, Publish, PublishItem};
use session_store::{ClientId, Request, ShardId, Source};

use super::weight;

/// Bytes of requests that are brought to another node at a time, but for one that is larger by itself.
const WORD_BYTES_MAX: usize = 1 << 20;

/// What an outbox sends to each shard, in the order of its positions, with all parts of one of them together. All that a shard gets of one position is
/// in one item, unless that is for very many groups. A request is no larger than an entry should be, but for one item
/// that is larger by itself: the log has a bound for what it takes at once.
pub(super) fn requests(outbox: ShardId, commands: Vec<(u16, Command)>) -> Vec<(u16, Vec<Request>)> {
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
        requests.extend(with_all_parts(making.made).into_iter().map(|together| (shard, together)));
    }
    requests
}

/// Requests of which all parts of one item are together.
fn with_all_parts(made: Vec<Request>) -> Vec<Vec<Request>> {
    let mut all: Vec<Vec<Request>> = Vec::new();
    let mut more = false;
    for request in made {
        let goes_on = std::mem::replace(&mut more, has_more(&request));
        match all.last_mut().filter(|_| goes_on) {
            Some(together) => together.push(request),
            None => all.push(vec![request]),
        }
    }
    all
}

/// Whether more parts of the request's last item follow.
fn has_more(request: &Request) -> bool {
    match &request.command {
        Command::Publish(publish) => publish.items.last().is_some_and(|item| item.number > request.number),
        _ => false,
    }
}

/// Requests as they are brought to another node: in their order, and no more at a time than fits into a message.
pub(super) fn in_words(requests: Vec<Arc<Request>>) -> Vec<Vec<Arc<Request>>> {
    let mut words: Vec<Vec<Arc<Request>>> = Vec::new();
    let mut bytes = 0;
    for request in requests {
        let size = weight::command(&request.command).bytes;
        bytes += size;
        match words.last_mut().filter(|_| bytes <= WORD_BYTES_MAX) {
            Some(word) => word.push(request),
            None => {
                bytes = size;
                words.push(vec![request]);
            }
        }
    }
    words
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
        let command = Command::Publish(Publish { reply_to: None, publisher, epoch: None, items });
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
        Command::Publish(Publish { reply_to: None, publisher: ClientId::new(publisher), epoch: None, items })
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
        let requests: Vec<(u16, Request)> = requests(ShardId(9), commands)
            .into_iter()
            .flat_map(|(shard, together)| together.into_iter().map(move |request| (shard, request)))
            .collect();
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
        let made = requests(ShardId(9), commands);
        assert_eq!(made.len(), 1, "they go together");
        let made: Vec<_> = made.into_iter().flat_map(|(_, together)| together).map(told).collect();
        let expected = [
            (1, 0, vec![(1, true, 0), (2, true, 5)]),
            // Each begins with the last group of the one before it.
            (1, 2, vec![(2, false, 6)]),
            (3, 2, vec![(2, false, 3), (3, true, 0)]),
        ];
        assert_eq!(made, expected);
    }
    #[test]
    fn what_is_brought_to_another_node_at_a_time_is_bounded_by_its_bytes() {
        let of = |bytes: usize| {
            let command = publish_sized("a", &[1], bytes);
            Arc::new(Request { source: Source::Outbox(ShardId(9)), number: 1, done_below: 0, command })
        };
        let sizes =
            [1, WORD_BYTES_MAX - 1_000, 2 * WORD_BYTES_MAX, 1, WORD_BYTES_MAX / 2, WORD_BYTES_MAX / 2];
        let words = in_words(sizes.into_iter().map(of).collect());
        assert_eq!(words.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1, 2, 1]);
        assert!(in_words(Vec::new()).is_empty());
    }
}
