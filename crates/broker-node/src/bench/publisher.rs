//! What a publisher knows: what is still to be sent and what is not yet acknowledged.
//! Driven by `connection`. It does no I/O: packets go into the output buffer it is given.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use mqtt_codec::{
    ConnAck, EncodeError, Packet, PacketId, PubRel, PublishHeader, QoS, ReasonCode, SharedPublish, Text,
    Version,
};

use super::plan::{Load, PublisherSpec};
use super::stamp::{STAMP_LEN, Stamp};
use super::stats::Stats;
use super::wire::ClientError;

/// Output beyond which nothing more is encoded before some of it is written.
pub(super) const OUTPUT_BYTES_MAX: usize = 64 * 1024;

/// Where the exchange of a packet id stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Free,
    /// PUBLISH is sent.
    Published,
    /// QoS 2: PUBREL is sent.
    Released,
}

/// The exchange of one packet id.
#[derive(Debug, Clone, Copy)]
struct Exchange {
    step: Step,
    sent_ns: u64,
}

/// A publisher.
pub(super) struct Publisher {
    version: Version,
    load: Load,
    stamp_id: u32,
    topic: String,
    payload: Bytes,
    /// The packet without its stamp, where the topic is always the same.
    message: Option<SharedPublish>,
    /// Messages still to be sent.
    remaining: u64,
    sequence: u32,
    /// Exchange `n` is that of packet id `n + 1`.
    exchanges: Vec<Exchange>,
    free: VecDeque<u16>,
}

impl Publisher {
    /// A publisher as `spec` wants it, as far as the broker allows it in `ack`.
    ///
    /// # Errors
    /// Where the broker grants less than the load needs.
    pub(super) fn new(
        spec: &PublisherSpec,
        load: Load,
        version: Version,
        ack: &ConnAck,
    ) -> Result<Self, ClientError> {
        if load.qos > ack.properties.maximum_qos {
            return Err(ClientError::TooLittle(format!("QoS {}", ack.properties.maximum_qos as u8)));
        }
        if load.retain && !ack.properties.retain_available {
            return Err(ClientError::TooLittle("no retained messages".into()));
        }
        let window = ack.properties.receive_maximum.map_or(load.window, |most| load.window.min(most.get()));
        let payload = Bytes::from(vec![b'q'; load.size]);
        let message = if spec.topic.contains("%n") { None } else { Some(message(&spec.topic, &payload)) };
        let publisher = Self {
            version,
            load,
            stamp_id: spec.stamp_id,
            topic: spec.topic.clone(),
            payload,
            message,
            remaining: spec.messages.unwrap_or(u64::MAX),
            sequence: 0,
            exchanges: vec![Exchange { step: Step::Free, sent_ns: 0 }; usize::from(window)],
            free: (1..=window).collect(),
        };
        let header = publisher.header(Some(PacketId::MIN));
        let longest = publisher.message(u32::MAX).encoded_len(version, &header);
        match ack.properties.maximum_packet_size {
            Some(most) if longest > most.get() as usize => {
                Err(ClientError::TooLittle(format!("packets of {most} bytes")))
            }
            _ => Ok(publisher),
        }
    }

    /// Nothing more will be sent.
    pub(super) fn stop(&mut self) {
        self.remaining = 0;
    }

    /// Everything is sent, and acknowledged where it has to be.
    pub(super) fn finished(&self) -> bool {
        self.remaining == 0 && self.in_flight() == 0
    }

    /// How many messages could be sent now, but for the windows of others and the rate.
    pub(super) fn ready(&self) -> u64 {
        match self.load.qos {
            QoS::AtMostOnce => self.remaining,
            _ => self.remaining.min(self.free.len() as u64),
        }
    }

    fn in_flight(&self) -> usize {
        match self.load.qos {
            QoS::AtMostOnce => 0,
            _ => self.exchanges.len() - self.free.len(),
        }
    }

    /// Encodes up to `most` messages into `out`, all with the time `now_ns`; returns how many.
    ///
    /// # Errors
    /// None in practice: topic and size were checked.
    pub(super) fn publish(&mut self, most: u64, now_ns: u64, out: &mut BytesMut) -> Result<u64, EncodeError> {
        let most = most.min(self.ready());
        let mut sent = 0;
        while sent < most && (out.len() < OUTPUT_BYTES_MAX || sent == 0) {
            self.publish_one(now_ns, out);
            sent += 1;
        }
        self.remaining -= sent;
        Ok(sent)
    }

