//! The sending half of a session: its queue of QoS 1 and 2 messages and what is in flight.
//! Owned by a session (persistent: in its shard; transient: with its connection). Never touches a
//! socket, never reads a clock.
//!
//! Each message has a queue position that grows by one; its packet id is `position % 65,535 + 1`, so it
//! is the same after any resend and is free again only once the exchange at that position is complete
//! (`[MQTT-2.2.1-4]`).

mod again;
mod body;
mod check;
mod lost;
mod paged;
mod stored;

use std::collections::VecDeque;

use mqtt_codec::{PacketId, QoS};

use crate::counters::QueueCounters;
use crate::ids::Millis;
use crate::limits::{QueueLimits, QueuePolicy};
use crate::matching::{GroupRef, SubscriptionIds};
use crate::message::MessageRef;
pub use crate::outgoing::{Acked, Enqueued, NextPacket, Outgoing};
use crate::outgoing::{PACKET_IDS, packet_id, packet_ids};
use crate::tracked::Local;

pub(crate) use self::body::Body;
pub use self::lost::Lost;
pub(crate) use self::stored::{Content, Shape};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Waits for room in the client's window.
    Queued,
    /// Sent; waits for PUBACK or PUBREC.
    Sent,
    /// PUBREC came; PUBREL is out and waits for PUBCOMP.
    Released,
    /// Complete, expired or dropped: only holds its place in the order of positions.
    Done,
}

struct Item {
    state: State,
    qos: QoS,
    retain: bool,
    body: Body,
    /// Where the message is in the store alone, these are too.
    subscription_ids: SubscriptionIds,
    group: Option<GroupRef>,
    /// Its number among all that were ever queued. Unlike its position it never changes, so that it is what
    /// stores know it by.
    serial: u64,
}

/// The queue of one session.
///
/// `first <= cursor <= first + items.len()`: what lies before `cursor` was sent, the rest waits.
#[derive(Debug, Default)]
pub struct Outbound {
    items: VecDeque<Item>,
    first: u64,
    cursor: u64,
    /// Exchanges that use up the client's Receive Maximum.
    in_flight: u32,
    /// Items that are not done.
    live: usize,
    /// Bytes of the messages that may still be sent, wherever they are.
    bytes: usize,
    /// Positions below this were sent on an earlier connection: resends of them carry DUP.
    resend_below: u64,
    /// No position from here on was ever sent.
    sent_end: u64,
    /// The serial number of the next item.
    next_serial: u64,
    /// Items whose message is in the store alone.
    stored: Local<usize>,
    /// What it has dropped.
    lost: Local<Lost>,
    /// Keeps a sent message's body for a resend; not needed where the session dies with its connection.
    keep_sent: bool,
}

impl Outbound {
    /// An empty queue; `keep_sent` for a session that outlives its connection.
    #[must_use]
    pub fn new(keep_sent: bool) -> Self {
        Self { keep_sent, ..Self::default() }
    }

    /// Messages that wait or are in flight.
    #[must_use]
    pub fn len(&self) -> usize {
        self.live
    }

    /// Whether nothing waits and nothing is in flight.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// Those of them whose message is in the store alone.
    #[must_use]
    pub fn stored(&self) -> usize {
        self.stored.0
    }

    /// Bytes of the messages that wait or are in flight, wherever they are.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Exchanges under way.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// Whether anything waits to be sent.
    #[must_use]
    pub fn has_unsent(&self) -> bool {
        self.cursor < self.end()
    }

    fn end(&self) -> u64 {
        self.first + self.items.len() as u64
    }

    fn item_mut(&mut self, position: u64) -> Option<&mut Item> {
        let index = usize::try_from(position.checked_sub(self.first)?).ok()?;
        self.items.get_mut(index)
    }

    /// Adds a message at the end, within the limits.
    pub fn enqueue(
        &mut self,
        outgoing: Outgoing,
        limits: &QueueLimits,
        counters: &mut QueueCounters,
    ) -> Enqueued {
        let size = outgoing.message.size();
        let mut result = Enqueued::Queued;
        while self.live >= limits.messages_max || self.bytes + size > limits.bytes_max {
            match limits.policy {
                QueuePolicy::DropOldest if self.drop_oldest_unsent() => {
                    self.count_full(counters);
                    result = Enqueued::Dropped;
                }
                QueuePolicy::Disconnect => {
                    self.count_full(counters);
                    return Enqueued::Disconnect;
                }
                QueuePolicy::DropNewest | QueuePolicy::DropOldest => {
                    self.count_full(counters);
                    return Enqueued::Dropped;
                }
            }
        }
        counters.queued += 1;
        self.enqueue_unbounded(outgoing);
        result
    }

