//! Bytes written by hand from the standard, against what the codec makes of them.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code: a panic is how a test fails"
)]

use bytes::{Bytes, BytesMut};
use mqtt_codec::*;

fn text(text: &str) -> Text {
    Text::new(text).unwrap()
}

/// Decodes one packet that must fill `wire`, and encodes it back into the same bytes.
fn golden(version: Version, wire: &[u8]) -> Packet {
    let mut input = BytesMut::from(wire);
    let (first_byte, body) = frame::take(&mut input, &Limits::DEFAULT).unwrap().unwrap();
    assert!(input.is_empty());
    let packet = decode(version, first_byte, body, &Limits::DEFAULT).unwrap();
    let mut out = BytesMut::from(&b"before"[..]);
    packet.encode(version, &mut out).unwrap();
    assert_eq!(&out[6..], wire, "{packet:?}");
    packet
}

#[test]
fn connect_of_each_version() {
    let v31 = b"\x10\x0f\0\x06MQIsdp\x03\x02\0\x3c\0\x01a";
    let Packet::Connect(connect) = golden(Version::V5, v31) else { panic!() };
    assert_eq!((connect.version, connect.keep_alive_s), (Version::V3_1, 60));
    let v311 = b"\x10\x1b\0\x04MQTT\x04\xf6\0\x3c\0\x01a\0\x01t\0\x01m\0\x02us\0\x02pw";
    let Packet::Connect(connect) = golden(Version::V3_1_1, v311) else { panic!() };
    let will = connect.will.unwrap();
    assert_eq!((will.topic, will.qos, will.retain), (text("t"), QoS::ExactlyOnce, true));
    assert_eq!(connect.password.unwrap(), "pw");
    let v5 = b"\x10\x12\0\x04MQTT\x05\0\0\0\x05\x11\0\0\0\x0a\0\0";
    let Packet::Connect(connect) = golden(Version::V5, v5) else { panic!() };
    assert_eq!((connect.session_expiry_s, connect.clean_start), (Some(10), false));
    assert!(connect.request_problem_information && connect.client_id.is_empty());
}

#[test]
fn publish_and_its_sharing() {
    let v311 = b"\x33\x08\0\x02a/\0\x07hi";
    let Packet::Publish(publish) = golden(Version::V3_1_1, v311) else { panic!() };
    assert_eq!((publish.topic.as_str(), &publish.payload[..]), ("a/", &b"hi"[..]));
    assert_eq!(publish.packet_id, PacketId::new(7));
    let v5 = b"\x3d\x17\0\x01a\0\x07\x0f\x23\0\x01\x02\0\0\0\x05\x01\x01\x03\0\x02txhi";
    let Packet::Publish(publish) = golden(Version::V5, v5) else { panic!() };
    assert_eq!(publish.topic_alias.map(|alias| alias.get()), Some(1));
    assert_eq!(&publish.application[..], b"\x01\x01\x03\0\x02tx");
    let properties: Vec<_> = ApplicationProperties::new(&publish.application).collect();
    assert_eq!(properties, [Property::PayloadFormatIndicator(true), Property::ContentType("tx")]);

    let shared = SharedPublish::new(&publish.topic, &publish.application, &publish.payload);
    let header = PublishHeader {
        dup: true,
        qos: publish.qos,
        retain: publish.retain,
        packet_id: publish.packet_id,
        topic_alias: publish.topic_alias.map(|alias| (alias, true)),
        message_expiry_s: publish.message_expiry_s,
        subscription_ids: &[],
    };
    let mut out = BytesMut::new();
    assert_eq!(shared.encode(Version::V5, &header, &mut out), None);
    assert_eq!(&out[..], v5);
    assert_eq!(shared.encoded_len(Version::V5, &header), v5.len());
}

