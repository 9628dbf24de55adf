//! What holds for every packet and every input: encoding is undone by decoding, a stream may be
//! split anywhere, no limit of the peer is exceeded, and no bytes make the codec panic.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "test code: a panic is how a test fails"
)]

use core::num::{NonZeroU16, NonZeroU32};

use bytes::{Buf, Bytes, BytesMut};
use mqtt_codec::*;
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;

fn text() -> impl Strategy<Value = Text> {
    vec(any::<char>().prop_filter("no U+0000", |c| *c != '\0'), 0..12)
        .prop_map(|chars| Text::try_from(chars.into_iter().collect::<String>()).unwrap())
}

fn topic() -> impl Strategy<Value = Text> {
    let level = prop_oneof![Just('/'), any::<char>()];
    vec(level.prop_filter("no wildcard", |c| !['\0', '+', '#'].contains(c)), 1..20)
        .prop_map(|chars| Text::try_from(chars.into_iter().collect::<String>()).unwrap())
}

/// Payloads and binary fields, now and then longer than one or two bytes of length can tell.
fn binary() -> impl Strategy<Value = Bytes> {
    let len = prop_oneof![8 => 0..40_usize, 1 => 120..140_usize, 1 => 16_300..16_400_usize];
    (len, any::<u8>()).prop_map(|(len, byte)| Bytes::from(vec![byte; len]))
}

fn user_properties() -> impl Strategy<Value = UserProperties> {
    vec((text(), text()), 0..4)
        .prop_map(|pairs| UserProperties::from_pairs(pairs.iter().map(|(name, value)| (name, value))))
}

fn application() -> impl Strategy<Value = Bytes> {
    let single = (of(any::<bool>()), of(text()), of(topic()), of(binary()));
    (single, vec((text(), text()), 0..4)).prop_map(|((format, content, response, correlation), user)| {
        let single = [
            format.map(Property::PayloadFormatIndicator),
            content.as_ref().map(|text| Property::ContentType(text.as_str())),
            response.as_ref().map(|text| Property::ResponseTopic(text.as_str())),
            correlation.as_ref().map(|data| Property::CorrelationData(data)),
        ];
        let user = user.iter().map(|(name, value)| Property::UserProperty(name.as_str(), value.as_str()));
        let properties: Vec<_> = single.into_iter().flatten().chain(user).collect();
        let raw = ApplicationProperties::build(&properties).unwrap();
        assert_eq!(ApplicationProperties::new(&raw).collect::<Vec<_>>(), properties);
        raw
    })
}

fn packet_id() -> impl Strategy<Value = PacketId> {
    any::<NonZeroU16>().prop_map(PacketId::from)
}

fn qos() -> impl Strategy<Value = QoS> {
    (0..3_u8).prop_map(|bits| QoS::try_from(bits).unwrap())
}

fn reason(kind: PacketKind) -> impl Strategy<Value = ReasonCode> {
    let listed: Vec<_> = ReasonCode::ALL.iter().copied().filter(|code| code.is_allowed_in(kind)).collect();
    prop::sample::select(listed)
}

fn will() -> impl Strategy<Value = Will> {
    (topic(), binary(), qos(), any::<bool>(), any::<u32>(), of(any::<u32>()), application()).prop_map(
        |(topic, payload, qos, retain, delay_interval_s, message_expiry_s, application)| Will {
            topic,
            payload,
            qos,
            retain,
            delay_interval_s,
            message_expiry_s,
            application,
        },
    )
}