    /// Adds a message at the end whatever the limits say: for pages that were asked for because there was
    /// room.
    pub fn enqueue_unbounded(&mut self, outgoing: Outgoing) {
        self.live += 1;
        self.bytes += outgoing.message.size();
        let Outgoing { message, qos, retain, subscription_ids, group } = outgoing;
        let (body, serial) = (Body::Here(message), self.next_serial);
        self.next_serial += 1;
        let state = State::Queued;
        self.items.push_back(Item { state, qos, retain, body, subscription_ids, group, serial });
    }

    /// Removes the oldest message that was never sent. It has no packet id yet, so those behind it move up;
    /// all that was sent lies before it.
    fn drop_oldest_unsent(&mut self) -> bool {
        let index = self.items.partition_point(|item| item.state != State::Queued);
        let Some(item) = self.items.remove(index) else { return false };
        self.live -= 1;
        self.forget(&item.body);
        true
    }

    /// Marks the item at `position` done, frees its message and drops the done front of the queue.
    fn finish(&mut self, position: u64) {
        let Some(item) = self.item_mut(position) else { return };
        let done = Item::done(item.serial);
        let Item { state: was, body, .. } = std::mem::replace(item, done);
        self.forget(&body);
        if was != State::Done {
            self.live -= 1;
        }
        if position < self.cursor && matches!(was, State::Sent | State::Released) {
            self.in_flight -= 1;
        }
        while self.items.front().is_some_and(|item| item.state == State::Done) {
            self.items.pop_front();
            self.first += 1;
        }
        self.cursor = self.cursor.max(self.first);
        if self.items.is_empty() && self.items.capacity() > 1_024 {
            self.items = VecDeque::new();
        }
    }

    /// The next packet to send while fewer than `window` exchanges are under way
    /// (`[MQTT-3.3.4-9]`, `[MQTT-4.9.0-2]`); expired messages are dropped on the way
    /// (`[MQTT-3.3.2-5]`), unless they were sent before (`[MQTT-4.3.3-7]`).
    pub fn next_to_send(
        &mut self,
        window: u16,
        now: Millis,
        counters: &mut QueueCounters,
    ) -> Option<NextPacket> {
        while self.cursor < self.end() {
            let position = self.cursor;
            if position - self.first >= PACKET_IDS {
                return None;
            }
            let dup = position < self.resend_below;
            let in_flight = self.in_flight;
            let keep = self.keep_sent;
            let item = self.item_mut(position)?;
            match item.state {
                State::Done => self.advance(),
                State::Released => {
                    self.advance();
                    self.in_flight += 1;
                    return Some(NextPacket::Release(packet_id(position)));
                }
                State::Queued | State::Sent if in_flight >= u32::from(window) => return None,
                State::Queued if item.body.expired(now) => {
                    self.count_expired(counters);
                    self.advance();
                    self.finish(position);
                }
                State::Queued | State::Sent => {
                    item.state = State::Sent;
                    let (serial, outgoing) = (item.serial, item.outgoing(keep));
                    self.advance();
                    self.in_flight += 1;
                    counters.sent += 1;
                    let packet_id = packet_id(position);
                    let Some((item, freed)) = outgoing else {
                        return Some(NextPacket::Stored { packet_id, position, dup, serial });
                    };
                    self.bytes -= freed;
                    return Some(NextPacket::Publish { packet_id, position, dup, item });
                }
            }
        }
        None
    }

    fn advance(&mut self) {
        self.cursor += 1;
        self.sent_end = self.sent_end.max(self.cursor);
    }

    fn sent_end(&self) -> u64 {
        self.sent_end.min(self.end())
    }

    fn position_of(&self, packet_id: PacketId) -> u64 {
        let wanted = u64::from(packet_id.get()) - 1;
        let ids = packet_ids();
        self.first + (wanted + ids - self.first % ids) % ids
    }

    fn sent_state(&self, packet_id: PacketId) -> Option<(u64, State, QoS)> {
        let position = self.position_of(packet_id);
        if position >= self.cursor {
            return None;
        }
        let index = usize::try_from(position.checked_sub(self.first)?).ok()?;
        let item = self.items.get(index)?;
        matches!(item.state, State::Sent | State::Released).then_some((position, item.state, item.qos))
    }

