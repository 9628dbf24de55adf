//! What always holds of a queue. Called in debug builds and by tests, and by whoever restores one.

use super::{Outbound, State};

impl Outbound {
    /// Checks what must always hold; called after each step in debug builds and by tests.
    ///
    /// # Errors
    /// Names the rule that does not hold.
    pub fn validate(&self) -> Result<(), &'static str> {
        if self.cursor < self.first || self.cursor > self.end() {
            return Err("the cursor lies outside the queue");
        }
        let live = self.items.iter().filter(|item| item.state != State::Done).count();
        if live != self.live {
            return Err("the count of live items is wrong");
        }
        let bytes: usize = self.items.iter().map(|item| item.body.size()).sum();
        if bytes != self.bytes {
            return Err("the count of bytes is wrong");
        }
        if self.items.iter().filter(|item| item.body.is_stored()).count() != self.stored.0 {
            return Err("the count of messages in the store is wrong");
        }
        if self.open() != self.in_flight as usize {
            return Err("the count of exchanges in flight is wrong");
        }
        if self.items.front().is_some_and(|item| item.state == State::Done) {
            return Err("a done item stays at the front");
        }
        let serials = self.items.iter().map(|item| item.serial);
        if !serials.clone().chain([self.next_serial]).is_sorted_by(|a, b| a < b) {
            return Err("the serial numbers do not grow");
        }
        let reach = usize::try_from(self.sent_end().saturating_sub(self.first)).unwrap_or(usize::MAX);
        if self.items.iter().skip(reach).any(|item| item.state != State::Queued) {
            return Err("something was sent behind what was sent");
        }
        Ok(())
    }

    /// Exchanges under way, counted.
    pub(super) fn open(&self) -> usize {
        let sent = usize::try_from(self.cursor - self.first).unwrap_or(usize::MAX);
        let open = self.items.iter().take(sent);
        open.filter(|item| matches!(item.state, State::Sent | State::Released)).count()
    }
}