fn connect() -> impl Strategy<Value = Connect> {
    let payload = (text(), of(will()), of(text()), of(binary()));
    let numbers = (of(any::<u32>()), of(any::<NonZeroU16>()), of(any::<NonZeroU32>()), any::<u16>());
    let others = (any::<[bool; 3]>(), any::<u16>(), of((text(), of(binary()))), user_properties());
    (payload, numbers, others).prop_map(|(payload, numbers, (switches, keep_alive_s, method, user))| {
        let (client_id, will, user_name, password) = payload;
        let (session_expiry_s, receive_maximum, maximum_packet_size, topic_alias_maximum) = numbers;
        let (authentication_method, authentication_data) = method.unzip();
        let [clean_start, request_response_information, request_problem_information] = switches;
        Connect {
            version: Version::V5,
            clean_start,
            keep_alive_s,
            client_id,
            will,
            user_name,
            password,
            session_expiry_s,
            receive_maximum,
            maximum_packet_size,
            topic_alias_maximum,
            request_response_information,
            request_problem_information,
            authentication_method,
            authentication_data: authentication_data.flatten(),
            user_properties: user,
        }
    })
}

fn connack() -> impl Strategy<Value = ConnAck> {
    let numbers = (of(any::<u32>()), of(any::<NonZeroU16>()), of(any::<NonZeroU32>()), any::<u16>());
    let texts = (of(text()), of(text()), of(text()), of(text()), of((text(), of(binary()))));
    let others = (any::<[bool; 5]>(), qos(), of(any::<u16>()), user_properties());
    (reason(PacketKind::ConnAck), numbers, texts, others).prop_map(|(reason, numbers, texts, others)| {
        let (session_expiry_s, receive_maximum, maximum_packet_size, topic_alias_maximum) = numbers;
        let (assigned_client_id, reason_string, response_information, server_reference, method) = texts;
        let ([present, retain, wildcard, identifiers, shared], maximum_qos, keep_alive, user) = others;
        let (authentication_method, authentication_data) = method.unzip();
        let properties = ConnAckProperties {
            session_expiry_s,
            receive_maximum,
            maximum_qos,
            retain_available: retain,
            maximum_packet_size,
            assigned_client_id,
            topic_alias_maximum,
            reason_string,
            user_properties: user,
            wildcard_subscription_available: wildcard,
            subscription_identifiers_available: identifiers,
            shared_subscription_available: shared,
            server_keep_alive_s: keep_alive,
            response_information,
            server_reference,
            authentication_method,
            authentication_data: authentication_data.flatten(),
        };
        ConnAck { session_present: present && reason == ReasonCode::Success, reason, properties }
    })
}

fn publish() -> impl Strategy<Value = Publish> {
    let ids = vec(1..=268_435_455_u32, 0..4);
    let flags = (any::<bool>(), qos(), any::<bool>(), packet_id());
    (flags, topic(), of(any::<NonZeroU16>()), of(any::<u32>()), ids, application(), binary()).prop_map(
        |(flags, topic, topic_alias, message_expiry_s, subscription_ids, application, payload)| {
            let (dup, qos, retain, packet_id) = flags;
            Publish {
                dup: dup && qos > QoS::AtMostOnce,
                qos,
                retain,
                topic,
                packet_id: (qos > QoS::AtMostOnce).then_some(packet_id),
                topic_alias,
                message_expiry_s,
                subscription_ids,
                application,
                payload,
            }
        },
    )
}

macro_rules! ack {
    ($name:ident) => {
        (packet_id(), reason(PacketKind::$name), of(text()), user_properties()).prop_map(
            |(packet_id, reason, reason_string, user_properties)| {
                Packet::$name($name { packet_id, reason, reason_string, user_properties })
            },
        )
    };
}

macro_rules! ack_of_list {
    ($name:ident) => {
        (packet_id(), vec(reason(PacketKind::$name), 1..5), of(text()), user_properties()).prop_map(
            |(packet_id, codes, reason_string, user_properties)| {
                Packet::$name($name { packet_id, codes, reason_string, user_properties })
            },
        )
    };
}

fn options() -> impl Strategy<Value = SubscriptionOptions> {
    let handling = [RetainHandling::Send, RetainHandling::SendIfNew, RetainHandling::DoNotSend];
    (qos(), any::<[bool; 2]>(), prop::sample::select(handling.to_vec())).prop_map(
        |(qos, [no_local, retain_as_published], retain_handling)| SubscriptionOptions {
            qos,
            no_local,
            retain_as_published,
            retain_handling,
        },
    )
}