    fn publish_one(&mut self, now_ns: u64, out: &mut BytesMut) {
        let packet_id = match self.load.qos {
            QoS::AtMostOnce => None,
            _ => self.free.pop_front().and_then(PacketId::new),
        };
        if let Some(exchange) = packet_id.and_then(|id| self.exchange(id)) {
            *exchange = Exchange { step: Step::Published, sent_ns: now_ns };
        }
        let header = self.header(packet_id);
        let apart = match &self.message {
            Some(message) => message.encode(self.version, &header, out),
            None => self.message(self.sequence).encode(self.version, &header, out),
        };
        if let Some(payload) = apart {
            out.extend_from_slice(&payload);
        }
        // The payload ends the packet, so its stamp is written over where it lies.
        let payload = out.len().saturating_sub(self.load.size);
        if self.load.size >= STAMP_LEN
            && let Some(place) = out.get_mut(payload..payload + STAMP_LEN)
        {
            let stamp = Stamp { sent_ns: now_ns, publisher: self.stamp_id, sequence: self.sequence };
            place.copy_from_slice(&stamp.to_bytes());
        }
        self.sequence = self.sequence.wrapping_add(1);
    }

    /// Takes an acknowledgement; the next step of QoS 2 goes into `out`.
    ///
    /// # Errors
    /// None in practice: a PUBREL always fits.
    pub(super) fn acknowledge(
        &mut self,
        packet: &Packet,
        now_ns: u64,
        out: &mut BytesMut,
        stats: &mut Stats,
    ) -> Result<(), EncodeError> {
        let (id, reason, expected) = match packet {
            Packet::PubAck(ack) => (ack.packet_id, ack.reason, Step::Published),
            Packet::PubRec(ack) => (ack.packet_id, ack.reason, Step::Published),
            Packet::PubComp(ack) => (ack.packet_id, ack.reason, Step::Released),
            other => {
                stats.errors.protocol += 1;
                stats.note_error(|| format!("a publisher got {}", other.kind()));
                return Ok(());
            }
        };
        let qos = self.load.qos;
        let version = self.version;
        let belongs = matches!(packet, Packet::PubAck(_)) == (qos == QoS::AtLeastOnce);
        let Some(exchange) = self.exchange(id).filter(|exchange| belongs && exchange.step == expected) else {
            stats.errors.protocol += 1;
            stats.note_error(|| format!("{} of packet id {id}, which does not wait for it", packet.kind()));
            return Ok(());
        };
        let failed = reason as u8 >= 0x80;
        if matches!(packet, Packet::PubRec(_)) && !failed {
            exchange.step = Step::Released;
            return Packet::PubRel(PubRel::new(id, ReasonCode::Success)).encode(version, out);
        }
        let sent_ns = exchange.sent_ns;
        exchange.step = Step::Free;
        self.free.push_back(id.get());
        if failed {
            stats.errors.refused += 1;
            stats.note_error(|| format!("{} with {}", packet.kind(), reason.name()));
        } else {
            stats.acknowledged += 1;
            stats.acknowledgement.record(sent_ns, now_ns);
            stats.acknowledgements.extend(now_ns);
        }
        Ok(())
    }

    fn exchange(&mut self, id: PacketId) -> Option<&mut Exchange> {
        self.exchanges.get_mut(usize::from(id.get() - 1))
    }

    fn header(&self, packet_id: Option<PacketId>) -> PublishHeader<'static> {
        let packet_id = packet_id.filter(|_| self.load.qos > QoS::AtMostOnce);
        PublishHeader { qos: self.load.qos, retain: self.load.retain, packet_id, ..PublishHeader::default() }
    }

    fn message(&self, number: u32) -> SharedPublish {
        message(&self.topic.replace("%n", &number.to_string()), &self.payload)
    }
}

