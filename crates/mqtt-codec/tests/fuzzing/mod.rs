//! What the fuzz targets do with their input, shared between `fuzz/` and `tests/corpus.rs`.
//! Each function takes any bytes, and panics if the codec breaks one of its promises.

use bytes::{Bytes, BytesMut};
use mqtt_codec::{ApplicationProperties, Limits, Offence, Packet, Version, decode, decode_connect, frame};

/// Small enough for a fuzzer to reach each of them.
const LIMITS: Limits = Limits {
    packet_bytes_max: 4096,
    topic_levels_max: 8,
    user_properties_max: 4,
    user_properties_bytes_max: 64,
    filters_max: 8,
    client_id_bytes_max: 64,
};

/// A stream of packets under 3.1.1, and under 3.1.
pub(crate) fn decode_v311(data: &[u8]) {
    for version in [Version::V3_1_1, Version::V3_1] {
        let _ = decode_all(version, &mut BytesMut::from(data));
    }
}

/// A stream of packets under 5.0.
pub(crate) fn decode_v5(data: &[u8]) {
    let _ = decode_all(Version::V5, &mut BytesMut::from(data));
}

/// The body of a first CONNECT.
pub(crate) fn connect(data: &[u8]) {
    let claimed = mqtt_codec::connect_version(data);
    let connect = match decode_connect(0x10, Bytes::copy_from_slice(data), &LIMITS) {
        Ok(connect) => connect,
        Err(Offence::ProtocolNameInvalid | Offence::UnsupportedProtocolVersion { .. }) => {
            assert_eq!(claimed, None);
            return;
        }
        Err(_) => return,
    };
    assert_eq!(claimed, Some(connect.version));
    assert_same(connect.version, &Packet::Connect(connect));
}

/// The first byte picks the version, the second the pieces in which the rest arrives.
pub(crate) fn split(data: &[u8]) {
    let [version, pieces, stream @ ..] = data else { return };
    let version = match version % 3 {
        0 => Version::V3_1,
        1 => Version::V3_1_1,
        _ => Version::V5,
    };
    let whole = decode_all(version, &mut BytesMut::from(stream));
    let mut input = BytesMut::new();
    let mut packets = Vec::new();
    let mut offence = None;
    for piece in stream.chunks(usize::from(*pieces).max(1)) {
        input.extend_from_slice(piece);
        let (more, end) = decode_all(version, &mut input);
        packets.extend(more);
        offence = end;
        if offence.is_some() {
            break;
        }
    }
    assert_eq!(whole, (packets, offence), "pieces of {pieces}");
}

/// Every whole packet at the start of the stream, and the offence that ended it.
fn decode_all(version: Version, input: &mut BytesMut) -> (Vec<Packet>, Option<Offence>) {
    let mut packets = Vec::new();
    loop {
        let packet = match frame::take(input, &LIMITS) {
            Ok(Some((first_byte, body))) => decode(version, first_byte, body, &LIMITS),
            Ok(None) => return (packets, None),
            Err(offence) => return (packets, Some(offence)),
        };
        match packet {
            Ok(packet) => {
                assert_same(version, &packet);
                packets.push(packet);
            }
            Err(offence) => {
                assert!(offence.reason().is_error());
                return (packets, Some(offence));
            }
        }
    }
}

/// A packet that was decoded is encoded into what decodes to itself, within its size at first.
fn assert_same(version: Version, packet: &Packet) {
    let version = if let Packet::Connect(connect) = packet { connect.version } else { version };
    let mut out = BytesMut::new();
    assert_eq!(packet.encode_within(version, Some(LIMITS.packet_bytes_max), &mut out), Ok(()), "{packet:?}");
    if let Packet::Publish(publish) = packet {
        assert_eq!(ApplicationProperties::check(&publish.application, &LIMITS), Ok(()));
    }
    let again = match frame::take(&mut out, &LIMITS) {
        Ok(Some((first_byte, body))) => decode(version, first_byte, body, &LIMITS),
        other => unreachable!("a packet was written, found {other:?}"),
    };
    assert_eq!(again.as_ref(), Ok(packet));
    assert!(out.is_empty());
}
