//! Every offence that bytes alone can commit, its reason code, and the tables of the standard:
//! which packet carries which property and which reason code.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "test code: a panic is how a test fails"
)]

mod hostile;

use bytes::{Bytes, BytesMut};
use hostile::{V3_1_1, V5, carriers, carry, field, packet};
use mqtt_codec::*;

/// What a server makes of the first packet in `wire`.
fn judge(version: Version, wire: &[u8]) -> Result<Packet, Offence> {
    let limits = Limits::DEFAULT;
    let mut input = BytesMut::from(wire);
    let (first_byte, body) = frame::take(&mut input, &limits)?.expect("a whole packet");
    decode(version, first_byte, body, &limits)
}

#[test]
fn each_bad_packet_is_its_offence() {
    for case in hostile::cases() {
        assert_eq!(judge(case.version, &case.wire).err(), Some(case.offence), "{}", case.name);
    }
}

#[test]
fn headers_are_judged_before_the_body() {
    for case in hostile::cases() {
        let from_header = frame::peek(&case.wire[..case.wire.len().min(5)], &Limits::DEFAULT);
        if case.name.starts_with("B4 ") || case.name.starts_with("B5 ") || case.name.starts_with("B7 ") {
            assert_eq!(from_header, Err(case.offence), "{}", case.name);
        }
    }
    // One byte more than allowed is refused, the limit itself is not.
    let limits = Limits { packet_bytes_max: 12, ..Limits::DEFAULT };
    assert!(frame::peek(&[0x30, 10], &limits).unwrap().is_some());
    let too_large = Offence::PacketTooLarge { bytes: 13, max: 12 };
    assert_eq!(frame::peek(&[0x30, 11], &limits), Err(too_large));
    assert_eq!(
        frame::peek(&[0x30, 0xFF, 0xFF, 0xFF, 0x7F], &Limits::NONE).unwrap().unwrap().packet_len(),
        268_435_460
    );
}

/// The reason code of each offence: 0x81 for what cannot be parsed, 0x82 for what is parsed and
/// forbidden, and the codes that the standard or the tables of the project name.
fn reason_value(offence: Offence) -> u8 {
    use Offence as O;
    match offence {
        O::PacketTypeReserved
        | O::FlagsInvalid { .. }
        | O::RemainingLengthMalformed
        | O::BodyTooShort
        | O::TrailingBytes
        | O::TextNotUtf8
        | O::TextContainsNul
        | O::FieldTooLong
        | O::VariableByteIntegerMalformed
        | O::PropertyLengthInvalid
        | O::PropertyUnknown { .. }
        | O::PropertyNotAllowed { .. }
        | O::ConnectFlagReserved
        | O::WillQoSInvalid
        | O::WillFlagMissing
        | O::PasswordWithoutUserName
        | O::ConnAckFlagReserved
        | O::QoSInvalid
        | O::DupAtQoS0
        | O::SubscriptionOptionsReserved => 0x81,
        O::PacketTypeNotInVersion
        | O::PacketIdZero
        | O::ReasonCodeInvalid { .. }
        | O::PropertyDuplicate { .. }
        | O::PropertyValueInvalid { .. }
        | O::FirstPacketNotConnect
        | O::AuthenticationDataWithoutMethod
        | O::SessionPresentWithFailure
        | O::TopicEmpty
        | O::ResponseTopicInvalid
        | O::SubscriptionIdZero
        | O::FiltersMissing
        | O::SubscriptionQoSInvalid
        | O::RetainHandlingInvalid
        | O::NoLocalOnShared
        | O::ReasonCodesMissing
        | O::AuthenticationMethodMissing
        | O::NotFromClient { .. }
        | O::SubscriptionIdFromClient
        | O::DisconnectNotFromClient
        | O::AuthNotFromClient
        | O::SecondConnect
        | O::TopicAliasUnknown
        | O::AckOfOtherExchange
        | O::SessionExpiryRaised
        | O::AuthOutOfTurn
        | O::AuthenticationMethodChanged => 0x82,
        O::ProtocolNameInvalid | O::UnsupportedProtocolVersion { .. } => 0x84,
        O::ClientIdTooLong => 0x85,
        O::TopicWildcard | O::TopicTooDeep => 0x90,
        O::ReceiveMaximumExceeded => 0x93,
        O::TopicAliasZero | O::TopicAliasAboveMaximum => 0x94,
        O::PacketTooLarge { .. } => 0x95,
        O::UserPropertiesTooMany | O::UserPropertiesTooLarge | O::FiltersTooMany => 0x97,
    }
}

