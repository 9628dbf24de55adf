//! Packets against the protocol, each with the offence that it is.
//! Judged one by one by `tests/offences.rs`, and seeds of the corpus of `tests/corpus.rs`.

use mqtt_codec::{Limits, Offence, PacketKind, Version};

/// A packet and the offence that decoding it must find.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) version: Version,
    pub(crate) wire: Vec<u8>,
    #[allow(dead_code)] // the corpus takes the bytes alone
    pub(crate) offence: Offence,
}

pub(crate) use Version::{V3_1, V3_1_1, V5};

/// A packet with a body: up to 65,535 bytes and more, so the length is written in full.
pub(crate) fn packet(first_byte: u8, body: &[u8]) -> Vec<u8> {
    let mut wire = vec![first_byte];
    let mut rest = body.len();
    loop {
        let low = (rest % 128) as u8;
        rest /= 128;
        if rest == 0 {
            wire.push(low);
            break;
        }
        wire.push(low | 0x80);
    }
    wire.extend_from_slice(body);
    wire
}

/// A string or binary field.
pub(crate) fn field(bytes: &[u8]) -> Vec<u8> {
    let mut field = (bytes.len() as u16).to_be_bytes().to_vec();
    field.extend_from_slice(bytes);
    field
}

/// A block of properties of fewer than 128 bytes, or of fewer than 16,384.
pub(crate) fn block(properties: &[u8]) -> Vec<u8> {
    packet(0, properties).split_off(1)
}

/// A CONNECT: name, level, flags, and what follows the keep alive.
pub(crate) fn connect(name: &[u8], level: u8, flags: u8, rest: &[u8]) -> Vec<u8> {
    packet(0x10, &[&field(name)[..], &[level, flags, 0, 60], rest].concat())
}

/// Packets that can carry properties, by what stands before and behind the block.
pub(crate) fn carriers() -> Vec<(&'static str, u8, Vec<u8>, Vec<u8>)> {
    let start = |flags: u8| [&field(b"MQTT")[..], &[5, flags, 0, 60]].concat();
    vec![
        ("CONNECT", 0x10, start(2), field(b"c")),
        ("Will", 0x10, [start(6), vec![0], field(b"c")].concat(), [field(b"t"), field(b"m")].concat()),
        ("CONNACK", 0x20, vec![0, 0], vec![]),
        ("PUBLISH", 0x32, [field(b"t"), vec![0, 1]].concat(), b"payload".to_vec()),
        ("PUBACK", 0x40, vec![0, 1, 0], vec![]),
        ("PUBREC", 0x50, vec![0, 1, 0], vec![]),
        ("PUBREL", 0x62, vec![0, 1, 0], vec![]),
        ("PUBCOMP", 0x70, vec![0, 1, 0], vec![]),
        ("SUBSCRIBE", 0x82, vec![0, 1], [field(b"f"), vec![0]].concat()),
        ("SUBACK", 0x90, vec![0, 1], vec![0]),
        ("UNSUBSCRIBE", 0xA2, vec![0, 1], field(b"f")),
        ("UNSUBACK", 0xB0, vec![0, 1], vec![0]),
        ("DISCONNECT", 0xE0, vec![0], vec![]),
        ("AUTH", 0xF0, vec![0x18], vec![]),
    ]
}

/// A packet of a carrier with these properties.
pub(crate) fn carry(carrier: &(&str, u8, Vec<u8>, Vec<u8>), properties: &[u8]) -> Vec<u8> {
    let (_, first_byte, before, behind) = carrier;
    packet(*first_byte, &[&before[..], &block(properties), behind].concat())
}

