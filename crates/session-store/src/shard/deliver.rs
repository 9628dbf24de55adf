//! Sending from persistent queues, and what clients acknowledge.
//! Called by `Shard::apply`; never reads a clock.

use super::Shard;
use super::out::Out;
use crate::command::{Ack, Acks, Push, Reply};
use crate::effect::Effect;
use crate::ids::SessionKey;
use crate::outbound::Acked;

impl Shard {
    /// Pushes to a connected client whatever its window has room for, and goes on with its scans.
    pub(super) fn pump(&mut self, key: SessionKey, out: &mut Out<'_>) {
        let now = self.now;
        let Some(session) = self.sessions.get_mut(&key) else { return };
        let Some(connection) = session.connection else { return };
        let mut pushes = Vec::new();
        let window = session.receive_maximum;
        while let Some(send) = session.outbound.next_to_send(window, now, &mut self.queue_counters) {
            pushes.push(session.push(key, send));
        }
        if !pushes.is_empty() {
            out.push(Effect::Push(connection, pushes));
        }
        self.start_scans(key, out);
    }

    /// Acknowledgements, in their order; the room they make is used at once.
    pub(super) fn acks(&mut self, acks: &Acks, out: &mut Out<'_>) {
        let Some(key) = self.current(&acks.client, acks.epoch) else { return };
        let Some(session) = self.sessions.get_mut(&key) else { return };
        let mut releases = Vec::new();
        for ack in &acks.acks {
            let (acked, packet_id) = match *ack {
                Ack::PageTaken(scan) => {
                    session.scans.taken(scan);
                    continue;
                }
                Ack::Puback(packet_id) => (session.outbound.puback(packet_id), packet_id),
                Ack::Pubrec(packet_id, refused) => (session.outbound.pubrec(packet_id, refused), packet_id),
                Ack::Pubcomp(packet_id) => (session.outbound.pubcomp(packet_id), packet_id),
            };
            match (acked, ack) {
                (Acked::Complete, _) => {}
                (Acked::Release, _) => releases.push(Push::Release(packet_id)),
                (Acked::Unknown, Ack::Pubrec(_, false)) => releases.push(Push::ReleaseUnknown(packet_id)),
                (Acked::Unknown, _) => {}
                (Acked::WrongType, _) => {
                    out.answer(session.connection, Reply::WrongAck);
                    return;
                }
            }
        }
        if let (false, Some(connection)) = (releases.is_empty(), session.connection) {
            out.push(Effect::Push(connection, releases));
        }
        self.pump(key, out);
    }

    /// Says again, for acknowledgements that were applied before, which PUBRECs belong to no exchange: nothing in the
    /// state knows that it was said. A PUBREL that was lost is in the state, and is said when its host attaches.
    pub(super) fn acks_again(&mut self, acks: &Acks, effects: &mut Vec<Effect>) {
        let Some(key) = self.current(&acks.client, acks.epoch) else { return };
        let Some(session) = self.sessions.get(&key) else { return };
        let unknown = |ack: &Ack| match *ack {
            Ack::Pubrec(id, false) if !session.outbound.is_under_way(id) => Some(Push::ReleaseUnknown(id)),
            _ => None,
        };
        let releases: Vec<Push> = acks.acks.iter().filter_map(unknown).collect();
        if let (false, Some(connection)) = (releases.is_empty(), session.connection) {
            effects.push(Effect::Push(connection, releases));
        }
    }
}