#[test]
fn offences_have_their_reason_code_and_say_what_they_are() {
    let with_state = [
        Offence::FieldTooLong,
        Offence::FirstPacketNotConnect,
        Offence::NotFromClient { kind: PacketKind::SubAck },
        Offence::SubscriptionIdFromClient,
        Offence::DisconnectNotFromClient,
        Offence::AuthNotFromClient,
        Offence::SecondConnect,
        Offence::TopicAliasAboveMaximum,
        Offence::TopicAliasUnknown,
        Offence::ReceiveMaximumExceeded,
        Offence::AckOfOtherExchange,
        Offence::SessionExpiryRaised,
        Offence::AuthOutOfTurn,
        Offence::AuthenticationMethodChanged,
    ];
    for offence in hostile::cases().into_iter().map(|case| case.offence).chain(with_state) {
        assert_eq!(offence.reason().value(), reason_value(offence), "{offence}");
        assert!(offence.reason().is_error() && !offence.to_string().contains('{'), "{offence}");
    }
}

/// Every property with a valid value.
fn properties() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for id in [0x01, 0x17, 0x19, 0x24, 0x25, 0x28, 0x29, 0x2A, 0x0B] {
        all.push(vec![id, 1]);
    }
    for id in [0x02, 0x11, 0x18, 0x27] {
        all.push(vec![id, 0, 0, 0, 9]);
    }
    for id in [0x13, 0x21, 0x22, 0x23] {
        all.push(vec![id, 0, 9]);
    }
    for id in [0x03, 0x08, 0x09, 0x12, 0x15, 0x16, 0x1A, 0x1C, 0x1F] {
        all.push([vec![id], field(b"text")].concat());
    }
    all.push([vec![0x26], field(b"name"), field(b"value")].concat());
    all
}

/// Which packets carry which property (2.2.2.2); user properties go everywhere.
fn is_allowed(id: u8, carrier: &str) -> bool {
    let carriers: &[&str] = match id {
        0x01 | 0x02 | 0x03 | 0x08 | 0x09 => &["PUBLISH", "Will"],
        0x0B => &["PUBLISH", "SUBSCRIBE"],
        0x11 => &["CONNECT", "CONNACK", "DISCONNECT"],
        0x12 | 0x13 | 0x1A | 0x24 | 0x25 | 0x28 | 0x29 | 0x2A => &["CONNACK"],
        0x15 | 0x16 => &["CONNECT", "CONNACK", "AUTH"],
        0x17 | 0x19 => &["CONNECT"],
        0x18 => &["Will"],
        0x1C => &["CONNACK", "DISCONNECT"],
        0x1F => {
            &["CONNACK", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP", "SUBACK", "UNSUBACK", "DISCONNECT", "AUTH"]
        }
        0x21 | 0x22 | 0x27 => &["CONNECT", "CONNACK"],
        0x23 => &["PUBLISH"],
        0x26 => return true,
        other => panic!("no property {other}"),
    };
    carriers.contains(&carrier)
}

/// What has to stand beside a property for the packet to be right: a method.
fn beside(id: u8, carrier: &str) -> &'static [u8] {
    match (id, carrier) {
        (0x15, _) => b"",
        (0x16, "CONNECT" | "CONNACK") | (_, "AUTH") => b"\x15\0\x01m",
        _ => b"",
    }
}

#[test]
fn each_packet_carries_its_properties_and_no_others() {
    let all = properties();
    assert_eq!(all.len(), 27);
    for carrier in carriers() {
        for property in &all {
            let (name, id) = (carrier.0, property[0]);
            let beside = beside(id, name);
            let once = judge(V5, &carry(&carrier, &[beside, property].concat()));
            let twice = judge(V5, &carry(&carrier, &[beside, property, property].concat()));
            if !is_allowed(id, name) {
                assert_eq!(once, Err(Offence::PropertyNotAllowed { id }), "{name} {id:02x}");
            } else if id == 0x26 || (id == 0x0B && name == "PUBLISH") {
                assert!(once.is_ok() && twice.is_ok(), "{name} {id:02x}");
            } else {
                assert!(once.is_ok(), "{name} {id:02x}: {once:?}");
                assert_eq!(twice, Err(Offence::PropertyDuplicate { id }), "{name} {id:02x}");
            }
        }
    }
}

#[test]
fn each_packet_carries_its_reason_codes_and_no_others() {
    let tables: [(u8, &[u8]); 9] = [
        (
            0x20,
            &[
                0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C, 0x90, 0x95,
                0x97, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9F,
            ],
        ),
        (0x40, &[0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99]),
        (0x50, &[0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99]),
        (0x62, &[0x00, 0x92]),
        (0x70, &[0x00, 0x92]),
        (0x90, &[0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2]),
        (0xB0, &[0x00, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91]),
        (
            0xE0,
            &[
                0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8C, 0x8D, 0x8E, 0x8F, 0x90, 0x93,
                0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0, 0xA1, 0xA2,
            ],
        ),
        (0xF0, &[0x00, 0x18, 0x19]),
    ];
    for (first_byte, table) in tables {
        for code in 0..=u8::MAX {
            let body = match first_byte {
                0x20 => vec![0, code, 0],
                0x90 | 0xB0 => vec![0, 1, 0, code],
                0xE0 => vec![code],
                0xF0 => [&[code], &b"\x04\x15\0\x01m"[..]].concat(),
                _ => vec![0, 1, code],
            };
            let result = judge(V5, &packet(first_byte, &body));
            if table.contains(&code) {
                let mut out = BytesMut::new();
                result.unwrap().encode(V5, &mut out).unwrap();
            } else {
                assert_eq!(result, Err(Offence::ReasonCodeInvalid { code }), "{first_byte:02x} {code:02x}");
            }
        }
    }
    for code in 0..=u8::MAX {
        assert_eq!(
            ReasonCode::from_value(code).map(ReasonCode::value),
            ReasonCode::from_value(code).map(|_| code)
        );
        let back = ReasonCode::from_connack_return_code(code).map(ReasonCode::connack_return_code);
        assert_eq!(back, (code <= 5).then_some(Some(code)));
    }
    assert!(ReasonCode::ALL.is_sorted() && ReasonCode::ALL.len() == 43);
}

