//! `Packet`: every control packet in one enum, and the one `match` that lists them all.
//! Called for each packet that arrives or leaves, but for fan-out (`SharedPublish`).
//! It never knows which side of the connection it is on, but in `check_from_client`.

use alloc::boxed::Box;

use bytes::{Bytes, BytesMut};

use crate::basic::{PacketKind, Version};
use crate::encode::{Detail, EncodeError, Form};
use crate::frame::kind_of;
use crate::limits::Limits;
use crate::offence::Offence;
use crate::reason::ReasonCode;

mod ack;
mod auth;
mod connack;
mod connect;
mod disconnect;
mod publish;
mod publish_header;
mod shared_publish;
mod suback;
mod subscribe;
mod unsuback;
mod unsubscribe;

pub use ack::{PubAck, PubComp, PubRec, PubRel, short_ack};
pub use auth::Auth;
pub use connack::{ConnAck, ConnAckProperties};
pub use connect::{Connect, Will, connect_version, decode_connect};
pub use disconnect::Disconnect;
pub use publish::Publish;
pub use publish_header::PublishHeader;
pub use shared_publish::{SMALL_PAYLOAD_BYTES_MAX, SharedPublish};
pub use suback::SubAck;
pub use subscribe::{RetainHandling, Subscribe, SubscribeFilter, SubscriptionOptions};
pub use unsuback::UnsubAck;
pub use unsubscribe::Unsubscribe;

/// A control packet of any version (chapter 3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet {
    /// CONNECT.
    Connect(Box<Connect>),
    /// CONNACK.
    ConnAck(Box<ConnAck>),
    /// PUBLISH.
    Publish(Publish),
    /// PUBACK.
    PubAck(PubAck),
    /// PUBREC.
    PubRec(PubRec),
    /// PUBREL.
    PubRel(PubRel),
    /// PUBCOMP.
    PubComp(PubComp),
    /// SUBSCRIBE.
    Subscribe(Subscribe),
    /// SUBACK.
    SubAck(SubAck),
    /// UNSUBSCRIBE.
    Unsubscribe(Unsubscribe),
    /// UNSUBACK.
    UnsubAck(UnsubAck),
    /// PINGREQ (3.12).
    PingReq,
    /// PINGRESP (3.13).
    PingResp,
    /// DISCONNECT.
    Disconnect(Disconnect),
    /// AUTH.
    Auth(Auth),
}

/// Decodes a packet from its first byte and its body, as `frame` has cut them, in either direction.
///
/// A CONNECT is decoded by the version it tells itself, also where `version` is another: it is the
/// caller that knows whether it comes second [MQTT-3.1.0-2].
///
/// # Errors
/// The first [`Offence`] that is found. Nothing of the packet is to be acted upon then.
#[inline]
pub fn decode(version: Version, first_byte: u8, body: Bytes, limits: &Limits) -> Result<Packet, Offence> {
    Ok(match kind_of(first_byte)? {
        PacketKind::Connect => Packet::Connect(Connect::decode(&body, limits)?),
        PacketKind::ConnAck => Packet::ConnAck(Box::new(ConnAck::decode(version, &body, limits)?)),
        PacketKind::Publish => Packet::Publish(Publish::decode(version, first_byte, body, limits)?),
        PacketKind::PubAck => Packet::PubAck(PubAck::decode(version, &body, limits)?),
        PacketKind::PubRec => Packet::PubRec(PubRec::decode(version, &body, limits)?),
        PacketKind::PubRel => Packet::PubRel(PubRel::decode(version, &body, limits)?),
        PacketKind::PubComp => Packet::PubComp(PubComp::decode(version, &body, limits)?),
        PacketKind::Subscribe => Packet::Subscribe(Subscribe::decode(version, &body, limits)?),
        PacketKind::SubAck => Packet::SubAck(SubAck::decode(version, &body, limits)?),
        PacketKind::Unsubscribe => Packet::Unsubscribe(Unsubscribe::decode(version, &body, limits)?),
        PacketKind::UnsubAck => Packet::UnsubAck(UnsubAck::decode(version, &body, limits)?),
        PacketKind::PingReq => empty(&body, Packet::PingReq)?,
        PacketKind::PingResp => empty(&body, Packet::PingResp)?,
        PacketKind::Disconnect => Packet::Disconnect(Disconnect::decode(version, &body, limits)?),
        PacketKind::Auth => Packet::Auth(Auth::decode(version, &body, limits)?),
    })
}

fn empty(body: &Bytes, packet: Packet) -> Result<Packet, Offence> {
    if body.is_empty() { Ok(packet) } else { Err(Offence::TrailingBytes) }
}

