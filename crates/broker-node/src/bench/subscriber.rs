//! What a subscriber knows: what has arrived, and which QoS 2 messages are not yet released.
//! Driven by `connection`. It does no I/O: acknowledgements go into the output buffer it is given.

use bytes::BytesMut;
use mqtt_codec::{EncodeError, Packet, PacketId, PubAck, PubComp, PubRec, Publish, QoS, ReasonCode, Version};

use super::plan::Hears;
use super::sequence::{Arrival, Tracking};
use super::stamp::Stamp;
use super::stats::Stats;

/// One bit for each packet id.
const ID_WORDS: usize = 65_536 / 64;

/// A subscriber.
pub(super) struct Subscriber {
    version: Version,
    tracking: Tracking,
    /// QoS 2 messages that were received and not yet released, by packet id; made at the first.
    unreleased: Vec<u64>,
    delivered: u64,
}

impl Subscriber {
    pub(super) fn new(hears: Hears, version: Version) -> Self {
        let tracking = match hears {
            Hears::All(publishers) => Tracking::all(publishers),
            Hears::Part(publishers) => Tracking::shared(publishers),
            Hears::Anything => Tracking::open(),
        };
        Self { version, tracking, unreleased: Vec::new(), delivered: 0 }
    }

    /// Takes a message; returns whether it is a delivery and not one that QoS 2 sends again.
    ///
    /// # Errors
    /// None in practice: an acknowledgement always fits.
    pub(super) fn receive(
        &mut self,
        publish: &Publish,
        now_ns: u64,
        out: &mut BytesMut,
        stats: &mut Stats,
    ) -> Result<bool, EncodeError> {
        match (publish.qos, publish.packet_id) {
            (QoS::AtLeastOnce, Some(id)) => {
                Packet::PubAck(PubAck::new(id, ReasonCode::Success)).encode(self.version, out)?;
            }
            (QoS::ExactlyOnce, Some(id)) => {
                Packet::PubRec(PubRec::new(id, ReasonCode::Success)).encode(self.version, out)?;
                if !self.note_unreleased(id) {
                    return Ok(false);
                }
            }
            _ => {}
        }
        self.delivered += 1;
        stats.delivered += 1;
        stats.payload_bytes_received += publish.payload.len() as u64;
        // A retained message may be of any age, and comes in the order of topics.
        let Some(stamp) = Stamp::read(&publish.payload).filter(|_| !publish.retain) else { return Ok(true) };
        match self.tracking.observe(stamp.publisher, stamp.sequence) {
            Arrival::InOrder => {}
            Arrival::Late => stats.late += 1,
            Arrival::Repeated => stats.repeated += 1,
        }
        stats.delivery.record(stamp.sent_ns, now_ns);
        Ok(true)
    }

    /// Ends a QoS 2 exchange.
    ///
    /// # Errors
    /// None in practice: a PUBCOMP always fits.
    pub(super) fn release(&mut self, id: PacketId, out: &mut BytesMut) -> Result<(), EncodeError> {
        if let Some(word) = self.unreleased.get_mut(usize::from(id.get()) / 64) {
            *word &= !(1 << (id.get() % 64));
        }
        Packet::PubComp(PubComp::new(id, ReasonCode::Success)).encode(self.version, out)
    }

    /// Gives its part of the result over.
    pub(super) fn report(self, stats: &mut Stats) {
        stats.by_subscriber.push(self.delivered);
        match self.tracking {
            Tracking::All(all) => stats.missing += all.iter().map(|one| one.missing()).sum::<u64>(),
            Tracking::Open(all) => stats.missing += all.values().map(|one| one.missing()).sum::<u64>(),
            Tracking::Shared(received) => stats.add_member(&received),
        }
    }

    /// Whether the packet id was not noted before.
    fn note_unreleased(&mut self, id: PacketId) -> bool {
        if self.unreleased.is_empty() {
            self.unreleased.resize(ID_WORDS, 0);
        }
        let bit = 1_u64 << (id.get() % 64);
        let Some(word) = self.unreleased.get_mut(usize::from(id.get()) / 64) else { return true };
        let new = *word & bit == 0;
        *word |= bit;
        new
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn message(qos: QoS, id: u16, sequence: u32) -> Publish {
        let payload = Stamp { sent_ns: 1, publisher: 0, sequence }.to_bytes();
        let payload = Bytes::copy_from_slice(&payload);
        Publish { qos, packet_id: PacketId::new(id), payload, ..Publish::default() }
    }

    #[test]
    fn a_qos_2_message_counts_once_until_it_is_released() {
        let (mut stats, mut out) = (Stats::new(), BytesMut::new());
        let mut subscriber = Subscriber::new(Hears::All(1), Version::V5);
        let mut receive = |subscriber: &mut Subscriber, message| {
            subscriber.receive(&message, 2, &mut out, &mut stats).unwrap()
        };
        assert!(receive(&mut subscriber, message(QoS::ExactlyOnce, 65_535, 0)));
        assert!(!receive(&mut subscriber, message(QoS::ExactlyOnce, 65_535, 0)));
        subscriber.release(PacketId::new(65_535).unwrap(), &mut BytesMut::new()).unwrap();
        assert!(receive(&mut subscriber, message(QoS::ExactlyOnce, 65_535, 1)));
        assert!(receive(&mut subscriber, message(QoS::AtLeastOnce, 5, 1)), "QoS 1 may repeat: it is counted");
        subscriber.report(&mut stats);
        assert_eq!((stats.delivered, stats.repeated, stats.late), (3, 1, 0));
        assert_eq!(stats.by_subscriber, [3]);
    }
}