#[test]
fn direction_is_the_callers_to_check() {
    let check = |wire: &[u8]| judge(V5, wire).unwrap().check_from_client();
    for (wire, kind) in [
        (packet(0x20, &[0, 0, 0]), PacketKind::ConnAck),
        (packet(0x90, &[0, 1, 0, 0]), PacketKind::SubAck),
        (packet(0xB0, &[0, 1, 0, 0]), PacketKind::UnsubAck),
        (packet(0xD0, &[]), PacketKind::PingResp),
    ] {
        assert_eq!(check(&wire), Err(Offence::NotFromClient { kind }));
    }
    let with_id = packet(0x30, b"\0\x01t\x02\x0b\x01");
    assert_eq!(check(&with_id), Err(Offence::SubscriptionIdFromClient));
    assert_eq!(check(&packet(0xE0, &[0x8E])), Err(Offence::DisconnectNotFromClient));
    assert_eq!(check(&packet(0xE0, b"\0\x04\x1c\0\x01s")), Err(Offence::DisconnectNotFromClient));
    assert_eq!(check(&packet(0xF0, b"\0\x04\x15\0\x01m")), Err(Offence::AuthNotFromClient));
    for code in [0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99] {
        assert_eq!(check(&packet(0xE0, &[code])), Ok(()));
    }
}

#[test]
fn only_connect_may_come_first() {
    let limits = Limits::DEFAULT;
    for first_byte in [0x20, 0x30, 0x40, 0x50, 0x62, 0x70, 0x82, 0x90, 0xA2, 0xB0, 0xC0, 0xD0, 0xE0, 0xF0] {
        let refused = decode_connect(first_byte, Bytes::new(), &limits);
        assert_eq!(refused.err(), Some(Offence::FirstPacketNotConnect));
    }
    assert_eq!(decode_connect(0x00, Bytes::new(), &limits).err(), Some(Offence::PacketTypeReserved));
    // The version is known though the rest of the packet is refused, so that CONNACK can say why.
    let body = Bytes::from_static(b"\0\x04MQTT\x05\x03\0\0\0\0\0");
    assert_eq!(connect_version(&body), Some(V5));
    assert_eq!(decode_connect(0x10, body, &limits).err(), Some(Offence::ConnectFlagReserved));
    assert_eq!(connect_version(b"\0\x04MQTT\x06"), None);
}

#[test]
fn what_is_allowed_although_it_looks_wrong() {
    // 5.0 lets a password stand alone, 3.1 lets flagged fields be missing at the end.
    let alone = judge(V5, &hostile::connect(b"MQTT", 5, 0x42, b"\0\0\x01c\0\x01p"));
    let Ok(Packet::Connect(connect)) = alone else { panic!() };
    assert_eq!((connect.user_name, connect.password), (None, Some(Bytes::from_static(b"p"))));
    let missing = judge(V5, &hostile::connect(b"MQIsdp", 3, 0xC2, b"\0\x01c"));
    let Ok(Packet::Connect(connect)) = missing else { panic!() };
    assert_eq!((connect.user_name, connect.password), (None, None));
    // A byte order mark is data.
    let Ok(Packet::Publish(publish)) = judge(V3_1_1, &packet(0x30, b"\0\x04\xef\xbb\xbft")) else { panic!() };
    assert_eq!(publish.topic, "\u{feff}t");
    // No Local on what only looks like a shared filter; an empty topic with an alias.
    assert!(judge(V5, &packet(0x82, b"\0\x01\0\0\x06$sharex\x04")).is_err());
    assert!(judge(V5, &packet(0x82, b"\0\x01\0\0\x07$sharex\x04")).is_ok());
    assert!(judge(V5, &packet(0x30, b"\0\0\x03\x23\0\x01")).is_ok());
    // An empty client identifier, with and without clean start: policy is the caller's.
    assert!(judge(V5, &hostile::connect(b"MQTT", 4, 0, b"\0\0")).is_ok());
    assert!(judge(V5, &hostile::connect(b"MQTT", 5, 0, b"\0\0\0")).is_ok());
}

#[test]
fn passwords_do_not_show_in_logs() {
    let wire = hostile::connect(b"MQTT", 4, 0xC2, b"\0\x01c\0\x01u\0\x06secret");
    assert!(!format!("{:?}", judge(V3_1_1, &wire)).contains("secret"));
}