fn subscribe() -> impl Strategy<Value = Subscribe> {
    let filter = (text(), options()).prop_map(|(filter, options)| SubscribeFilter { filter, options });
    (packet_id(), of(1..=268_435_455_u32), user_properties(), vec(filter, 1..5)).prop_map(
        |(packet_id, subscription_id, user_properties, filters)| Subscribe {
            packet_id,
            subscription_id,
            user_properties,
            filters,
        },
    )
}

fn disconnect() -> impl Strategy<Value = Disconnect> {
    (reason(PacketKind::Disconnect), of(any::<u32>()), of(text()), of(text()), user_properties()).prop_map(
        |(reason, session_expiry_s, reason_string, server_reference, user_properties)| Disconnect {
            reason,
            session_expiry_s,
            reason_string,
            server_reference,
            user_properties,
        },
    )
}

fn auth() -> impl Strategy<Value = Auth> {
    (reason(PacketKind::Auth), text(), of(binary()), of(text()), user_properties()).prop_map(
        |(reason, method, authentication_data, reason_string, user_properties)| Auth {
            reason,
            authentication_method: Some(method),
            authentication_data,
            reason_string,
            user_properties,
        },
    )
}

/// Any packet of 5.0.
fn packet() -> impl Strategy<Value = Packet> {
    let unsubscribe = (packet_id(), user_properties(), vec(text(), 1..5)).prop_map(
        |(packet_id, user_properties, filters)| {
            Packet::Unsubscribe(Unsubscribe { packet_id, user_properties, filters })
        },
    );
    prop_oneof![
        connect().prop_map(|packet| Packet::Connect(Box::new(packet))),
        connack().prop_map(|packet| Packet::ConnAck(Box::new(packet))),
        publish().prop_map(Packet::Publish),
        publish().prop_map(Packet::Publish),
        ack!(PubAck),
        ack!(PubRec),
        ack!(PubRel),
        ack!(PubComp),
        subscribe().prop_map(Packet::Subscribe),
        ack_of_list!(SubAck),
        unsubscribe,
        ack_of_list!(UnsubAck),
        Just(Packet::PingReq),
        Just(Packet::PingResp),
        disconnect().prop_map(Packet::Disconnect),
        prop_oneof![auth(), Just(Auth::default())].prop_map(Packet::Auth),
    ]
}

fn version() -> impl Strategy<Value = Version> {
    prop::sample::select(Version::ALL.to_vec())
}