fn frames() -> Vec<(&'static str, Version, Vec<u8>, Offence)> {
    let max = Limits::DEFAULT.packet_bytes_max;
    vec![
        (
            "B4 length of five bytes",
            V5,
            vec![0x10, 0xFF, 0xFF, 0xFF, 0xFF, 1],
            Offence::RemainingLengthMalformed,
        ),
        ("B4 length not minimal", V3_1_1, vec![0xC0, 0x80, 0], Offence::RemainingLengthMalformed),
        (
            "B4 length not minimal in four",
            V5,
            vec![0x30, 0x85, 0x80, 0x80, 0],
            Offence::RemainingLengthMalformed,
        ),
        (
            "B5 largest length",
            V5,
            vec![0x10, 0xFF, 0xFF, 0xFF, 0x7F],
            Offence::PacketTooLarge { bytes: 268_435_460, max },
        ),
        (
            "B5 just too large",
            V5,
            vec![0x30, 0xFD, 0xFF, 0x3F],
            Offence::PacketTooLarge { bytes: max + 1, max },
        ),
        ("B6 short puback", V3_1_1, packet(0x40, &[0]), Offence::BodyTooShort),
        ("B6 long puback", V3_1_1, packet(0x40, &[0, 1, 0]), Offence::TrailingBytes),
        ("B6 long puback", V5, packet(0x40, &[0, 1, 0, 0, 0]), Offence::TrailingBytes),
        ("B6 long pingreq", V5, packet(0xC0, &[0]), Offence::TrailingBytes),
        ("B6 long pingresp", V3_1_1, packet(0xD0, &[0]), Offence::TrailingBytes),
        ("B6 short topic", V5, packet(0x30, b"\0\x05abcd"), Offence::BodyTooShort),
        ("B6 no packet id", V3_1_1, packet(0x32, b"\0\x01a\0"), Offence::BodyTooShort),
        ("B6 no properties", V5, packet(0x30, b"\0\x01a"), Offence::BodyTooShort),
        ("B6 no options", V3_1_1, packet(0x82, b"\0\x01\0\x01f"), Offence::BodyTooShort),
        ("B6 short filter", V5, packet(0xA2, b"\0\x01\0\0\x02f"), Offence::BodyTooShort),
        ("B6 long unsuback", V3_1_1, packet(0xB0, b"\0\x01\0"), Offence::TrailingBytes),
        ("B6 no suback code", V5, packet(0x90, b"\0\x01\0"), Offence::ReasonCodesMissing),
        ("B6 no unsuback code", V5, packet(0xB0, b"\0\x01\0"), Offence::ReasonCodesMissing),
        ("B24 QoS 3", V3_1_1, packet(0x36, b"\0\x01a\0\x01"), Offence::QoSInvalid),
        ("B24 DUP at QoS 0", V5, packet(0x38, b"\0\x01a\0"), Offence::DupAtQoS0),
    ]
}