#[test]
fn a_large_payload_is_not_copied() {
    let payload = Bytes::from(vec![7; SMALL_PAYLOAD_BYTES_MAX + 1]);
    let shared = SharedPublish::new(&text("t"), &Bytes::new(), &payload);
    let mut out = BytesMut::new();
    let header = PublishHeader::default();
    let rest = shared.encode(Version::V3_1_1, &header, &mut out).unwrap();
    assert_eq!(rest.as_ptr(), payload.as_ptr());
    assert_eq!(out.len() + rest.len(), shared.encoded_len(Version::V3_1_1, &header));
    assert_eq!(&out[..], b"\x30\x84\x80\x01\0\x01t");
}

#[test]
fn properties_to_pass_on_keep_their_order_around_others() {
    // Content type, expiry, user property, alias, payload format: all but expiry and alias pass on.
    let wire = b"\x30\x1a\0\x01t\x15\x03\0\x01c\x02\0\0\0\x07\x26\0\x01n\0\x01v\x23\0\x01\x01\0p";
    let mut input = BytesMut::from(&wire[..]);
    let (first_byte, body) = frame::take(&mut input, &Limits::DEFAULT).unwrap().unwrap();
    let Ok(Packet::Publish(publish)) = decode(Version::V5, first_byte, body, &Limits::DEFAULT) else {
        panic!()
    };
    assert_eq!(&publish.application[..], b"\x03\0\x01c\x26\0\x01n\0\x01v\x01\0");
    assert_eq!((publish.message_expiry_s, &publish.payload[..]), (Some(7), &b"p"[..]));
}

#[test]
fn decoding_copies_neither_topic_nor_payload_nor_contiguous_properties() {
    let wire = Bytes::from_static(b"\0\x05topic\x0b\x02\0\0\0\x07\x03\0\x03txtpayload");
    let inside = |part: &[u8]| wire.as_ptr_range().contains(&part.as_ptr());
    let Ok(Packet::Publish(publish)) = decode(Version::V5, 0x30, wire.clone(), &Limits::DEFAULT) else {
        panic!()
    };
    assert_eq!(&publish.application[..], b"\x03\0\x03txt");
    for part in [publish.topic.as_bytes(), &publish.application, &publish.payload] {
        assert!(inside(part));
    }
    assert!(!inside(publish.topic.detached().as_bytes()));
}

#[test]
fn acknowledgements_take_their_shortest_form() {
    for (first_byte, name) in [(0x40, "PUBACK"), (0x50, "PUBREC"), (0x62, "PUBREL"), (0x70, "PUBCOMP")] {
        for version in Version::ALL {
            assert_eq!(golden(version, &[first_byte, 2, 0, 9]).kind().name(), name);
        }
        let reason = if first_byte < 0x60 { 0x10 } else { 0x92 };
        golden(Version::V5, &[first_byte, 3, 0, 9, reason]);
        golden(Version::V5, &[first_byte, 8, 0, 9, reason, 4, 0x1f, 0, 1, b'x']);
    }
    for version in Version::ALL {
        golden(version, b"\xc0\0");
        golden(version, b"\xd0\0");
        golden(version, b"\xe0\0");
    }
    golden(Version::V5, b"\xe0\x01\x04");
    golden(Version::V5, b"\xf0\0");
    golden(Version::V5, b"\xf0\x06\x18\x04\x15\0\x01m");
}

#[test]
fn subscriptions() {
    golden(Version::V3_1_1, b"\x82\x06\0\x01\0\x01#\x02");
    golden(Version::V5, b"\x82\x09\0\x01\x02\x0b\x07\0\x01#\x2e");
    golden(Version::V3_1_1, b"\x90\x04\0\x01\x80\x02");
    golden(Version::V5, b"\x90\x05\0\x01\0\x87\x02");
    golden(Version::V3_1_1, b"\xa2\x05\0\x01\0\x01#");
    golden(Version::V5, b"\xa2\x06\0\x01\0\0\x01#");
    golden(Version::V3_1_1, b"\xb0\x02\0\x01");
    golden(Version::V5, b"\xb0\x04\0\x01\0\x11");
    golden(Version::V3_1_1, b"\x20\x02\x01\0");
    golden(Version::V3_1, b"\x20\x02\0\x05");
    golden(Version::V5, b"\x20\x05\0\x87\x02\x24\x01");
}
