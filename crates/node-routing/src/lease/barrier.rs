//! The barrier in front of SUBACK: which of an owner's route changes are in force. Kept by the owner; what it is told it
//! has from its own view and from the leader's announcements.

use std::collections::VecDeque;

/// Changes that are waited for apart; more of them are waited for together, which takes no less time.
const APART_MAX: usize = 256;

/// A change of an owner's routes that is applied, with all before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Which of the owner's changes it is.
    pub number: u64,
    /// The entry as of which it is applied.
    pub index: u64,
}

/// Which changes of one owner's routes are in force.
#[derive(Debug, Default)]
pub struct Barrier {
    in_force: u64,
    reached: u64,
    /// In the order of their numbers.
    waiting: VecDeque<Applied>,
}

impl Barrier {
    /// One of the owner's changes is applied here.
    pub fn applied(&mut self, change: Applied) {
        let last = self.waiting.back().map_or(self.reached, |last| last.number);
        if change.number > last {
            if self.waiting.len() >= APART_MAX {
                self.waiting.pop_back();
            }
            self.waiting.push_back(change);
        }
        self.settle();
    }

    /// Everything up to entry `index` is in force. An older word changes nothing.
    pub fn in_force(&mut self, index: u64) {
        self.in_force = self.in_force.max(index);
        self.settle();
    }

    fn settle(&mut self) {
        while let Some(change) = self.waiting.pop_front_if(|change| change.index <= self.in_force) {
            self.reached = change.number;
        }
    }

    /// The last of the owner's changes that is in force, with all before it: a SUBSCRIBE as of whose handling the owner's
    /// last number was no greater may be answered, whether it changed the routes or not.
    #[must_use]
    pub fn reached(&self) -> u64 {
        self.reached
    }
}
