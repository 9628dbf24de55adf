//! The acknowledgements that a connection owes for publishes of its client: they leave in the order in
//! which the publishes arrived, each when everything that must have the message has it
//! (`[MQTT-4.6.0-2]`, `[MQTT-4.6.0-3]`).

use std::collections::VecDeque;
use std::time::Instant;

use mqtt_codec::{PacketId, ReasonCode};

/// What is owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owed {
    /// PUBACK.
    Puback,
    /// PUBREC.
    Pubrec,
}

#[derive(Debug)]
struct Entry {
    owed: Owed,
    packet_id: PacketId,
    reason: ReasonCode,
    since: Option<Instant>,
    /// Answers that have not come.
    waits: u32,
}

/// An acknowledgement that may leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DueAck {
    /// Which.
    pub(crate) owed: Owed,
    /// For which publish.
    pub(crate) packet_id: PacketId,
    /// With which reason.
    pub(crate) reason: ReasonCode,
    /// When the publish came, where that is measured.
    pub(crate) since: Option<Instant>,
}

/// Acknowledgements owed, in order of arrival. Their numbers begin at 1: 0 is that of publishes which are
/// owed none.
#[derive(Debug)]
pub(crate) struct AckQueue {
    entries: VecDeque<Entry>,
    /// Number of the first entry.
    first: u64,
    /// Entries that are PUBACKs.
    pubacks: usize,
}

impl Default for AckQueue {
    fn default() -> Self {
        Self { entries: VecDeque::new(), first: 1, pubacks: 0 }
    }
}

impl AckQueue {
    /// How many are owed.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// How many of them are PUBACKs. A PUBREC's publish is counted by its packet id, which stays open longer.
    pub(crate) fn pubacks(&self) -> usize {
        self.pubacks
    }

    /// Whether none is owed, so that one more that waits for nothing may leave at once.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The number that the next entry gets.
    pub(crate) fn next_number(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    /// Adds an acknowledgement that waits for `waits` answers.
    pub(crate) fn push(&mut self, due: DueAck, waits: u32) {
        let DueAck { owed, packet_id, reason, since } = due;
        self.pubacks += usize::from(owed == Owed::Puback);
        self.entries.push_back(Entry { owed, packet_id, reason, since, waits });
    }

    /// An entry that was added waits for so many answers more.
    pub(crate) fn waits_for(&mut self, number: u64, answers: u32) {
        let index = number.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
        if let Some(entry) = index.and_then(|index| self.entries.get_mut(index)) {
            entry.waits = entry.waits.saturating_add(answers);
        }
    }

    /// Entry `number` and all behind it are never acknowledged.
    pub(crate) fn give_up_from(&mut self, number: u64) {
        let kept = usize::try_from(number.saturating_sub(self.first)).unwrap_or(usize::MAX);
        self.entries.truncate(kept);
        self.pubacks = self.entries.iter().filter(|entry| entry.owed == Owed::Puback).count();
    }

    /// An answer came for entry `number`; a refusal in it is kept.
    pub(crate) fn answered(&mut self, number: u64, refusal: Option<ReasonCode>) {
        let index = number.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
        if let Some(entry) = index.and_then(|index| self.entries.get_mut(index)) {
            entry.waits = entry.waits.saturating_sub(1);
            entry.reason = refusal.unwrap_or(entry.reason);
        }
    }

    /// An answer came for the oldest PUBREC with this id that still waits.
    pub(crate) fn received(&mut self, packet_id: PacketId) {
        let waiting = |entry: &&mut Entry| {
            entry.waits > 0 && entry.owed == Owed::Pubrec && entry.packet_id == packet_id
        };
        if let Some(entry) = self.entries.iter_mut().find(waiting) {
            entry.waits -= 1;
        }
    }

    /// Whether everything that the next acknowledgement waits for has come.
    pub(crate) fn is_due(&self) -> bool {
        self.entries.front().is_some_and(|entry| entry.waits == 0)
    }

    /// The next acknowledgement that may leave.
    pub(crate) fn pop_due(&mut self) -> Option<DueAck> {
        if !self.is_due() {
            return None;
        }
        let Entry { owed, packet_id, reason, since, .. } = self.entries.pop_front()?;
        self.first += 1;
        self.pubacks -= usize::from(owed == Owed::Puback);
        Some(DueAck { owed, packet_id, reason, since })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(id: u16, owed: Owed) -> DueAck {
        DueAck { owed, packet_id: PacketId::new(id).unwrap(), reason: ReasonCode::Success, since: None }
    }

    #[test]
    fn acknowledgements_leave_in_order_of_arrival() {
        let mut acks = AckQueue::default();
        let slow = acks.next_number();
        assert_ne!(slow, 0);
        acks.answered(0, Some(ReasonCode::QuotaExceeded));
        acks.push(due(1, Owed::Puback), 2);
        acks.push(due(2, Owed::Pubrec), 0);
        assert_eq!(acks.pop_due(), None);
        acks.answered(slow, None);
        acks.answered(slow, Some(ReasonCode::QuotaExceeded));
        let first = acks.pop_due();
        assert_eq!(first.map(|d| d.reason), Some(ReasonCode::QuotaExceeded));
        assert_eq!(acks.pop_due(), Some(due(2, Owed::Pubrec)));
        acks.push(due(3, Owed::Pubrec), 1);
        acks.answered(slow, None);
        assert_eq!(acks.pop_due(), None, "an answer to an entry that is gone changes nothing");
        acks.received(PacketId::new(3).unwrap());
        assert_eq!(acks.pop_due(), Some(due(3, Owed::Pubrec)));
        assert_eq!((acks.next_number(), acks.pubacks()), (4, 0));
    }

    #[test]
    fn what_waits_for_more_than_was_known_leaves_later_and_what_is_given_up_never() {
        let mut acks = AckQueue::default();
        (1..=4).for_each(|id| acks.push(due(id, Owed::Puback), 1));
        acks.waits_for(1, 2);
        (0..2).for_each(|_| acks.answered(1, None));
        assert_eq!(acks.pop_due(), None);
        acks.answered(1, None);
        assert_eq!(acks.pop_due(), Some(due(1, Owed::Puback)));
        acks.give_up_from(3);
        assert_eq!((acks.len(), acks.pubacks()), (1, 1));
        acks.answered(2, None);
        assert_eq!((acks.pop_due(), acks.is_empty()), (Some(due(2, Owed::Puback)), true));
    }
}