/// What a version can say of a packet: `None` where it has no such packet.
fn in_version(version: Version, packet: Packet) -> Option<Packet> {
    if version.is_v5() {
        return Some(packet);
    }
    let none = UserProperties::default;
    Some(match packet {
        Packet::Connect(old) => {
            let user_name = old.user_name.clone();
            let password = old.password.clone().filter(|_| user_name.is_some());
            let (clean_start, keep_alive_s, client_id) =
                (old.clean_start, old.keep_alive_s, old.client_id.clone());
            let will = old.will.map(|will| Will {
                delay_interval_s: 0,
                message_expiry_s: None,
                application: Bytes::new(),
                ..will
            });
            Packet::Connect(Box::new(Connect {
                version,
                clean_start,
                keep_alive_s,
                client_id,
                will,
                user_name,
                password,
                ..Connect::default()
            }))
        }
        Packet::ConnAck(old) => {
            let code = old.reason.connack_return_code()?;
            let reason = ReasonCode::from_connack_return_code(code)?;
            let session_present = old.session_present && version == Version::V3_1_1;
            Packet::ConnAck(Box::new(ConnAck { session_present, reason, ..ConnAck::default() }))
        }
        Packet::Publish(old) => Packet::Publish(Publish {
            topic_alias: None,
            message_expiry_s: None,
            subscription_ids: Vec::new(),
            application: Bytes::new(),
            ..old
        }),
        Packet::PubAck(old) => Packet::PubAck(PubAck::new(old.packet_id, ReasonCode::Success)),
        Packet::PubRec(old) => Packet::PubRec(PubRec::new(old.packet_id, ReasonCode::Success)),
        Packet::PubRel(old) => Packet::PubRel(PubRel::new(old.packet_id, ReasonCode::Success)),
        Packet::PubComp(old) => Packet::PubComp(PubComp::new(old.packet_id, ReasonCode::Success)),
        Packet::Subscribe(old) => {
            let plain = |old: SubscribeFilter| SubscribeFilter {
                options: SubscriptionOptions { qos: old.options.qos, ..SubscriptionOptions::default() },
                ..old
            };
            let filters = old.filters.into_iter().map(plain).collect();
            Packet::Subscribe(Subscribe { subscription_id: None, user_properties: none(), filters, ..old })
        }
        Packet::SubAck(old) => {
            let code = |code: ReasonCode| if code.is_error() { ReasonCode::UnspecifiedError } else { code };
            let codes = old.codes.into_iter().map(code).collect();
            Packet::SubAck(SubAck { codes, reason_string: None, user_properties: none(), ..old })
        }
        Packet::Unsubscribe(old) => Packet::Unsubscribe(Unsubscribe { user_properties: none(), ..old }),
        Packet::UnsubAck(old) => Packet::UnsubAck(UnsubAck {
            codes: Vec::new(),
            reason_string: None,
            user_properties: none(),
            ..old
        }),
        Packet::Disconnect(_) => Packet::Disconnect(Disconnect::default()),
        Packet::Auth(_) => return None,
        ping => ping,
    })
}

fn encoded(version: Version, packet: &Packet) -> BytesMut {
    let mut out = BytesMut::new();
    packet.encode(version, &mut out).unwrap();
    out
}