fn connects() -> Vec<(&'static str, Version, Vec<u8>, Offence)> {
    let id = field(b"c");
    let unsupported = |level, answer| Offence::UnsupportedProtocolVersion { level, answer };
    let strings = |n| (0..n).flat_map(|_| field(b"s")).collect::<Vec<u8>>();
    let long_id = field(&[b'x'; 1025]);
    vec![
        (
            "B6 long connect",
            V3_1_1,
            connect(b"MQTT", 4, 2, &[&id[..], &[0]].concat()),
            Offence::TrailingBytes,
        ),
        ("B8 lower case", V3_1_1, connect(b"mqtt", 4, 2, &id), Offence::ProtocolNameInvalid),
        ("B8 empty name", V5, connect(b"", 5, 2, &id), Offence::ProtocolNameInvalid),
        ("B8 long name", V5, connect(&[b'M'; 65_535], 5, 2, &id), Offence::ProtocolNameInvalid),
        ("B9 MQIsdp 4", V3_1, connect(b"MQIsdp", 4, 2, &id), unsupported(4, V3_1_1)),
        ("B9 MQIsdp 5", V3_1, connect(b"MQIsdp", 5, 2, &id), unsupported(5, V3_1_1)),
        ("B9 MQTT 0", V3_1_1, connect(b"MQTT", 0, 2, &id), unsupported(0, V3_1_1)),
        ("B9 MQTT 3", V3_1_1, connect(b"MQTT", 3, 2, &id), unsupported(3, V3_1_1)),
        ("B9 MQTT 6", V5, connect(b"MQTT", 6, 2, &id), unsupported(6, V5)),
        ("B9 MQTT 255", V5, connect(b"MQTT", 255, 2, &id), unsupported(255, V5)),
        ("B9 bridge of 3.1", V3_1, connect(b"MQIsdp", 0x83, 2, &id), unsupported(0x83, V3_1_1)),
        ("B9 bridge of 3.1.1", V3_1_1, connect(b"MQTT", 0x84, 2, &id), unsupported(0x84, V3_1_1)),
        ("B10 reserved flag", V3_1_1, connect(b"MQTT", 4, 3, &id), Offence::ConnectFlagReserved),
        ("B10 reserved flag", V5, connect(b"MQTT", 5, 3, &[0, 0, 1, b'c']), Offence::ConnectFlagReserved),
        ("B11 will QoS 3", V3_1_1, connect(b"MQTT", 4, 0x1E, &strings(3)), Offence::WillQoSInvalid),
        ("B11 QoS without will", V3_1_1, connect(b"MQTT", 4, 0x0A, &id), Offence::WillFlagMissing),
        ("B11 retain without will", V3_1, connect(b"MQIsdp", 3, 0x22, &id), Offence::WillFlagMissing),
        ("B11 will without topic", V3_1_1, connect(b"MQTT", 4, 0x06, &id), Offence::BodyTooShort),
        ("B11 will without payload", V3_1_1, connect(b"MQTT", 4, 0x06, &strings(2)), Offence::BodyTooShort),
        (
            "B12 no user name",
            V3_1_1,
            connect(b"MQTT", 4, 0x42, &strings(2)),
            Offence::PasswordWithoutUserName,
        ),
        (
            "B12 no user name",
            V3_1,
            connect(b"MQIsdp", 3, 0x42, &strings(2)),
            Offence::PasswordWithoutUserName,
        ),
        ("B14 long client id", V3_1_1, connect(b"MQTT", 4, 2, &long_id), Offence::ClientIdTooLong),
        (
            "B20 data without method",
            V5,
            connect(b"MQTT", 5, 2, b"\x04\x16\0\x01x\0\x01c"),
            Offence::AuthenticationDataWithoutMethod,
        ),
        ("B22 will topic empty", V3_1_1, connect(b"MQTT", 4, 6, b"\0\x01c\0\0\0\x01m"), Offence::TopicEmpty),
        (
            "B22 will topic #",
            V5,
            connect(b"MQTT", 5, 6, b"\0\0\x01c\0\0\x01#\0\x01m"),
            Offence::TopicWildcard,
        ),
        ("user name flag alone", V3_1_1, connect(b"MQTT", 4, 0x82, &id), Offence::BodyTooShort),
    ]
}

