//! What the encoder refuses to write, what it leaves out to fit, and what the small types refuse.

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

/// The error of encoding, which must leave the output as it was.
fn refusal(version: Version, packet: &Packet) -> EncodeError {
    let mut out = BytesMut::from(&b"before"[..]);
    let error = packet.encode(version, &mut out).unwrap_err();
    assert_eq!(&out[..], b"before");
    assert!(!error.to_string().is_empty());
    error
}

#[test]
fn each_error_of_encoding() {
    use EncodeError as E;
    let id = PacketId::MIN;
    let none = UserProperties::default;
    let connack = |reason| Packet::ConnAck(Box::new(ConnAck { reason, ..ConnAck::default() }));
    let publish = Publish { topic: text("t"), ..Publish::default() };
    let suback =
        |codes| Packet::SubAck(SubAck { packet_id: id, codes, reason_string: None, user_properties: none() });
    let subscribe = |subscription_id, filters| {
        Packet::Subscribe(Subscribe { packet_id: id, subscription_id, user_properties: none(), filters })
    };
    let filter = SubscribeFilter { filter: text("#"), options: SubscriptionOptions::default() };
    let long = Bytes::from(vec![0; FIELD_BYTES_MAX + 1]);
    let auth = Auth { reason: ReasonCode::ContinueAuthentication, ..Auth::default() };
    let password = Connect { password: Some(Bytes::new()), ..Connect::default() };
    let old = Connect { version: Version::V3_1_1, ..password.clone() };
    let data = Connect { authentication_data: Some(Bytes::new()), ..Connect::default() };
    let v5: Vec<(Packet, EncodeError)> = vec![
        (connack(ReasonCode::NoMatchingSubscribers), E::ReasonCodeInvalid),
        (Packet::PubAck(PubAck::new(id, ReasonCode::PacketTooLarge)), E::ReasonCodeInvalid),
        (Packet::Disconnect(Disconnect::new(ReasonCode::Banned)), E::ReasonCodeInvalid),
        (suback(vec![ReasonCode::NoSubscriptionExisted]), E::ReasonCodeInvalid),
        (suback(vec![]), E::ListEmpty),
        (subscribe(None, vec![]), E::ListEmpty),
        (subscribe(Some(0), vec![filter.clone()]), E::SubscriptionIdInvalid),
        (subscribe(Some(268_435_456), vec![filter]), E::SubscriptionIdInvalid),
        (Packet::Publish(Publish { packet_id: Some(id), ..publish.clone() }), E::PacketIdMismatch),
        (Packet::Publish(Publish { qos: QoS::AtLeastOnce, ..publish.clone() }), E::PacketIdMismatch),
        (Packet::Publish(Publish { subscription_ids: vec![0], ..publish }), E::SubscriptionIdInvalid),
        (Packet::Connect(Box::new(Connect { password: Some(long), ..password })), E::FieldTooLong),
        (Packet::Connect(Box::new(data)), E::AuthenticationMethodMissing),
        (Packet::Auth(auth.clone()), E::AuthenticationMethodMissing),
        (Packet::Connect(Box::new(old)), E::PasswordWithoutUserName),
    ];
    for (packet, error) in v5 {
        assert_eq!(refusal(Version::V5, &packet), error, "{packet:?}");
    }
    assert_eq!(refusal(Version::V3_1_1, &Packet::Auth(auth)), E::NotInVersion);
    assert_eq!(refusal(Version::V3_1, &connack(ReasonCode::MalformedPacket)), E::NoReturnCode);
}

#[test]
fn user_properties_go_first_and_the_reason_string_next() {
    let pair = (text("name"), text("value"));
    let disconnect = Packet::Disconnect(Disconnect {
        reason: ReasonCode::ServerBusy,
        session_expiry_s: None,
        reason_string: Some(text("why")),
        server_reference: None,
        user_properties: UserProperties::from_pairs([(&pair.0, &pair.1)]),
    });
    let written = |max| {
        let mut out = BytesMut::new();
        disconnect.encode_within(Version::V5, Some(max), &mut out).map(|()| out)
    };
    let bare = b"\xe0\x01\x89";
    let reason = b"\xe0\x08\x89\x06\x1f\0\x03why";
    let full = b"\xe0\x16\x89\x14\x1f\0\x03why\x26\0\x04name\0\x05value";
    assert_eq!(&written(24).unwrap()[..], full);
    assert_eq!(&written(23).unwrap()[..], reason);
    assert_eq!(&written(10).unwrap()[..], reason);
    assert_eq!(&written(9).unwrap()[..], bare);
    assert_eq!(&written(3).unwrap()[..], bare);
    assert_eq!(written(2), Err(EncodeError::PacketTooLarge));
}