impl Packet {
    /// Its type.
    #[inline]
    #[must_use]
    pub const fn kind(&self) -> PacketKind {
        match self {
            Self::Connect(_) => PacketKind::Connect,
            Self::ConnAck(_) => PacketKind::ConnAck,
            Self::Publish(_) => PacketKind::Publish,
            Self::PubAck(_) => PacketKind::PubAck,
            Self::PubRec(_) => PacketKind::PubRec,
            Self::PubRel(_) => PacketKind::PubRel,
            Self::PubComp(_) => PacketKind::PubComp,
            Self::Subscribe(_) => PacketKind::Subscribe,
            Self::SubAck(_) => PacketKind::SubAck,
            Self::Unsubscribe(_) => PacketKind::Unsubscribe,
            Self::UnsubAck(_) => PacketKind::UnsubAck,
            Self::PingReq => PacketKind::PingReq,
            Self::PingResp => PacketKind::PingResp,
            Self::Disconnect(_) => PacketKind::Disconnect,
            Self::Auth(_) => PacketKind::Auth,
        }
    }

    /// Appends the packet to `out`, for a peer without a Maximum Packet Size.
    ///
    /// What a version does not know is not written: properties and reason codes before 5.0. A
    /// CONNECT is written for its own version.
    ///
    /// # Errors
    /// [`EncodeError`]; `out` is as before then.
    #[inline]
    pub fn encode(&self, version: Version, out: &mut BytesMut) -> Result<(), EncodeError> {
        self.encode_within(version, None, out)
    }

    /// Appends the packet to `out`, in at most `maximum_packet_size` bytes [MQTT-3.1.2-24]. Where it
    /// would be larger, the user properties and then the reason string of CONNACK, DISCONNECT, AUTH
    /// and of acknowledgements are left out [MQTT-3.2.2-19], [MQTT-3.2.2-20], [MQTT-3.4.2-2], ...
    ///
    /// # Errors
    /// [`EncodeError`]; `out` is as before then.
    #[inline]
    pub fn encode_within(
        &self,
        version: Version,
        maximum_packet_size: Option<u32>,
        out: &mut BytesMut,
    ) -> Result<(), EncodeError> {
        let start = out.len();
        let max = maximum_packet_size.unwrap_or(Limits::PACKET_BYTES_CEILING) as usize;
        let mut error = EncodeError::PacketTooLarge;
        for &detail in self.details() {
            match self.write(Form { version, detail }, out) {
                Ok(()) if out.len() - start <= max => return Ok(()),
                Ok(()) => {}
                Err(other) => error = other,
            }
            out.truncate(start);
            if error != EncodeError::PacketTooLarge {
                break;
            }
        }
        Err(error)
    }

    /// The forms the packet may be written in, fullest first.
    #[inline]
    const fn details(&self) -> &'static [Detail] {
        match self {
            Self::Connect(_) | Self::Publish(_) | Self::Subscribe(_) | Self::Unsubscribe(_) => {
                &[Detail::Full]
            }
            _ => &[Detail::Full, Detail::NoUserProperties, Detail::Bare],
        }
    }

    fn write(&self, form: Form, out: &mut BytesMut) -> Result<(), EncodeError> {
        match self {
            Self::Connect(packet) => packet.encode(out),
            Self::ConnAck(packet) => packet.encode(form, out),
            Self::Publish(packet) => packet.encode(form.version, out),
            Self::PubAck(packet) => packet.encode(form, out),
            Self::PubRec(packet) => packet.encode(form, out),
            Self::PubRel(packet) => packet.encode(form, out),
            Self::PubComp(packet) => packet.encode(form, out),
            Self::Subscribe(packet) => packet.encode(form.version, out),
            Self::SubAck(packet) => packet.encode(form, out),
            Self::Unsubscribe(packet) => packet.encode(form.version, out),
            Self::UnsubAck(packet) => packet.encode(form, out),
            Self::PingReq => write_empty(PacketKind::PingReq, out),
            Self::PingResp => write_empty(PacketKind::PingResp, out),
            Self::Disconnect(packet) => packet.encode(form, out),
            Self::Auth(packet) => packet.encode(form, out),
        }
    }

    /// Checks what only the direction tells: for servers, on each packet they decode.
    ///
    /// # Errors
    /// [`Offence::NotFromClient`], [`Offence::SubscriptionIdFromClient`],
    /// [`Offence::DisconnectNotFromClient`] or [`Offence::AuthNotFromClient`].
    #[inline]
    pub fn check_from_client(&self) -> Result<(), Offence> {
        match self {
            Self::Publish(publish) if !publish.subscription_ids.is_empty() => {
                Err(Offence::SubscriptionIdFromClient)
            }
            Self::ConnAck(_) | Self::SubAck(_) | Self::UnsubAck(_) | Self::PingResp => {
                Err(Offence::NotFromClient { kind: self.kind() })
            }
            Self::Disconnect(disconnect)
                if !disconnect.reason.is_disconnect_of_client() || disconnect.server_reference.is_some() =>
            {
                Err(Offence::DisconnectNotFromClient)
            }
            Self::Auth(auth) if auth.reason == ReasonCode::Success => Err(Offence::AuthNotFromClient),
            _ => Ok(()),
        }
    }
}

fn write_empty(kind: PacketKind, out: &mut BytesMut) -> Result<(), EncodeError> {
    out.extend_from_slice(&[kind.first_byte(), 0]);
    Ok(())
}
