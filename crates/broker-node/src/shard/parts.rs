//! Cuts what nodes say to each other into parts that fit into a message between nodes. Called before something is said;
//! it changes no order, and no part is larger than a bound but for one thing that is larger by itself.

use session_store::command::Push;
use session_store::word::Page;
use session_store::{Effect, MessageRef};
use topic_index::Cursor;

/// Bytes of a part at most, about.
const BYTES_MAX: usize = 1 << 20;
/// What something takes besides its messages, about.
const SMALL_BYTES: usize = 128;

/// Things that are put together as long as they fit.
struct Parts<T> {
    done: Vec<Vec<T>>,
    open: Vec<T>,
    bytes: usize,
}

impl<T> Parts<T> {
    fn new() -> Self {
        Self { done: Vec::new(), open: Vec::new(), bytes: 0 }
    }

    fn add(&mut self, one: T, bytes: usize) {
        if !self.open.is_empty() && self.bytes + bytes > BYTES_MAX {
            self.done.push(std::mem::take(&mut self.open));
            self.bytes = 0;
        }
        self.open.push(one);
        self.bytes += bytes;
    }

    /// One part at least, be it empty.
    fn end(mut self) -> Vec<Vec<T>> {
        if !self.open.is_empty() || self.done.is_empty() {
            self.done.push(self.open);
        }
        self.done
    }
}

/// Effects, in parts. What is pushed to one connection may lie in several.
pub(super) fn of_effects(effects: Vec<Effect>) -> Vec<Vec<Effect>> {
    let mut parts = Parts::new();
    for effect in effects {
        let Effect::Push(connection, pushes) = effect else {
            parts.add(effect, SMALL_BYTES);
            continue;
        };
        let mut runs = Parts::new();
        for push in pushes {
            let bytes = push_bytes(&push);
            runs.add(push, bytes);
        }
        for run in runs.end() {
            let bytes = run.iter().map(push_bytes).sum();
            parts.add(Effect::Push(connection, run), bytes);
        }
    }
    parts.end()
}

fn push_bytes(push: &Push) -> usize {
    SMALL_BYTES
        + match push {
            Push::Publish { item, .. } => item.message.size(),
            _ => 0,
        }
}

/// As much of a page as is one part: whoever asked goes on behind it.
pub(super) fn first_of(mut page: Page) -> Page {
    let mut bytes = 0;
    let mut fits = |message: &MessageRef| {
        let first = bytes == 0;
        bytes += message.size() + SMALL_BYTES;
        first || bytes <= BYTES_MAX
    };
    if let Some(end) = page.messages.iter().position(|message| !fits(message)) {
        let rest = page.messages.split_off(end);
        page.next = rest.first().map(|message| Cursor::at(message.body.topic()));
    }
    page
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use mqtt_codec::{PacketId, QoS, SharedPublish, Text};
    use session_store::{ConnectionId, Host, Message, Outgoing};

    use super::*;

    fn message(topic: &'static str, bytes: usize) -> MessageRef {
        let body = SharedPublish::new(&Text::from_static(topic), &Bytes::new(), &Bytes::from(vec![7; bytes]));
        Arc::new(Message { body, qos: QoS::AtLeastOnce, retain: false, expires_at: None })
    }

    fn push(position: u64, bytes: usize) -> Push {
        let (subscription_ids, group) = (None, None);
        let (message, qos, retain) = (message("t", bytes), QoS::AtLeastOnce, false);
        let item = Outgoing { message, qos, retain, subscription_ids, group };
        Push::Publish { packet_id: Some(PacketId::MIN), position, dup: false, item }
    }

    fn positions(parts: &[Vec<Effect>]) -> Vec<Vec<u64>> {
        let of = |effect: &Effect| match effect {
            Effect::Push(_, pushes) => pushes.iter().map(position).collect(),
            _ => vec![0],
        };
        let position_of_part = |part: &Vec<Effect>| part.iter().flat_map(of).collect();
        parts.iter().map(position_of_part).collect()
    }

    fn position(push: &Push) -> u64 {
        match push {
            Push::Publish { position, .. } => *position,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn effects_keep_their_order_and_what_is_large_has_a_part_of_its_own() {
        let to = ConnectionId { host: Host::default(), number: 1 };
        let small = || (1..4).map(|at| push(at, 10)).collect::<Vec<_>>();
        assert_eq!(positions(&of_effects(vec![Effect::Push(to, small())])), [[1, 2, 3]]);
        let large = vec![push(1, 10), push(2, BYTES_MAX), push(3, BYTES_MAX / 2), push(4, 10)];
        let effects = vec![Effect::Outbox(1), Effect::Push(to, large), Effect::Outbox(2)];
        assert_eq!(positions(&of_effects(effects)), [vec![0, 1], vec![2], vec![3, 4, 0]]);
        assert_eq!(of_effects(Vec::new()).len(), 1, "to say nothing is to say something");
    }

    #[test]
    fn a_page_that_is_cut_goes_on_where_it_was_cut() {
        let page = |sizes: &[usize]| {
            let topics = ["a", "b", "c"];
            let messages = topics.into_iter().zip(sizes).map(|(topic, bytes)| message(topic, *bytes));
            first_of(Page { messages: messages.collect(), next: None })
        };
        let whole = page(&[10, 10, 10]);
        assert_eq!((whole.messages.len(), whole.next), (3, None));
        let cut = page(&[10, BYTES_MAX, 10]);
        assert_eq!((cut.messages.len(), cut.next), (1, Some(Cursor::at(b"b"))));
        let large = page(&[2 * BYTES_MAX, 10]);
        assert_eq!((large.messages.len(), large.next), (1, Some(Cursor::at(b"b"))));
    }
}