#[test]
fn connack_of_3x_never_claims_a_session_beside_a_refusal() {
    let mut connack = ConnAck { session_present: true, ..ConnAck::default() };
    let written = |version, connack: &ConnAck| {
        let mut out = BytesMut::new();
        Packet::ConnAck(Box::new(connack.clone())).encode(version, &mut out).unwrap();
        out
    };
    assert_eq!(&written(Version::V3_1_1, &connack)[..], b"\x20\x02\x01\0");
    assert_eq!(&written(Version::V3_1, &connack)[..], b"\x20\x02\0\0");
    connack.reason = ReasonCode::ServerMoved;
    assert_eq!(&written(Version::V3_1_1, &connack)[..], b"\x20\x02\0\x03");
    assert_eq!(&written(Version::V5, &connack)[..], b"\x20\x03\0\x9d\0");
}

#[test]
fn text_is_checked_by_every_way_in() {
    assert_eq!(Text::new("a\0b"), Err(TextError::ContainsNul));
    assert_eq!(Text::try_from(vec![0xFF]), Err(TextError::NotUtf8));
    assert_eq!(Text::try_from("x".repeat(FIELD_BYTES_MAX + 1)), Err(TextError::TooLong));
    let longest = Text::try_from("x".repeat(FIELD_BYTES_MAX)).unwrap();
    assert_eq!((longest.len(), longest.is_empty()), (FIELD_BYTES_MAX, false));
    let text = Text::from_static("grün");
    assert_eq!(
        (text.as_str(), text.to_string(), format!("{text:?}")),
        ("grün", "grün".into(), "\"grün\"".into())
    );
    assert!(Text::from_static("a") < text && text == *"grün" && text.into_bytes() == "grün");
}

#[test]
fn application_properties_are_checked_when_built() {
    let build = ApplicationProperties::build;
    assert_eq!(build(&[Property::TopicAliasMaximum(1)]), Err(Offence::PropertyNotAllowed { id: 0x22 }));
    assert_eq!(build(&[Property::SubscriptionIdentifier(0)]), Err(Offence::PropertyNotAllowed { id: 0x0B }));
    assert_eq!(build(&[Property::ContentType(""); 2]), Err(Offence::PropertyDuplicate { id: 3 }));
    assert_eq!(build(&[Property::ResponseTopic("a/+")]), Err(Offence::ResponseTopicInvalid));
    let long = vec![0; FIELD_BYTES_MAX + 1];
    assert_eq!(build(&[Property::CorrelationData(&long)]), Err(Offence::FieldTooLong));
    let limits = Limits { user_properties_max: 1, ..Limits::DEFAULT };
    let two = build(&[Property::UserProperty("a", "b"); 2]).unwrap();
    assert_eq!(ApplicationProperties::check(&two, &limits), Err(Offence::UserPropertiesTooMany));
}

#[test]
fn ids_and_qos_refuse_what_the_wire_cannot_say() {
    assert_eq!(PacketId::try_from(0), Err(Offence::PacketIdZero));
    assert_eq!(PacketId::try_from(9).map(PacketId::get), Ok(9));
    assert_eq!(QoS::try_from(3), Err(Offence::QoSInvalid));
    assert!(QoS::AtMostOnce < QoS::AtLeastOnce && QoS::AtLeastOnce < QoS::ExactlyOnce);
    assert_eq!(ReasonCode::granted(QoS::ExactlyOnce).granted_qos(), Some(QoS::ExactlyOnce));
    assert_eq!(ReasonCode::QuotaExceeded.granted_qos(), None);
    assert_eq!(ReasonCode::QuotaExceeded.to_string(), "quota exceeded (0x97)");
}
