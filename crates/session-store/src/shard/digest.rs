//! One number for the whole state of a shard, or of another state machine, to compare replicas by. Called by tests and by
//! whoever checks replicas against each other; changes nothing.

use std::fmt::{self, Write};

use super::Shard;

/// FNV-1a over text that is written to it.
struct Digest(u64);

impl Digest {
    /// The digest of a value's debug form, which has all of its fields: none can be forgotten here.
    fn of(value: &impl fmt::Debug) -> u64 {
        let mut digest = Self(0xCBF2_9CE4_8422_2325);
        // Writing to a number cannot fail.
        let _written = write!(digest, "{value:?}");
        digest.0
    }
}

impl Write for Digest {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3);
        }
        Ok(())
    }
}

/// The digest of a value by its debug form: equal for equal values of the same binary, as long as that form has all of
/// their fields and no order of a hash map.
#[must_use]
pub fn digest_of(value: &impl fmt::Debug) -> u64 {
    Digest::of(value)
}

impl Shard {
    /// A digest of everything that replicas share: equal for equal states of the same binary, whatever led to
    /// them. Costs as much as there is state. Counters are left out, and so are the indexes of subscriptions,
    /// which [`Self::validate`] compares with the sessions.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let clients = self.clients.iter().map(|client| Digest::of(&client));
        let sessions = self.sessions.iter().map(|session| Digest::of(&session));
        let tables = clients.chain(sessions).fold(0_u64, u64::wrapping_add);
        let numbers = (self.me, self.now, self.next_session, self.generation, self.apply_level, self.limits);
        let deadlines = (&self.due, &self.hosted, &self.lowest_live, &self.dying);
        Digest::of(&(tables, numbers, deadlines, &self.streams, &self.outbox, &self.retained))
    }
}