    /// Whether an exchange with this packet id is under way on the present connection.
    #[must_use]
    pub(crate) fn is_under_way(&self, packet_id: PacketId) -> bool {
        self.sent_state(packet_id).is_some()
    }

    /// PUBACK (`[MQTT-4.3.2-3]`); any reason code completes the exchange (`[MQTT-4.4.0-2]`).
    pub fn puback(&mut self, packet_id: PacketId) -> Acked {
        match self.sent_state(packet_id) {
            None => Acked::Unknown,
            Some((position, State::Sent, QoS::AtLeastOnce)) => {
                self.finish(position);
                Acked::Complete
            }
            Some(_) => Acked::WrongType,
        }
    }

    /// PUBREC; `refused` when its reason code is 0x80 or above, which ends the exchange.
    pub fn pubrec(&mut self, packet_id: PacketId, refused: bool) -> Acked {
        match self.sent_state(packet_id) {
            None => Acked::Unknown,
            Some((position, _, QoS::ExactlyOnce)) if refused => {
                self.finish(position);
                Acked::Complete
            }
            Some((_, State::Released, QoS::ExactlyOnce)) => Acked::Release,
            Some((position, State::Sent, QoS::ExactlyOnce)) => {
                self.release(position);
                Acked::Release
            }
            Some(_) => Acked::WrongType,
        }
    }

    fn release(&mut self, position: u64) {
        let Some(item) = self.item_mut(position) else { return };
        let released = Item::released(item.serial);
        let body = std::mem::replace(item, released).body;
        self.forget(&body);
    }

    /// PUBCOMP (`[MQTT-4.3.3-5]`).
    pub fn pubcomp(&mut self, packet_id: PacketId) -> Acked {
        match self.sent_state(packet_id) {
            None => Acked::Unknown,
            Some((position, State::Released, _)) => {
                self.finish(position);
                Acked::Complete
            }
            Some(_) => Acked::WrongType,
        }
    }

    /// The session goes on on a new connection: everything unacknowledged is sent again from the
    /// oldest, in order and with its packet id (`[MQTT-4.4.0-1]`).
    pub fn resume(&mut self) {
        self.resend_below = self.resend_below.max(self.cursor);
        self.cursor = self.first;
        self.in_flight = 0;
    }

    /// These were taken for sending and never were: they wait again, so that they may expire and are not
    /// marked as repeats. What was taken after the first of them was not sent either.
    pub fn not_sent(&mut self, packet_ids: &[PacketId]) {
        for packet_id in packet_ids {
            let position = self.position_of(*packet_id);
            if position >= self.cursor {
                continue;
            }
            let Some(item) = self.item_mut(position).filter(|item| item.state == State::Sent) else {
                continue;
            };
            item.state = State::Queued;
            self.in_flight -= 1;
        }
        let first = self.items.iter().position(|item| item.state == State::Queued);
        let sent = first.unwrap_or(self.items.len()) as u64;
        let taken_back = self.cursor.saturating_sub(self.first + sent);
        if taken_back > 0 {
            let [skip, take] = [sent, taken_back].map(|n| usize::try_from(n).unwrap_or(usize::MAX));
            // What lies behind the cursor was sent on an earlier connection and is not under way on this one.
            let behind = self.items.iter().skip(skip).take(take);
            let open = behind.filter(|item| matches!(item.state, State::Sent | State::Released)).count();
            self.in_flight -= u32::try_from(open).unwrap_or(u32::MAX);
            self.cursor = self.first + sent;
        }
    }

    /// Ends the queue: QoS 1 messages of shared groups that nobody acknowledged are handed back, to be
    /// picked again; all else is given up. Returns them and how many QoS 2 exchanges were in doubt.
    pub fn into_unacknowledged(self) -> (Vec<(GroupRef, MessageRef)>, u64) {
        let mut back = Vec::new();
        let mut in_doubt = 0;
        for item in self.items {
            match (item.state, item.qos, item.group, item.body) {
                (State::Queued, _, Some(group), Body::Here(message))
                | (State::Sent, QoS::AtLeastOnce, Some(group), Body::Here(message)) => {
                    back.push((group, message))
                }
                (State::Sent | State::Released, QoS::ExactlyOnce, ..) => in_doubt += 1,
                _ => {}
            }
        }
        (back, in_doubt)
    }
}

#[cfg(test)]
#[path = "outbound_tests.rs"]
mod tests;
