//! What of a session's queue is on its way to the client, for a host that may not have all of it since its way to the
//! shard's leader broke. Changes nothing.

use super::{Item, NextPacket, Outbound, Outgoing, State};
use crate::outgoing::packet_id;

impl Outbound {
    /// Everything that was given out on the present connection and is not acknowledged, as it was given out.
    pub fn in_flight_again(&self) -> impl Iterator<Item = NextPacket> {
        let sent = usize::try_from(self.cursor - self.first).unwrap_or(usize::MAX);
        let positions = self.first..self.cursor;
        positions.zip(self.items.iter().take(sent)).filter_map(|(position, item)| match item.state {
            State::Sent => {
                let (packet_id, dup) = (packet_id(position), position < self.resend_below);
                Some(match item.again() {
                    Some(item) => NextPacket::Publish { packet_id, position, dup, item },
                    None => NextPacket::Stored { packet_id, position, dup, serial: item.serial },
                })
            }
            State::Released => Some(NextPacket::Release(packet_id(position))),
            State::Queued | State::Done => None,
        })
    }
}

impl Item {
    pub(super) fn again(&self) -> Option<Outgoing> {
        Some(Outgoing {
            message: self.body.here()?.clone(),
            qos: self.qos,
            retain: self.retain,
            subscription_ids: self.subscription_ids.clone(),
            group: self.group.clone(),
        })
    }
}
