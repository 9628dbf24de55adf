//! A message of whoever administers the cluster: checked as a packet of a client is, and published by this node. Called by the
//! service; it decides nothing about who gets it.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use mqtt_codec::{
    ApplicationProperties, Limits, Offence, Packet, PacketId, Property, Publish, QoS, ReasonCode,
    SharedPublish, Text, Version, decode, frame,
};
use session_store::Message;
use tokio::time::timeout;
use tonic::Status;

use super::proto::{PublishReply, PublishRequest};
use super::sessions::started;
use super::subject::Subject;
use crate::connection::{NotPublished, publish as publish_here};
use crate::packet::Denied;

/// Bytes of a payload, of those that a request has room for.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 48 << 10;
/// Messages that are on their way at a time: one that nobody answers stays there.
const PUBLISHES_MAX: usize = 64;
/// How long it may take until everybody has it.
const PUBLISH_WITHIN: Duration = Duration::from_secs(20);

/// Publishes a message.
///
/// # Errors
/// It makes no sense, is refused as that of a client would be, or is not acknowledged in time.
pub(super) async fn publish(subject: &Subject, request: PublishRequest) -> Result<PublishReply, Status> {
    let running = started(subject)?;
    let node = Arc::clone(&running.node);
    let Publish { topic, qos, retain, message_expiry_s, application, payload, .. } =
        checked(request, &node.limits)?;
    let expires_at = message_expiry_s.map(|s| node.clock.now().plus_s(s));
    let body = SharedPublish::new(&topic, &application, &payload);
    let message = Message { body, qos, retain, expires_at }.into();
    // Each has one of these, and so has who hands them out.
    let publishes = Arc::clone(&running.publishes);
    if Arc::strong_count(&publishes) > PUBLISHES_MAX + 1 {
        return Err(Status::resource_exhausted(
            "too many messages wait for their acknowledgement: try again",
        ));
    }
    // Of its own: what is begun is brought to its end, whoever waits for it.
    let publishing = tokio::spawn(publish_here(node, publishes, message));
    match timeout(PUBLISH_WITHIN, publishing).await {
        Ok(Ok(Ok(matched))) => Ok(PublishReply { matched }),
        Ok(Ok(Err(NotPublished::NoLease))) => Err(Status::unavailable(
            "nothing was published: the node has no lease, since it does not reach a majority of the others",
        )),
        Ok(Ok(Err(NotPublished::Told(ReasonCode::QuotaExceeded)))) => Err(Status::resource_exhausted(
            "it is not retained, or its log has no room: Quota exceeded (0x97)",
        )),
        Ok(Ok(Err(NotPublished::Told(reason)))) => {
            Err(Status::unavailable(format!("it is not acknowledged: {reason}")))
        }
        Ok(Err(_)) => Err(Status::unavailable("the node stops")),
        Err(_elapsed) => Err(Status::deadline_exceeded(
            "not everybody who is to have it has answered in time: it may have been published",
        )),
    }
}

/// What a request asks for, as a client would have sent it.
fn checked(request: PublishRequest, limits: &Limits) -> Result<Publish, Status> {
    let wrong = |key: &str, why: &dyn std::fmt::Display| Status::invalid_argument(format!("{key}: {why}"));
    let bytes = request.payload.len();
    if bytes > PAYLOAD_BYTES_MAX {
        return Err(wrong("payload", &format!("{bytes} bytes, expected {PAYLOAD_BYTES_MAX} at most")));
    }
    let qos = u8::try_from(request.qos).ok().and_then(|qos| QoS::try_from(qos).ok());
    let qos = qos.ok_or_else(|| wrong("qos", &format!("{}, expected 0, 1 or 2", request.qos)))?;
    let topic = Text::new(&request.topic).map_err(|error| wrong("topic", &error))?;
    if Denied::of(topic.as_bytes()).is_some() {
        return Err(wrong("topic", &format!("{:?} is the broker's own", request.topic)));
    }
    let application = application(&request).map_err(|offence| wrong("properties", &offence))?;
    let publish = Publish {
        qos,
        retain: request.retain,
        topic,
        packet_id: PacketId::new(1).filter(|_| qos > QoS::AtMostOnce),
        message_expiry_s: request.expiry_s,
        application,
        payload: request.payload.into(),
        ..Publish::default()
    };
    // There and back, by the bounds that clients have.
    let mut raw = BytesMut::new();
    let packet = Packet::Publish(publish);
    packet.encode(Version::V5, &mut raw).map_err(|error| wrong("the message", &error))?;
    match read(raw, limits).map_err(|offence| wrong("the message", &offence))? {
        Some(Packet::Publish(publish)) => Ok(publish),
        _ => Err(Status::internal("a message is read as something else")),
    }
}