fn message(topic: &str, payload: &Bytes) -> SharedPublish {
    // The plan has checked the topic with the longest number in it.
    SharedPublish::new(&Text::new(topic).unwrap_or_default(), &Bytes::new(), payload)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use mqtt_codec::{Limits, PubAck, PubComp, PubRec, Publish, decode, frame};

    use super::*;

    fn load(qos: QoS, size: usize) -> Load {
        Load { qos, size, rate: 0.0, window: 3, retain: false, duration: None }
    }

    fn publisher(load: Load, topic: &str, ack: &ConnAck) -> Result<Publisher, ClientError> {
        let topic = topic.to_owned();
        let spec = PublisherSpec { index: 0, stamp_id: 7, topic, messages: Some(5), window: None };
        Publisher::new(&spec, load, Version::V5, ack)
    }

    fn packets(out: &mut BytesMut) -> Vec<Packet> {
        let mut packets = Vec::new();
        while let Some(frame) = frame::peek(out, &Limits::NONE).unwrap() {
            let body = out.split_to(frame.header_len + frame.body_len).freeze().slice(frame.header_len..);
            packets.push(decode(Version::V5, frame.first_byte, body, &Limits::NONE).unwrap());
        }
        packets
    }

    fn published(out: &mut BytesMut) -> Vec<Publish> {
        let publish = |packet| match packet {
            Packet::Publish(publish) => publish,
            other => panic!("{other:?}"),
        };
        packets(out).into_iter().map(publish).collect()
    }

    fn id(id: u16) -> PacketId {
        PacketId::new(id).unwrap()
    }

    #[test]
    fn messages_are_stamped_and_numbered() {
        for size in [16, 64, 100_000] {
            let mut publisher = publisher(load(QoS::AtMostOnce, size), "t/%n", &ConnAck::default()).unwrap();
            let mut out = BytesMut::new();
            while !publisher.finished() {
                publisher.publish(u64::MAX, 99, &mut out).unwrap();
                for publish in published(&mut out) {
                    let stamp = Stamp::read(&publish.payload).unwrap();
                    assert_eq!((stamp.sent_ns, stamp.publisher, publish.payload.len()), (99, 7, size));
                    assert_eq!(publish.topic.as_str(), format!("t/{}", stamp.sequence));
                }
            }
            assert_eq!(publisher.sequence, 5);
        }
    }

    #[test]
    fn the_window_holds_until_the_exchange_ends() {
        let (mut stats, mut out) = (Stats::new(), BytesMut::new());
        let mut publisher = publisher(load(QoS::ExactlyOnce, 8), "t", &ConnAck::default()).unwrap();
        assert_eq!(publisher.publish(u64::MAX, 0, &mut out).unwrap(), 3);
        let ids: Vec<_> = published(&mut out).iter().filter_map(|publish| publish.packet_id).collect();
        assert_eq!(ids, [id(1), id(2), id(3)]);
        let received = Packet::PubRec(PubRec::new(id(2), ReasonCode::Success));
        publisher.acknowledge(&received, 0, &mut out, &mut stats).unwrap();
        assert!(
            matches!(packets(&mut out).as_slice(), [Packet::PubRel(release)] if release.packet_id == id(2))
        );
        assert_eq!(publisher.ready(), 0);
        let complete = Packet::PubComp(PubComp::new(id(2), ReasonCode::Success));
        publisher.acknowledge(&complete, 0, &mut out, &mut stats).unwrap();
        assert_eq!((publisher.ready(), stats.acknowledged, stats.errors.total()), (1, 1, 0));
        publisher.acknowledge(&complete, 0, &mut out, &mut stats).unwrap();
        let other = Packet::PubAck(PubAck::new(id(1), ReasonCode::Success));
        publisher.acknowledge(&other, 0, &mut out, &mut stats).unwrap();
        assert_eq!(stats.errors.protocol, 2, "a repeated PUBCOMP, and a PUBACK at QoS 2");
        let refused = Packet::PubRec(PubRec::new(id(1), ReasonCode::QuotaExceeded));
        publisher.acknowledge(&refused, 0, &mut out, &mut stats).unwrap();
        assert_eq!((publisher.ready(), stats.errors.refused), (2, 1));
        publisher.stop();
        assert!(!publisher.finished(), "packet id 3 is under way");
    }

    #[test]
    fn what_the_broker_grants_is_respected() {
        let mut ack = ConnAck::default();
        ack.properties.receive_maximum = NonZeroU16::new(2);
        assert_eq!(publisher(load(QoS::AtLeastOnce, 8), "t", &ack).unwrap().ready(), 2);
        ack.properties.maximum_packet_size = std::num::NonZeroU32::new(50);
        assert!(publisher(load(QoS::AtLeastOnce, 30), "t", &ack).is_ok());
        assert!(publisher(load(QoS::AtLeastOnce, 50), "t", &ack).is_err());
        ack.properties.maximum_qos = QoS::AtMostOnce;
        assert!(publisher(load(QoS::AtLeastOnce, 8), "t", &ack).is_err());
        ack.properties.retain_available = false;
        let retain = Load { retain: true, ..load(QoS::AtMostOnce, 8) };
        assert!(publisher(retain, "t", &ack).is_err());
    }
}