fn publishes() -> Vec<(&'static str, Version, Vec<u8>, Offence)> {
    let deep = [b'/'; 128];
    let with = |properties: &[u8]| packet(0x30, &[&field(b"t")[..], &block(properties)].concat());
    let many = with(&b"\x26\0\0\0\0".repeat(65));
    let large = with(&[&b"\x26\0\0"[..], &field(&[b'x'; 16_384])].concat());
    vec![
        ("B18 payload format 2", V5, with(&[1, 2]), Offence::PropertyValueInvalid { id: 1 }),
        ("B19 many user properties", V5, many, Offence::UserPropertiesTooMany),
        (
            "B19 60,000 user properties",
            V5,
            with(&b"\x26\0\x01a\0\x01b".repeat(60_000)),
            Offence::UserPropertiesTooMany,
        ),
        ("B19 large user properties", V5, large, Offence::UserPropertiesTooLarge),
        ("B22 no topic", V5, packet(0x30, b"\0\0\0"), Offence::TopicEmpty),
        ("B22 no topic", V3_1_1, packet(0x30, b"\0\0"), Offence::TopicEmpty),
        ("B22 topic +", V5, packet(0x30, b"\0\x03a/+\0"), Offence::TopicWildcard),
        ("B22 topic #", V3_1_1, packet(0x30, b"\0\x01#"), Offence::TopicWildcard),
        ("B22 topic NUL", V3_1_1, packet(0x30, b"\0\x03a\0+"), Offence::TextContainsNul),
        ("topic too deep", V3_1_1, packet(0x30, &field(&deep)), Offence::TopicTooDeep),
        ("B23 alias 0", V5, with(&[0x23, 0, 0]), Offence::TopicAliasZero),
        ("B25 packet id 0", V3_1_1, packet(0x32, b"\0\x01a\0\0"), Offence::PacketIdZero),
        ("B25 packet id 0", V5, packet(0x34, b"\0\x01a\0\0\0"), Offence::PacketIdZero),
        ("B32 subscription id 0", V5, with(&[0x0B, 0]), Offence::SubscriptionIdZero),
        ("B33 response topic empty", V5, with(b"\x08\0\0"), Offence::ResponseTopicInvalid),
        ("B33 response topic #", V5, with(b"\x08\0\x01#"), Offence::ResponseTopicInvalid),
        ("B33 response topic +", V5, with(b"\x08\0\x03+/a"), Offence::ResponseTopicInvalid),
        ("B16 length beyond", V5, packet(0x30, b"\0\x01t\x05\x01\x01"), Offence::PropertyLengthInvalid),
        ("B16 value beyond", V5, packet(0x30, b"\0\x01t\x01\x01\x01"), Offence::PropertyLengthInvalid),
        (
            "B16 length of five bytes",
            V5,
            packet(0x30, b"\0\x01t\xff\xff\xff\xff\x01"),
            Offence::VariableByteIntegerMalformed,
        ),
        ("B16 length not minimal", V5, packet(0x30, b"\0\x01t\x80\0"), Offence::VariableByteIntegerMalformed),
        ("B16 id not minimal", V5, with(&[0x81, 0, 1]), Offence::VariableByteIntegerMalformed),
        ("B16 id 0", V5, with(&[0, 0]), Offence::PropertyUnknown { id: 0 }),
        ("B16 id 4", V5, with(&[4, 0]), Offence::PropertyUnknown { id: 4 }),
        ("B16 id 43", V5, with(&[0x2B, 0]), Offence::PropertyUnknown { id: 0x2B }),
        ("B16 id 129", V5, with(&[0x81, 1]), Offence::PropertyUnknown { id: 129 }),
        ("B16 id 16384", V5, with(&[0x80, 0x80, 1]), Offence::PropertyUnknown { id: 16_384 }),
    ]
}

fn values_and_codes() -> Vec<(&'static str, Version, Vec<u8>, Offence)> {
    let invalid = |code| Offence::ReasonCodeInvalid { code };
    vec![
        (
            "B18 receive maximum 0",
            V5,
            connect(b"MQTT", 5, 2, b"\x03\x21\0\0\0\x01c"),
            Offence::PropertyValueInvalid { id: 0x21 },
        ),
        (
            "B18 packet size 0",
            V5,
            connect(b"MQTT", 5, 2, b"\x05\x27\0\0\0\0\0\x01c"),
            Offence::PropertyValueInvalid { id: 0x27 },
        ),
        (
            "B18 problem information 2",
            V5,
            connect(b"MQTT", 5, 2, b"\x02\x17\x02\0\x01c"),
            Offence::PropertyValueInvalid { id: 0x17 },
        ),
        (
            "B18 response information 2",
            V5,
            connect(b"MQTT", 5, 2, b"\x02\x19\x02\0\x01c"),
            Offence::PropertyValueInvalid { id: 0x19 },
        ),
        ("maximum QoS 2", V5, packet(0x20, b"\0\0\x02\x24\x02"), Offence::PropertyValueInvalid { id: 0x24 }),
        ("connack flags", V5, packet(0x20, b"\x02\0\0"), Offence::ConnAckFlagReserved),
        (
            "connack present and refused",
            V3_1_1,
            packet(0x20, b"\x01\x05"),
            Offence::SessionPresentWithFailure,
        ),
        ("connack code 6", V3_1_1, packet(0x20, b"\0\x06"), invalid(6)),
        ("suback code 0x87", V3_1_1, packet(0x90, b"\0\x01\x87"), invalid(0x87)),
        ("B21 no method", V5, packet(0xF0, b"\x18\0"), Offence::AuthenticationMethodMissing),
        ("B21 type 15", V3_1_1, packet(0xF0, b""), Offence::PacketTypeNotInVersion),
        ("B45 wrong code", V5, packet(0xE0, &[0x01]), invalid(1)),
        ("B45 code of CONNACK", V5, packet(0xE0, &[0x85]), invalid(0x85)),
        ("B45 trailing", V5, packet(0xE0, &[0, 0, 0]), Offence::TrailingBytes),
        ("B45 trailing", V3_1_1, packet(0xE0, &[0]), Offence::TrailingBytes),
    ]
}

