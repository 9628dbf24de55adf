//! Which PUBRELs a connection has sent: the shard of a persistent session says them again when its leader changes, and
//! on one connection nothing is sent twice (`[MQTT-4.4.0-1]`). Owned by a client; sends nothing itself.

use std::collections::BTreeSet;

use mqtt_codec::PacketId;

/// The PUBRELs of one connection. Bounded by the packet identifiers that there are.
#[derive(Debug, Default)]
pub(crate) struct Released {
    sent: BTreeSet<PacketId>,
    /// The client has answered, and the shard may not know it yet.
    completed: BTreeSet<PacketId>,
}

impl Released {
    /// The shard says PUBREL; whether it is to be sent.
    pub(crate) fn release(&mut self, id: PacketId) -> bool {
        !self.completed.contains(&id) && self.sent.insert(id)
    }

    /// PUBREC came: another PUBREL is wanted, whatever was sent before.
    pub(crate) fn received(&mut self, id: PacketId) {
        self.sent.remove(&id);
        self.completed.remove(&id);
    }

    /// PUBCOMP came. `settled` says that the shard knows everything that came before it.
    pub(crate) fn complete(&mut self, id: PacketId, settled: bool) {
        if settled {
            self.completed.clear();
        }
        if self.sent.remove(&id) {
            self.completed.insert(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u16) -> PacketId {
        PacketId::new(number).unwrap()
    }

    #[test]
    fn pubrel_is_sent_once_however_often_the_shard_says_it() {
        let mut released = Released::default();
        released.received(id(1));
        assert_eq!([released.release(id(1)), released.release(id(1))], [true, false]);
        released.complete(id(1), true);
        assert!(!released.release(id(1)), "the shard does not know of PUBCOMP yet");
        released.received(id(2));
        assert!(released.release(id(2)));
        released.complete(id(2), true);
        assert!(released.completed.len() == 1, "what the shard knows is forgotten");
    }

    #[test]
    fn a_pubrec_that_comes_again_and_a_new_exchange_of_the_same_identifier_have_their_pubrel() {
        let mut released = Released::default();
        for completes in [false, true, false] {
            released.received(id(1));
            assert!(released.release(id(1)));
            if completes {
                released.complete(id(1), false);
            }
        }
    }
}
