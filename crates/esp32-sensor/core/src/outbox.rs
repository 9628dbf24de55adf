//! The measurements that no broker has acknowledged yet: those that wait, and those that are on their way.
//! Filled by the sampler, emptied by the uplink. It never sends, and never holds more than its bound: the oldest goes, and is counted.

use heapless::{Deque, Vec};

use crate::reading::Measurement;

/// Measurements that wait: of 256 readings, eight and a half minutes at one in two seconds.
pub const WAITING_MAX: usize = 512;
/// Measurements on their way at a time: as many as the client library keeps for a broker that does not answer.
const SENT_MAX: usize = 8;

/// What became of something that was sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    /// Nobody knows yet.
    Open,
    /// It was answered.
    Answered,
    /// The session in which it was sent is gone: it has to be sent again.
    Lost,
}

/// `Op` is what the client library calls a message by.
#[derive(Debug)]
pub(crate) struct Outbox<Op> {
    waiting: Deque<Measurement, WAITING_MAX>,
    sent: Vec<(Measurement, Op), SENT_MAX>,
    /// Answered so far.
    pub(crate) acknowledged: u32,
    /// Gone unsent so far, or sent with an answer that did not come.
    pub(crate) dropped: u32,
}

impl<Op> Outbox<Op> {
    pub(crate) const fn new() -> Self {
        Self { waiting: Deque::new(), sent: Vec::new(), acknowledged: 0, dropped: 0 }
    }

    /// Behind all others; where there is no room the oldest that waits goes.
    pub(crate) fn push(&mut self, measurement: Measurement) {
        if self.waiting.is_full() {
            let _oldest = self.waiting.pop_front();
            self.dropped = self.dropped.saturating_add(1);
        }
        let kept = self.waiting.push_back(measurement);
        debug_assert!(kept.is_ok(), "room was made");
    }

    /// The oldest that waits, if there is room on the way: the caller sends it and says so, or gives it back.
    pub(crate) fn take(&mut self) -> Option<Measurement> {
        if self.sent.is_full() { None } else { self.waiting.pop_front() }
    }

    /// It was not sent: it is the oldest again, or dropped where younger ones have taken its place.
    pub(crate) fn give_back(&mut self, measurement: Measurement) {
        if self.waiting.push_front(measurement).is_err() {
            self.dropped = self.dropped.saturating_add(1);
        }
    }

    /// It was sent as `op`.
    pub(crate) fn sent(&mut self, measurement: Measurement, op: Op) {
        let kept = self.sent.push((measurement, op));
        debug_assert!(kept.is_ok(), "only what `take` gave is sent");
    }

    /// Forgets what was answered, and has what was lost wait again, in its order. Whether anything changed.
    pub(crate) fn settle(&mut self, fate: impl Fn(&Op) -> Fate) -> bool {
        let before = self.sent.len();
        let mut lost: Vec<Measurement, SENT_MAX> = Vec::new();
        let mut acknowledged = 0;
        self.sent.retain(|(measurement, op)| match fate(op) {
            Fate::Open => true,
            Fate::Answered => {
                acknowledged += 1;
                false
            }
            Fate::Lost => {
                let kept = lost.push(*measurement);
                debug_assert!(kept.is_ok(), "no more than were sent");
                false
            }
        });
        self.acknowledged = self.acknowledged.saturating_add(acknowledged);
        for measurement in lost.into_iter().rev() {
            self.give_back(measurement);
        }
        self.sent.len() != before
    }

    /// Something waits to be sent.
    pub(crate) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Something is on its way.
    pub(crate) fn has_sent(&self) -> bool {
        !self.sent.is_empty()
    }

    /// Whether one that is on its way has this property.
    pub(crate) fn any_sent(&self, is: impl Fn(&Op) -> bool) -> bool {
        self.sent.iter().any(|(_, op)| is(op))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reading::Quantity;
    use std::vec::Vec as List;

    fn measurement(tenths: i16) -> Measurement {
        Measurement { quantity: Quantity::Temperature, tenths }
    }

    fn filled(count: i16) -> Outbox<i16> {
        let mut outbox = Outbox::new();
        (0..count).for_each(|tenths| outbox.push(measurement(tenths)));
        outbox
    }

    fn send_all(outbox: &mut Outbox<i16>) -> List<i16> {
        let mut sent = List::new();
        while let Some(measurement) = outbox.take() {
            outbox.sent(measurement, measurement.tenths);
            sent.push(measurement.tenths);
        }
        sent
    }

    #[test]
    fn they_leave_in_order_and_eight_at_a_time() {
        let mut outbox = filled(10);
        assert_eq!(send_all(&mut outbox), [0, 1, 2, 3, 4, 5, 6, 7]);
        assert!(outbox.settle(|op| if *op < 2 { Fate::Answered } else { Fate::Open }));
        assert_eq!(send_all(&mut outbox), [8, 9]);
        assert_eq!((outbox.acknowledged, outbox.dropped), (2, 0));
        assert!(!outbox.settle(|_| Fate::Open));
    }

    #[test]
    fn beyond_the_bound_the_oldest_goes_and_is_counted() {
        let extra = 3;
        let mut outbox = filled(i16::try_from(WAITING_MAX).unwrap() + extra);
        assert_eq!(outbox.dropped, 3);
        assert_eq!(outbox.take(), Some(measurement(3)));
    }

    #[test]
    fn what_was_lost_comes_first_again() {
        let mut outbox = filled(10);
        send_all(&mut outbox);
        outbox.settle(|op| if *op == 1 { Fate::Answered } else { Fate::Lost });
        assert_eq!(send_all(&mut outbox), [0, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!((outbox.acknowledged, outbox.dropped), (1, 0));
    }

    #[test]
    fn what_is_given_back_to_a_full_box_is_counted() {
        let mut outbox = filled(i16::try_from(WAITING_MAX).unwrap());
        let oldest = outbox.take().unwrap();
        outbox.push(measurement(1_000));
        outbox.give_back(oldest);
        assert_eq!(outbox.dropped, 1);
        assert_eq!(outbox.take(), Some(measurement(1)));
    }
}
