//! CONNECT (3.1): the first packet of a connection, and the will inside it.
//! Decoded by `decode_connect`, which learns the version here; encoded by clients.
//! It never decides policy: an empty client identifier, credentials and topics are the caller's.

use alloc::boxed::Box;
use core::fmt;
use core::num::{NonZeroU16, NonZeroU32};

use bytes::{BufMut, Bytes, BytesMut};

use crate::application::is_application;
use crate::basic::{PacketKind, QoS, Version};
use crate::cursor::Cursor;
use crate::encode::{self, EncodeError, put_binary};
use crate::frame::kind_of;
use crate::limits::Limits;
use crate::offence::Offence;
use crate::property::Property;
use crate::property_block::{PropertyReader, write_block};
use crate::text::Text;
use crate::topic;
use crate::user_properties::UserProperties;

/// CONNECT. Fields of 5.0 hold their defaults under 3.x and are not written there.
#[derive(Clone, PartialEq, Eq)]
pub struct Connect {
    /// The version that name and level spell.
    pub version: Version,
    /// Clean Start; Clean Session under 3.x.
    pub clean_start: bool,
    /// Keep alive in seconds, 0 for none.
    pub keep_alive_s: u16,
    /// Client identifier; may be empty.
    pub client_id: Text,
    /// The will, if Will Flag is set.
    pub will: Option<Will>,
    /// User name.
    pub user_name: Option<Text>,
    /// Password: any bytes, at most 65,535.
    pub password: Option<Bytes>,
    /// Session Expiry Interval in seconds; absent means 0.
    pub session_expiry_s: Option<u32>,
    /// Receive Maximum; absent means 65,535.
    pub receive_maximum: Option<NonZeroU16>,
    /// Maximum Packet Size in bytes; absent means no limit.
    pub maximum_packet_size: Option<NonZeroU32>,
    /// Topic Alias Maximum; 0 (no alias) if absent.
    pub topic_alias_maximum: u16,
    /// Request Response Information; false if absent.
    pub request_response_information: bool,
    /// Request Problem Information; true if absent.
    pub request_problem_information: bool,
    /// Authentication Method.
    pub authentication_method: Option<Text>,
    /// Authentication Data; only with a method.
    pub authentication_data: Option<Bytes>,
    /// User properties.
    pub user_properties: UserProperties,
}

/// The will of a client (3.1.2.5): what to publish when its connection ends without a farewell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Will {
    /// A valid topic name.
    pub topic: Text,
    /// Any bytes, at most 65,535.
    pub payload: Bytes,
    /// QoS to publish with.
    pub qos: QoS,
    /// Whether to publish as retained.
    pub retain: bool,
    /// Will Delay Interval in seconds.
    pub delay_interval_s: u32,
    /// Message Expiry Interval in seconds; absent means never.
    pub message_expiry_s: Option<u32>,
    /// The properties that are passed on unchanged, see [`crate::ApplicationProperties`].
    pub application: Bytes,
}

impl Default for Connect {
    /// 5.0, clean start, no keep alive, no client identifier.
    fn default() -> Self {
        Self {
            version: Version::V5,
            clean_start: true,
            keep_alive_s: 0,
            client_id: Text::default(),
            will: None,
            user_name: None,
            password: None,
            session_expiry_s: None,
            receive_maximum: None,
            maximum_packet_size: None,
            topic_alias_maximum: 0,
            request_response_information: false,
            request_problem_information: true,
            authentication_method: None,
            authentication_data: None,
            user_properties: UserProperties::default(),
        }
    }
}

impl fmt::Debug for Connect {
    /// Leaves the password and the authentication data out: this may end in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connect")
            .field("version", &self.version)
            .field("clean_start", &self.clean_start)
            .field("keep_alive_s", &self.keep_alive_s)
            .field("client_id", &self.client_id)
            .field("will", &self.will)
            .field("user_name", &self.user_name)
            .field("password", &self.password.as_ref().map(|_| "..."))
            .field("session_expiry_s", &self.session_expiry_s)
            .field("receive_maximum", &self.receive_maximum)
            .field("maximum_packet_size", &self.maximum_packet_size)
            .field("topic_alias_maximum", &self.topic_alias_maximum)
            .field("request_response_information", &self.request_response_information)
            .field("request_problem_information", &self.request_problem_information)
            .field("authentication_method", &self.authentication_method)
            .field("authentication_data", &self.authentication_data.as_ref().map(|_| "..."))
            .field("user_properties", &self.user_properties)
            .finish()
    }
}

/// The version that the body of a CONNECT claims to speak; `None` unless it is one that is served.
/// For the answer to a CONNECT that [`decode_connect`] has refused for another reason.
#[must_use]
pub fn connect_version(body: &[u8]) -> Option<Version> {
    read_version(&mut Cursor::new(body)).ok()
}

