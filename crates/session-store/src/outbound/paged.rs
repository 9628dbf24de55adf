//! Messages that leave memory while their session's client is away. Called by checkpoints; what it does is seen by no
//! decision.

use std::collections::VecDeque;
use std::ops::Range;

use super::{Outbound, Outgoing};

impl Outbound {
    /// Leaves to the store the messages of the items with these serial numbers, all of which lie in its pages. What
    /// is handed back when the session ends stays: messages of shared groups.
    pub(crate) fn leave(&mut self, serials: Range<u64>) {
        let from = self.items.partition_point(|item| item.serial < serials.start);
        for item in self.items.range_mut(from..).take_while(|item| item.serial < serials.end) {
            if item.group.is_none() && item.body.here().is_some() {
                item.body.leave();
                item.subscription_ids = None;
                self.stored.0 += 1;
            }
        }
    }

    /// Whether any of its items has one of these serial numbers.
    pub(crate) fn has_any(&self, serials: Range<u64>) -> bool {
        let from = self.items.partition_point(|item| item.serial < serials.start);
        self.items.get(from).is_some_and(|item| item.serial < serials.end)
    }

    /// Whether the message of the item with this serial number is in the store alone.
    pub(crate) fn is_stored(&self, serial: u64) -> bool {
        let index = self.items.partition_point(|item| item.serial < serial);
        self.items.get(index).is_some_and(|item| item.serial == serial && item.body.is_stored())
    }

    /// The item with this serial number and those behind it, as they are to be sent: as long as they are in memory, and
    /// come to about this many bytes. None where the item is done or not in memory.
    pub(crate) fn in_memory_from(&self, serial: u64, bytes_max: usize) -> VecDeque<(u64, Outgoing)> {
        let index = self.items.partition_point(|item| item.serial < serial);
        let mut bytes = 0;
        let items = self.items.range(index..).map_while(|item| Some((item.serial, item.again()?)));
        let near = items.take_while(|(_, outgoing)| {
            let fits = bytes < bytes_max;
            bytes += outgoing.message.size();
            fits
        });
        let near: VecDeque<_> = near.collect();
        if near.front().is_some_and(|(first, _)| *first == serial) { near } else { VecDeque::new() }
    }
}