fn read(mut raw: BytesMut, limits: &Limits) -> Result<Option<Packet>, Offence> {
    let Some((first_byte, body)) = frame::take(&mut raw, limits)? else { return Ok(None) };
    decode(Version::V5, first_byte, body, limits).map(Some)
}

fn application(request: &PublishRequest) -> Result<Bytes, Offence> {
    let PublishRequest { content_type, response_topic, correlation_data, user_properties, .. } = request;
    let given = |is_given: bool, property| is_given.then_some(property);
    let single = [
        given(request.is_text, Property::PayloadFormatIndicator(true)),
        given(!content_type.is_empty(), Property::ContentType(content_type)),
        given(!response_topic.is_empty(), Property::ResponseTopic(response_topic)),
        given(!correlation_data.is_empty(), Property::CorrelationData(correlation_data)),
    ];
    let user = user_properties.iter().map(|one| Property::UserProperty(&one.name, &one.value));
    let all: Vec<Property<'_>> = single.into_iter().flatten().chain(user).collect();
    ApplicationProperties::build(&all)
}

#[cfg(test)]
mod tests {
    use super::super::proto::UserProperty;
    use super::*;

    fn request() -> PublishRequest {
        PublishRequest { topic: "a/b".into(), payload: b"on".into(), qos: 1, ..PublishRequest::default() }
    }

    #[test]
    fn a_message_is_as_it_was_asked_for() {
        let user = UserProperty { name: "who".into(), value: "ann".into() };
        let asked = PublishRequest {
            retain: true,
            expiry_s: Some(7),
            content_type: "text/plain".into(),
            response_topic: "r".into(),
            correlation_data: b"c".into(),
            is_text: true,
            user_properties: vec![user],
            ..request()
        };
        let publish = checked(asked, &Limits::NONE).unwrap();
        assert_eq!((publish.topic.to_string().as_str(), &publish.payload[..]), ("a/b", b"on".as_slice()));
        assert_eq!((publish.qos, publish.retain), (QoS::AtLeastOnce, true));
        assert_eq!(publish.message_expiry_s, Some(7));
        let properties: Vec<Property<'_>> = ApplicationProperties::new(&publish.application).collect();
        let expected = [
            Property::PayloadFormatIndicator(true),
            Property::ContentType("text/plain"),
            Property::ResponseTopic("r"),
            Property::CorrelationData(b"c"),
            Property::UserProperty("who", "ann"),
        ];
        assert_eq!(properties, expected);
        assert!(checked(PublishRequest { payload: Vec::new(), qos: 0, ..request() }, &Limits::NONE).is_ok());
    }

    #[test]
    fn what_a_client_could_not_send_is_refused_by_name() {
        let limits = Limits { packet_bytes_max: 1_000, ..Limits::NONE };
        for (asked, words) in [
            (PublishRequest { qos: 3, ..request() }, "qos: 3, expected 0, 1 or 2"),
            (PublishRequest { topic: String::new(), ..request() }, "the message: "),
            (PublishRequest { topic: "a/+".into(), ..request() }, "the message: "),
            (PublishRequest { topic: "a\0".into(), ..request() }, "topic: "),
            (PublishRequest { topic: "$SYS/x".into(), ..request() }, "topic: \"$SYS/x\" is the broker's own"),
            (PublishRequest { payload: vec![0; 1_000], ..request() }, "the message: "),
            (PublishRequest { payload: vec![0; PAYLOAD_BYTES_MAX + 1], ..request() }, "payload: 49153 bytes"),
            (PublishRequest { response_topic: "a/#".into(), ..request() }, ": "),
        ] {
            let status = checked(asked, &limits).unwrap_err();
            assert_eq!(status.code(), tonic::Code::InvalidArgument);
            assert!(status.message().contains(words), "{status}");
        }
    }
}