/// Decodes the first packet of a connection, which tells the version of all that follow.
///
/// # Errors
/// [`Offence::FirstPacketNotConnect`] [MQTT-3.1.0-1]; [`Offence::ProtocolNameInvalid`]
/// [MQTT-3.1.2-1]; [`Offence::UnsupportedProtocolVersion`], to be answered in the form it names
/// [MQTT-3.1.2-2]; and whatever else CONNECT can do wrong [MQTT-3.1.4-1].
pub fn decode_connect(first_byte: u8, body: Bytes, limits: &Limits) -> Result<Box<Connect>, Offence> {
    match kind_of(first_byte)? {
        PacketKind::Connect => Connect::decode(&body, limits),
        _ => Err(Offence::FirstPacketNotConnect),
    }
}

const RESERVED: u8 = 0x01;
const CLEAN_START: u8 = 0x02;
const WILL: u8 = 0x04;
const WILL_QOS_SHIFT: u8 = 3;
const WILL_RETAIN: u8 = 0x20;
const PASSWORD: u8 = 0x40;
const USER_NAME: u8 = 0x80;

impl Connect {
    pub(crate) fn decode(body: &Bytes, limits: &Limits) -> Result<Box<Self>, Offence> {
        let mut cursor = Cursor::new(body);
        let version = read_version(&mut cursor)?;
        let flags = cursor.u8()?;
        check_flags(version, flags)?;
        let mut connect = Box::new(Self {
            version,
            clean_start: flags & CLEAN_START != 0,
            keep_alive_s: cursor.u16()?,
            ..Self::default()
        });
        if version.is_v5() {
            connect.read_properties(&mut cursor, body, limits)?;
        }
        connect.client_id = Text::slice_of(body, cursor.text()?);
        if connect.client_id.len() > usize::from(limits.client_id_bytes_max) {
            return Err(Offence::ClientIdTooLong);
        }
        if flags & WILL != 0 {
            connect.will = Some(Will::decode(version, flags, &mut cursor, body, limits)?);
        }
        // 3.1 lets a client set these flags and leave the fields out at the end of the packet.
        let may_miss = version == Version::V3_1;
        if flags & USER_NAME != 0 && !(may_miss && cursor.is_empty()) {
            connect.user_name = Some(Text::slice_of(body, cursor.text()?));
        }
        if flags & PASSWORD != 0 && !(may_miss && cursor.is_empty()) {
            connect.password = Some(body.slice_ref(cursor.binary()?));
        }
        cursor.finish()?;
        Ok(connect)
    }

    fn read_properties(
        &mut self,
        cursor: &mut Cursor<'_>,
        body: &Bytes,
        limits: &Limits,
    ) -> Result<(), Offence> {
        let mut reader = PropertyReader::new(cursor, limits)?;
        while let Some(property) = reader.next()? {
            match property {
                Property::SessionExpiryInterval(seconds) => self.session_expiry_s = Some(seconds),
                Property::ReceiveMaximum(maximum) => self.receive_maximum = Some(maximum),
                Property::MaximumPacketSize(bytes) => self.maximum_packet_size = Some(bytes),
                Property::TopicAliasMaximum(maximum) => self.topic_alias_maximum = maximum,
                Property::RequestResponseInformation(on) => self.request_response_information = on,
                Property::RequestProblemInformation(on) => self.request_problem_information = on,
                Property::AuthenticationMethod(method) => {
                    self.authentication_method = Some(Text::slice_of(body, method));
                }
                Property::AuthenticationData(data) => {
                    self.authentication_data = Some(body.slice_ref(data));
                }
                Property::UserProperty(..) => reader.keep(),
                other => return PropertyReader::foreign(&other),
            }
        }
        self.user_properties = reader.kept_user_properties(body);
        if self.authentication_data.is_some() && self.authentication_method.is_none() {
            return Err(Offence::AuthenticationDataWithoutMethod);
        }
        Ok(())
    }

    fn flags(&self) -> u8 {
        let will = self.will.as_ref().map_or(0, |will| {
            WILL | (u8::from(will.qos) << WILL_QOS_SHIFT) | if will.retain { WILL_RETAIN } else { 0 }
        });
        will | if self.clean_start { CLEAN_START } else { 0 }
            | if self.user_name.is_some() { USER_NAME } else { 0 }
            | if self.password.is_some() { PASSWORD } else { 0 }
    }

