//! The receiving half of a session: packet ids of QoS 2 messages that were taken over and not released.
//! Owned by a session; a repeat of an id found here is answered and never passed on
//! (`[MQTT-4.3.3-10]`).

use std::collections::BTreeSet;

use mqtt_codec::PacketId;

/// The received QoS 2 packet ids of one session. Bounded by the broker's Receive Maximum, which the
/// caller enforces before it asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inbound {
    received: BTreeSet<PacketId>,
}

impl Inbound {
    /// Takes over a message; `false` when its id is there already, so that it is a repeat.
    pub fn receive(&mut self, packet_id: PacketId) -> bool {
        self.received.insert(packet_id)
    }

    /// PUBREL: the id may be used for a new message from now on (`[MQTT-4.3.3-12]`). `false` when it was
    /// not there: PUBCOMP carries 0x92 then.
    pub fn release(&mut self, packet_id: PacketId) -> bool {
        self.received.remove(&packet_id)
    }

    /// The ids received and not released, from the lowest.
    pub(crate) fn ids(&self) -> impl Iterator<Item = PacketId> {
        self.received.iter().copied()
    }

    /// What was received and not released, as it was written to a store.
    pub(crate) fn restored(ids: impl IntoIterator<Item = PacketId>) -> Self {
        Self { received: ids.into_iter().collect() }
    }

    /// Whether this id was received and not released.
    #[must_use]
    pub fn contains(&self, packet_id: PacketId) -> bool {
        self.received.contains(&packet_id)
    }

    /// Ids received and not released.
    #[must_use]
    pub fn len(&self) -> usize {
        self.received.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.received.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeat_is_seen_until_the_release() {
        let id = PacketId::MIN;
        let mut inbound = Inbound::default();
        assert!(inbound.receive(id));
        assert!(!inbound.receive(id));
        assert!(inbound.contains(id));
        assert!(inbound.release(id));
        assert!(!inbound.release(id));
        assert!(inbound.receive(id));
        assert_eq!(inbound.len(), 1);
    }
}
