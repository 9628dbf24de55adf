//! Retained messages: a page of those that match a filter, and their removal. Called by the service of the node that is asked, which
//! asks the leader of one shard after the other, as a subscription to all of them would.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use mqtt_codec::{QoS, SharedPublish, Text};
use prost::Message as _;
use session_store::command::{Command, Publish, PublishItem};
use session_store::{ClientId, Message, MessageRef};
use tokio::time::timeout;
use tonic::Status;
use topic_index::{Cursor, Filter, PageBounds, PlainFilter};

use super::pages::{self, BYTES_MAX};
use super::proto::{ListRetainedReply, ListRetainedRequest, PurgeRetainedReply, RetainedMessage};
use super::sessions::started;
use super::subject::Subject;
use super::subscriptions::unled;
use crate::shard::{Page, PageWanted, Shards};

/// Messages and topics looked at that a shard is asked for at a time.
const TOPICS: usize = 64;
const STEPS: usize = 4_096;
/// Pages of shards that one page of the list is made of, at most: they may be empty.
const PARTS_MAX: usize = 128;
/// How long the leader of a shard may take for one of them, or for a removal.
const PART_WITHIN: Duration = Duration::from_secs(3);
/// Bytes of a payload that are shown.
const PAYLOAD_BYTES_MAX: usize = 64 << 10;
/// Messages that one call removes, about.
const PURGE_MAX: u64 = 10_000;

/// Where a list goes on: in which shard, and there behind what.
type At = (u16, Option<Cursor>);

fn token((shard, cursor): &At) -> String {
    let cursor = cursor.as_ref().map(Cursor::as_bytes).unwrap_or_default();
    URL_SAFE_NO_PAD.encode([&shard.to_be_bytes(), cursor].concat())
}

fn at(token: &str) -> Option<At> {
    let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
    match bytes.as_slice() {
        [] => Some((0, None)),
        [high, low, cursor @ ..] => {
            let cursor = (!cursor.is_empty()).then(|| Cursor::from_bytes(cursor));
            Some((u16::from_be_bytes([*high, *low]), cursor))
        }
        [_] => None,
    }
}

/// A filter that topics can match.
fn plain(filter: &str) -> Result<PlainFilter, Status> {
    match Filter::parse(filter, u16::MAX) {
        Ok(Filter::Plain(plain)) => Ok(plain),
        Ok(Filter::Shared { .. }) => {
            Err(Status::invalid_argument(format!("filter: {filter:?} is that of a shared subscription")))
        }
        Err(error) => Err(Status::invalid_argument(format!("filter: {filter:?}: {error}"))),
    }
}

/// A part of what a shard has; `None` where nobody who leads it answers in time.
async fn part(
    shards: &Shards,
    shard: u16,
    (filter, from, topics): (&PlainFilter, Option<Cursor>, usize),
) -> Result<Option<Page>, Status> {
    let bounds = PageBounds { topics, steps: STEPS };
    let wanted = PageWanted { filter: filter.clone(), from, bounds };
    match timeout(PART_WITHIN, shards.page(shard, wanted)).await {
        Ok(Some(page)) => Ok(Some(page)),
        Ok(None) => Err(Status::unavailable("the node stops")),
        Err(_elapsed) => Ok(None),
    }
}

fn row(message: &MessageRef, with_payload: bool) -> RetainedMessage {
    let payload = message.body.payload();
    let shown = payload.get(..PAYLOAD_BYTES_MAX).unwrap_or(payload);
    RetainedMessage {
        topic: String::from_utf8_lossy(message.body.topic()).into_owned(),
        qos: u32::from(u8::from(message.qos)),
        payload_bytes: payload.len() as u64,
        expires_at_ms: message.expires_at.map_or(0, |at| at.0),
        payload: with_payload.then(|| shown.to_vec()),
    }
}