fn identifiers_and_filters() -> Vec<(&'static str, Version, Vec<u8>, Offence)> {
    let reserved = Offence::SubscriptionOptionsReserved;
    vec![
        ("B25 puback 0", V3_1_1, packet(0x40, &[0, 0]), Offence::PacketIdZero),
        ("B25 pubrec 0", V5, packet(0x50, &[0, 0]), Offence::PacketIdZero),
        ("B25 pubrel 0", V5, packet(0x62, &[0, 0]), Offence::PacketIdZero),
        ("B25 pubcomp 0", V3_1_1, packet(0x70, &[0, 0]), Offence::PacketIdZero),
        ("B25 subscribe 0", V5, packet(0x82, b"\0\0\0\0\x01f\0"), Offence::PacketIdZero),
        ("B25 unsubscribe 0", V3_1_1, packet(0xA2, b"\0\0\0\x01f"), Offence::PacketIdZero),
        (
            "B32 subscription id 0",
            V5,
            packet(0x82, b"\0\x01\x02\x0b\0\0\x01f\0"),
            Offence::SubscriptionIdZero,
        ),
        ("B35 no filter", V5, packet(0x82, b"\0\x01\0"), Offence::FiltersMissing),
        ("B35 no filter", V3_1_1, packet(0x82, b"\0\x01"), Offence::FiltersMissing),
        ("B35 no filter", V5, packet(0xA2, b"\0\x01\0"), Offence::FiltersMissing),
        ("B35 no filter", V3_1_1, packet(0xA2, b"\0\x01"), Offence::FiltersMissing),
        ("B37 reserved bit 6", V5, packet(0x82, b"\0\x01\0\0\x01f\x40"), reserved),
        ("B37 reserved bit 7", V5, packet(0x82, b"\0\x01\0\0\x01f\x80"), reserved),
        ("B37 no local before 5.0", V3_1_1, packet(0x82, b"\0\x01\0\x01f\x04"), reserved),
        ("B37 QoS 3", V5, packet(0x82, b"\0\x01\0\0\x01f\x03"), Offence::SubscriptionQoSInvalid),
        ("B37 QoS 3", V3_1_1, packet(0x82, b"\0\x01\0\x01f\x03"), Offence::SubscriptionQoSInvalid),
        ("B37 retain handling 3", V5, packet(0x82, b"\0\x01\0\0\x01f\x30"), Offence::RetainHandlingInvalid),
        ("B37 no local shared", V5, packet(0x82, b"\0\x01\0\0\x0a$share/g/f\x04"), Offence::NoLocalOnShared),
        (
            "B40 too many filters",
            V3_1_1,
            packet(0xA2, &[&b"\0\x01"[..], &b"\0\0".repeat(16_385)].concat()),
            Offence::FiltersTooMany,
        ),
        (
            "B40 too many filters",
            V3_1_1,
            packet(0x82, &[&b"\0\x01"[..], &b"\0\0\0".repeat(16_385)].concat()),
            Offence::FiltersTooMany,
        ),
    ]
}