fn take(version: Version, input: &mut BytesMut) -> Result<Option<Packet>, Offence> {
    let limits = Limits::NONE;
    frame::take(input, &limits)?.map(|(first, body)| decode(version, first, body, &limits)).transpose()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn decoding_undoes_encoding(version in version(), packet in packet()) {
        // Also where the packet says more than the version: the rest is not written.
        let said = match packet {
            Packet::Connect(connect) => Packet::Connect(Box::new(Connect {
                version,
                password: connect.password.clone().filter(|_| version.is_v5() || connect.user_name.is_some()),
                ..*connect
            })),
            other => other,
        };
        let mut out = BytesMut::new();
        let result = said.encode(version, &mut out);
        match in_version(version, said) {
            Some(expected) => {
                prop_assert_eq!(result, Ok(()));
                prop_assert_eq!(take(version, &mut out), Ok(Some(expected)));
            }
            None => prop_assert!(result.is_err()),
        }
        prop_assert!(out.is_empty());
    }

    #[test]
    fn a_stream_may_be_split_anywhere(
        version in version(),
        packets in vec(packet(), 1..6),
        pieces in vec(1..200_usize, 1..40),
    ) {
        let packets: Vec<_> = packets.into_iter().filter_map(|packet| in_version(version, packet)).collect();
        let mut stream: BytesMut = packets.iter().flat_map(|packet| encoded(version, packet)).collect();
        let mut input = BytesMut::new();
        let mut found = Vec::new();
        let mut pieces = pieces.into_iter().cycle();
        while !stream.is_empty() {
            let piece = pieces.next().unwrap_or(1).min(stream.len());
            input.extend_from_slice(&stream.split_to(piece));
            while let Some(packet) = take(version, &mut input)? {
                found.push(packet);
            }
        }
        prop_assert_eq!(found, packets);
        prop_assert!(input.is_empty());
    }

    #[test]
    fn no_limit_of_the_peer_is_exceeded(packet in packet(), max in 2..300_u32) {
        let full = encoded(Version::V5, &packet);
        let mut out = BytesMut::from(&b"before"[..]);
        match packet.encode_within(Version::V5, Some(max), &mut out) {
            Ok(()) => {
                out.advance(6);
                prop_assert!(out.len() <= max as usize);
                prop_assert_eq!(out.len() == full.len(), full.len() <= max as usize);
                let shorter = take(Version::V5, &mut out)?.unwrap();
                prop_assert_eq!(shorter.kind(), packet.kind());
            }
            Err(error) => {
                prop_assert_eq!(error, EncodeError::PacketTooLarge);
                prop_assert!(full.len() > max as usize);
                prop_assert_eq!(&out[..], b"before");
            }
        }
    }

    #[test]
    fn sharing_a_publish_writes_the_same(version in version(), publish in publish(), sent in any::<bool>()) {
        let mut publish = publish;
        let shared = SharedPublish::new(&publish.topic, &publish.application, &publish.payload);
        prop_assert_eq!(shared.topic(), publish.topic.as_bytes());
        prop_assert_eq!(&shared.topic_text(), &publish.topic);
        prop_assert_eq!(shared.application(), &publish.application[..]);
        prop_assert_eq!(shared.payload(), &publish.payload[..]);
        prop_assert_eq!(&shared.payload_bytes(), &publish.payload);
        let size = publish.topic.len() + publish.application.len() + publish.payload.len();
        // And the length of the properties.
        prop_assert!((size + 1..=size + 4).contains(&shared.size()));
        let subscription_ids = publish.subscription_ids.clone();
        let header = PublishHeader {
            dup: publish.dup,
            qos: publish.qos,
            retain: publish.retain,
            packet_id: publish.packet_id,
            topic_alias: publish.topic_alias.map(|alias| (alias, sent)),
            message_expiry_s: publish.message_expiry_s,
            subscription_ids: &subscription_ids,
        };
        if version.is_v5() && publish.topic_alias.is_some() && !sent {
            publish.topic = Text::default();
        }
        let mut out = BytesMut::new();
        if let Some(large) = shared.encode(version, &header, &mut out) {
            prop_assert!(large.len() > SMALL_PAYLOAD_BYTES_MAX);
            out.extend_from_slice(&large);
        }
        prop_assert_eq!(out.len(), shared.encoded_len(version, &header));
        prop_assert_eq!(out, encoded(version, &Packet::Publish(publish)));
    }

    #[test]
    fn no_input_panics(version in version(), first in any::<u8>(), body in vec(any::<u8>(), 0..64)) {
        let body = Bytes::from(body);
        let _ = decode(version, first, body.clone(), &Limits::DEFAULT);
        let _ = decode_connect(0x10, body.clone(), &Limits::DEFAULT);
        let _ = connect_version(&body);
        let _ = ApplicationProperties::check(&body, &Limits::DEFAULT);
        let _ = ApplicationProperties::new(&body).count();
        let _ = take(version, &mut BytesMut::from(&body[..]));
    }

    #[test]
    fn no_change_of_a_packet_panics(
        version in version(),
        packet in packet(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let Some(packet) = in_version(version, packet) else { return Ok(()) };
        let mut wire = encoded(version, &packet);
        for (at, byte) in changes {
            let at = at.index(wire.len());
            wire[at] = byte;
        }
        // What is still a packet says the same when it is written again.
        if let Ok(Some(packet)) = take(version, &mut wire) {
            let version = if let Packet::Connect(connect) = &packet { connect.version } else { version };
            prop_assert_eq!(take(version, &mut encoded(version, &packet)), Ok(Some(packet)));
        }
    }

    #[test]
    fn frames_agree_with_what_is_written(len in 0..300_000_usize) {
        let publish = Publish { topic: Text::from_static("t"), payload: vec![0; len].into(), ..Publish::default() };
        let wire = encoded(Version::V3_1_1, &Packet::Publish(publish));
        let frame = frame::peek(&wire[..5], &Limits::DEFAULT).unwrap().unwrap();
        prop_assert_eq!(frame.packet_len(), wire.len());
        prop_assert_eq!(frame::peek(&wire[..frame.header_len - 1], &Limits::DEFAULT), Ok(None));
    }
}