/// A page of the retained messages whose topics match.
///
/// # Errors
/// What is asked for makes no sense, or the node stops.
pub(super) async fn list(
    subject: &Subject,
    request: ListRetainedRequest,
) -> Result<ListRetainedReply, Status> {
    let most = pages::size(request.page.as_ref())? as usize;
    let given = request.page.as_ref().map(|page| page.token.as_str()).unwrap_or_default();
    let (mut shard, mut from) = at(given).ok_or_else(pages::bad_token)?;
    let filter = plain(if request.filter.is_empty() { "#" } else { &request.filter })?;
    let shards = &started(subject)?.node.shards;
    let (mut retained, mut unheard, mut bytes) = (Vec::new(), Vec::new(), 0);
    for _ in 0..PARTS_MAX {
        if shard >= shards.count() {
            return Ok(ListRetainedReply { retained, next: String::new(), unheard });
        }
        if retained.len() >= most || bytes >= BYTES_MAX {
            break;
        }
        let topics = TOPICS.min(most - retained.len());
        let next = match part(shards, shard, (&filter, from, topics)).await? {
            Some(Page { messages, next }) => {
                for message in &messages {
                    let row = row(message, request.payload);
                    bytes += row.encoded_len();
                    retained.push(row);
                }
                next
            }
            None => {
                unheard.push(unled(shard.into()));
                None
            }
        };
        shard += u16::from(next.is_none());
        from = next;
    }
    let next = if shard < shards.count() { token(&(shard, from)) } else { String::new() };
    Ok(ListRetainedReply { retained, next, unheard })
}

/// Removes the retained messages whose topics match, so many at most: nobody is sent anything.
///
/// # Errors
/// The filter makes no sense, or a shard does not answer: what was removed so far stays so.
pub(super) async fn purge(subject: &Subject, filter: &str) -> Result<PurgeRetainedReply, Status> {
    if filter.is_empty() {
        return Err(Status::invalid_argument("filter: expected a topic filter; # is all of them"));
    }
    let filter = plain(filter)?;
    let shards = &started(subject)?.node.shards;
    let mut purged = 0;
    for shard in 0..shards.count() {
        let mut from = None;
        loop {
            let silent = || {
                let what =
                    format!("shard {shard} does not answer: {purged} messages were removed, try again");
                Status::unavailable(what)
            };
            let found = part(shards, shard, (&filter, from, TOPICS)).await?.ok_or_else(silent)?;
            let count = found.messages.len() as u64;
            if count > 0 {
                let removing = shards.send_applied(shard, removal(&found.messages));
                timeout(PART_WITHIN, removing).await.map_err(|_elapsed| silent())?;
            }
            purged += count;
            from = found.next;
            if from.is_none() {
                break;
            }
            if purged >= PURGE_MAX {
                return Ok(PurgeRetainedReply { purged, more: true });
            }
        }
    }
    Ok(PurgeRetainedReply { purged, more: false })
}

/// What removes these: a retained message without a payload, for the topic's home alone (`[MQTT-3.3.1-6]`).
fn removal(messages: &[MessageRef]) -> Command {
    let item = |(number, message): (u64, &MessageRef)| {
        let topic = Text::new(std::str::from_utf8(message.body.topic()).ok()?).ok()?;
        let body = SharedPublish::new(&topic, &Bytes::new(), &Bytes::new());
        let message = Message { body, qos: QoS::AtLeastOnce, retain: true, expires_at: None }.into();
        Some(PublishItem { number, message, sessions: false, store_retained: true, groups: Vec::new() })
    };
    let items = (1..).zip(messages).filter_map(item).collect();
    Command::Publish(Publish { reply_to: None, publisher: ClientId::new(""), epoch: None, items })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_where_to_go_on() {
        for place in [(0, None), (3, None), (513, Some(Cursor::at(b"a/b")))] {
            assert_eq!(at(&token(&place)), Some(place));
        }
        assert_eq!((at(""), at("?"), at("AA")), (Some((0, None)), None, None));
    }

    #[test]
    fn a_filter_is_one_that_topics_match() {
        assert!(plain("a/+/#").is_ok());
        for (wrong, word) in [("a#", "filter: \"a#\""), ("$share/g/a", "shared subscription")] {
            let status = plain(wrong).unwrap_err();
            assert!(
                status.code() == tonic::Code::InvalidArgument && status.message().contains(word),
                "{status}"
            );
        }
    }

    #[test]
    fn a_payload_is_shown_where_it_is_asked_for_and_not_without_end() {
        let payload = vec![7; PAYLOAD_BYTES_MAX + 1].into();
        let body = SharedPublish::new(&Text::new("t").unwrap(), &Bytes::new(), &payload);
        let message = Message { body, qos: QoS::ExactlyOnce, retain: true, expires_at: None }.into();
        let hidden = row(&message, false);
        assert_eq!((hidden.payload, hidden.payload_bytes, hidden.qos), (None, 65_537, 2));
        assert_eq!(row(&message, true).payload.unwrap().len(), PAYLOAD_BYTES_MAX);
    }
}