/// B7: every type with every set of flags but its own.
fn flags() -> Vec<Case> {
    let wrong = (0..=u8::MAX).filter(|byte| byte >> 4 != PacketKind::Publish as u8);
    wrong
        .filter(|byte| match byte >> 4 {
            6 | 8 | 10 => byte & 15 != 2,
            0 => true,
            _ => byte & 15 != 0,
        })
        .map(|first_byte| Case {
            name: format!("B7 flags {first_byte:02x}"),
            version: V5,
            wire: vec![first_byte],
            offence: match first_byte {
                0..16 => Offence::PacketTypeReserved,
                _ => Offence::FlagsInvalid { first_byte },
            },
        })
        .collect()
}

/// B15: every string field with every kind of bad string.
fn strings() -> Vec<Case> {
    let bad: [(&str, &[u8], Offence); 7] = [
        ("byte ff", b"\xff", Offence::TextNotUtf8),
        ("overlong NUL", b"\xc0\x80", Offence::TextNotUtf8),
        ("surrogate", b"a\xed\xa0\x80", Offence::TextNotUtf8),
        ("beyond Unicode", b"\xf4\x90\x80\x80", Offence::TextNotUtf8),
        ("cut short", b"a\xe2\x82", Offence::TextNotUtf8),
        ("NUL", b"\0", Offence::TextContainsNul),
        ("NUL inside", b"ab\0c", Offence::TextContainsNul),
    ];
    let mut cases = Vec::new();
    for (kind, bytes, offence) in bad {
        let bad = field(bytes);
        let ok = field(b"ok");
        let property = |id: u8| block(&[&[id], &bad[..]].concat());
        let user = |name: &[u8], value: &[u8]| block(&[&[0x26], name, value].concat());
        let mut add = |what: &str, version, wire| {
            cases.push(Case { name: format!("B15 {what}: {kind}"), version, wire, offence });
        };
        add("client id", V3_1_1, connect(b"MQTT", 4, 2, &bad));
        add("will topic", V3_1_1, connect(b"MQTT", 4, 6, &[&ok[..], &bad, &ok].concat()));
        add("user name", V3_1, connect(b"MQIsdp", 3, 0x82, &[&ok[..], &bad].concat()));
        add("method", V5, connect(b"MQTT", 5, 2, &[&property(0x15)[..], &ok].concat()));
        add("topic", V3_1_1, packet(0x30, &bad));
        add("content type", V5, packet(0x30, &[&ok[..], &property(0x03)].concat()));
        add("response topic", V5, packet(0x30, &[&ok[..], &property(0x08)].concat()));
        add("name", V5, packet(0x30, &[&ok[..], &user(&bad, &ok)].concat()));
        add("value", V5, packet(0x30, &[&ok[..], &user(&ok, &bad)].concat()));
        add("filter", V5, packet(0x82, &[&[0, 1, 0], &bad[..], &[0]].concat()));
        add("filter", V3_1_1, packet(0xA2, &[&[0, 1], &bad[..]].concat()));
        add("reason string", V5, packet(0x40, &[&[0, 1, 0], &property(0x1F)[..]].concat()));
        add("server reference", V5, packet(0xE0, &[&[0], &property(0x1C)[..]].concat()));
        add("assigned id", V5, packet(0x20, &[&[0, 0], &property(0x12)[..]].concat()));
        add("response information", V5, packet(0x20, &[&[0, 0], &property(0x1A)[..]].concat()));
    }
    cases
}

/// Every case of the table.
pub(crate) fn cases() -> Vec<Case> {
    let listed = [frames(), connects(), publishes(), values_and_codes(), identifiers_and_filters()]
        .into_iter()
        .flatten();
    let listed = listed.map(|(name, version, wire, offence)| Case {
        name: format!("{name} ({version})"),
        version,
        wire,
        offence,
    });
    listed.chain(flags()).chain(strings()).collect()
}