    /// Writes the packet for its own version.
    pub(crate) fn encode(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        if self.password.is_some() && self.user_name.is_none() && !self.version.is_v5() {
            return Err(EncodeError::PasswordWithoutUserName);
        }
        if self.authentication_data.is_some() && self.authentication_method.is_none() {
            return Err(EncodeError::AuthenticationMethodMissing);
        }
        encode::packet(out, PacketKind::Connect.first_byte(), |out| {
            put_binary(out, self.version.protocol_name().as_bytes())?;
            out.put_u8(self.version.level());
            out.put_u8(self.flags());
            out.put_u16(self.keep_alive_s);
            if self.version.is_v5() {
                self.write_properties(out)?;
            }
            put_binary(out, self.client_id.as_bytes())?;
            if let Some(will) = &self.will {
                will.encode(self.version, out)?;
            }
            if let Some(user_name) = &self.user_name {
                put_binary(out, user_name.as_bytes())?;
            }
            self.password.as_ref().map_or(Ok(()), |password| put_binary(out, password))
        })
    }

    fn write_properties(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        let own = [
            self.session_expiry_s.map(Property::SessionExpiryInterval),
            self.receive_maximum.map(Property::ReceiveMaximum),
            self.maximum_packet_size.map(Property::MaximumPacketSize),
            (self.topic_alias_maximum > 0).then_some(Property::TopicAliasMaximum(self.topic_alias_maximum)),
            self.request_response_information.then_some(Property::RequestResponseInformation(true)),
            (!self.request_problem_information).then_some(Property::RequestProblemInformation(false)),
            self.authentication_method.as_ref().map(|text| Property::AuthenticationMethod(text.as_str())),
            self.authentication_data.as_ref().map(|data| Property::AuthenticationData(data)),
        ];
        write_block(out, &own, self.user_properties.as_bytes())
    }
}

/// Reads protocol name and level.
fn read_version(cursor: &mut Cursor<'_>) -> Result<Version, Offence> {
    let name = cursor.binary()?;
    if name != b"MQTT" && name != b"MQIsdp" {
        return Err(Offence::ProtocolNameInvalid);
    }
    let level = cursor.u8()?;
    let known = Version::ALL
        .into_iter()
        .find(|version| version.level() == level && version.protocol_name().as_bytes() == name);
    known.ok_or_else(|| {
        let answer = if name == b"MQTT" && level & 0x7F >= 5 { Version::V5 } else { Version::V3_1_1 };
        Offence::UnsupportedProtocolVersion { level, answer }
    })
}

fn check_flags(version: Version, flags: u8) -> Result<(), Offence> {
    if flags & RESERVED != 0 {
        return Err(Offence::ConnectFlagReserved);
    }
    if flags & WILL == 0 && flags & (WILL_RETAIN | (0b11 << WILL_QOS_SHIFT)) != 0 {
        return Err(Offence::WillFlagMissing);
    }
    if !version.is_v5() && flags & PASSWORD != 0 && flags & USER_NAME == 0 {
        return Err(Offence::PasswordWithoutUserName);
    }
    Ok(())
}

impl Will {
    fn decode(
        version: Version,
        flags: u8,
        cursor: &mut Cursor<'_>,
        body: &Bytes,
        limits: &Limits,
    ) -> Result<Self, Offence> {
        let mut will = Self {
            qos: QoS::from_bits((flags >> WILL_QOS_SHIFT) & 0b11).ok_or(Offence::WillQoSInvalid)?,
            retain: flags & WILL_RETAIN != 0,
            ..Self::default()
        };
        if version.is_v5() {
            let mut reader = PropertyReader::new(cursor, limits)?;
            while let Some(property) = reader.next()? {
                match property {
                    Property::WillDelayInterval(seconds) => will.delay_interval_s = seconds,
                    Property::MessageExpiryInterval(seconds) => will.message_expiry_s = Some(seconds),
                    other if is_application(&other) => reader.keep(),
                    other => return PropertyReader::foreign(&other),
                }
            }
            will.application = reader.kept(body);
        }
        let name = cursor.binary()?;
        topic::check(name, limits)?;
        if name.is_empty() {
            return Err(Offence::TopicEmpty);
        }
        will.topic = topic::slice_of(body, name);
        will.payload = body.slice_ref(cursor.binary()?);
        Ok(will)
    }

    fn encode(&self, version: Version, out: &mut BytesMut) -> Result<(), EncodeError> {
        if version.is_v5() {
            let own = [
                (self.delay_interval_s > 0).then_some(Property::WillDelayInterval(self.delay_interval_s)),
                self.message_expiry_s.map(Property::MessageExpiryInterval),
            ];
            write_block(out, &own, &self.application)?;
        }
        put_binary(out, self.topic.as_bytes())?;
        put_binary(out, &self.payload)
    }
}
