//! `Property`: the one table of properties: identifier, type and values, read and written (2.2.2).
//! Read by `PropertyReader` for every packet of 5.0, written by `write_block`.
//! It never decides which packet may carry what: each packet's own `match` does.

use core::num::{NonZeroU16, NonZeroU32};

use bytes::{BufMut, BytesMut};

use crate::basic::QoS;
use crate::cursor::Cursor;
use crate::encode::{EncodeError, REMAINING_LENGTH_MAX, put_binary, put_varint};
use crate::offence::Offence;

/// A property of 5.0 with its value, borrowed from the packet it is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Property<'a> {
    /// 0x01: whether the payload is UTF-8 text.
    PayloadFormatIndicator(bool),
    /// 0x02, in seconds.
    MessageExpiryInterval(u32),
    /// 0x03.
    ContentType(&'a str),
    /// 0x08: a topic name without wildcards.
    ResponseTopic(&'a str),
    /// 0x09.
    CorrelationData(&'a [u8]),
    /// 0x0B: 1 to 268,435,455.
    SubscriptionIdentifier(u32),
    /// 0x11, in seconds.
    SessionExpiryInterval(u32),
    /// 0x12.
    AssignedClientIdentifier(&'a str),
    /// 0x13, in seconds.
    ServerKeepAlive(u16),
    /// 0x15.
    AuthenticationMethod(&'a str),
    /// 0x16.
    AuthenticationData(&'a [u8]),
    /// 0x17.
    RequestProblemInformation(bool),
    /// 0x18, in seconds.
    WillDelayInterval(u32),
    /// 0x19.
    RequestResponseInformation(bool),
    /// 0x1A.
    ResponseInformation(&'a str),
    /// 0x1C.
    ServerReference(&'a str),
    /// 0x1F.
    ReasonString(&'a str),
    /// 0x21.
    ReceiveMaximum(NonZeroU16),
    /// 0x22.
    TopicAliasMaximum(u16),
    /// 0x23.
    TopicAlias(NonZeroU16),
    /// 0x24: QoS 0 or 1.
    MaximumQoS(QoS),
    /// 0x25.
    RetainAvailable(bool),
    /// 0x26: name and value.
    UserProperty(&'a str, &'a str),
    /// 0x27, in bytes.
    MaximumPacketSize(NonZeroU32),
    /// 0x28.
    WildcardSubscriptionAvailable(bool),
    /// 0x29.
    SubscriptionIdentifierAvailable(bool),
    /// 0x2A.
    SharedSubscriptionAvailable(bool),
}

impl<'a> Property<'a> {
    /// The identifier on the wire (2.2.2.2).
    #[must_use]
    pub const fn id(&self) -> u8 {
        match self {
            Self::PayloadFormatIndicator(_) => 0x01,
            Self::MessageExpiryInterval(_) => 0x02,
            Self::ContentType(_) => 0x03,
            Self::ResponseTopic(_) => 0x08,
            Self::CorrelationData(_) => 0x09,
            Self::SubscriptionIdentifier(_) => 0x0B,
            Self::SessionExpiryInterval(_) => 0x11,
            Self::AssignedClientIdentifier(_) => 0x12,
            Self::ServerKeepAlive(_) => 0x13,
            Self::AuthenticationMethod(_) => 0x15,
            Self::AuthenticationData(_) => 0x16,
            Self::RequestProblemInformation(_) => 0x17,
            Self::WillDelayInterval(_) => 0x18,
            Self::RequestResponseInformation(_) => 0x19,
            Self::ResponseInformation(_) => 0x1A,
            Self::ServerReference(_) => 0x1C,
            Self::ReasonString(_) => 0x1F,
            Self::ReceiveMaximum(_) => 0x21,
            Self::TopicAliasMaximum(_) => 0x22,
            Self::TopicAlias(_) => 0x23,
            Self::MaximumQoS(_) => 0x24,
            Self::RetainAvailable(_) => 0x25,
            Self::UserProperty(..) => 0x26,
            Self::MaximumPacketSize(_) => 0x27,
            Self::WildcardSubscriptionAvailable(_) => 0x28,
            Self::SubscriptionIdentifierAvailable(_) => 0x29,
            Self::SharedSubscriptionAvailable(_) => 0x2A,
        }
    }

    /// Reads identifier and value.
    pub(crate) fn read(cursor: &mut Cursor<'a>) -> Result<Self, Offence> {
        let id = cursor.varint()?;
        let id = u8::try_from(id).map_err(|_| Offence::PropertyUnknown { id })?;
        let invalid = Offence::PropertyValueInvalid { id };
        Ok(match id {
            0x01 => Self::PayloadFormatIndicator(switch(id, cursor)?),
            0x02 => Self::MessageExpiryInterval(cursor.u32()?),
            0x03 => Self::ContentType(cursor.text()?),
            0x08 => Self::ResponseTopic(response_topic(cursor)?),
            0x09 => Self::CorrelationData(cursor.binary()?),
            0x0B => match cursor.varint()? {
                0 => return Err(Offence::SubscriptionIdZero),
                id => Self::SubscriptionIdentifier(id),
            },
            0x11 => Self::SessionExpiryInterval(cursor.u32()?),
            0x12 => Self::AssignedClientIdentifier(cursor.text()?),
            0x13 => Self::ServerKeepAlive(cursor.u16()?),
            0x15 => Self::AuthenticationMethod(cursor.text()?),
            0x16 => Self::AuthenticationData(cursor.binary()?),
            0x17 => Self::RequestProblemInformation(switch(id, cursor)?),
            0x18 => Self::WillDelayInterval(cursor.u32()?),
            0x19 => Self::RequestResponseInformation(switch(id, cursor)?),
            0x1A => Self::ResponseInformation(cursor.text()?),
            0x1C => Self::ServerReference(cursor.text()?),
            0x1F => Self::ReasonString(cursor.text()?),
            0x21 => Self::ReceiveMaximum(NonZeroU16::new(cursor.u16()?).ok_or(invalid)?),
            0x22 => Self::TopicAliasMaximum(cursor.u16()?),
            0x23 => Self::TopicAlias(NonZeroU16::new(cursor.u16()?).ok_or(Offence::TopicAliasZero)?),
            0x24 => Self::MaximumQoS(match cursor.u8()? {
                0 => QoS::AtMostOnce,
                1 => QoS::AtLeastOnce,
                _ => return Err(invalid),
            }),
            0x25 => Self::RetainAvailable(switch(id, cursor)?),
            0x26 => Self::UserProperty(cursor.text()?, cursor.text()?),
            0x27 => Self::MaximumPacketSize(NonZeroU32::new(cursor.u32()?).ok_or(invalid)?),
            0x28 => Self::WildcardSubscriptionAvailable(switch(id, cursor)?),
            0x29 => Self::SubscriptionIdentifierAvailable(switch(id, cursor)?),
            0x2A => Self::SharedSubscriptionAvailable(switch(id, cursor)?),
            _ => return Err(Offence::PropertyUnknown { id: u32::from(id) }),
        })
    }

    /// Writes identifier and value.
    pub(crate) fn write(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        out.put_u8(self.id());
        match *self {
            Self::PayloadFormatIndicator(on)
            | Self::RequestProblemInformation(on)
            | Self::RequestResponseInformation(on)
            | Self::RetainAvailable(on)
            | Self::WildcardSubscriptionAvailable(on)
            | Self::SubscriptionIdentifierAvailable(on)
            | Self::SharedSubscriptionAvailable(on) => out.put_u8(u8::from(on)),
            Self::MaximumQoS(qos) => out.put_u8(u8::from(qos)),
            Self::ServerKeepAlive(value) | Self::TopicAliasMaximum(value) => out.put_u16(value),
            Self::ReceiveMaximum(value) | Self::TopicAlias(value) => out.put_u16(value.get()),
            Self::MessageExpiryInterval(value)
            | Self::SessionExpiryInterval(value)
            | Self::WillDelayInterval(value) => out.put_u32(value),
            Self::MaximumPacketSize(value) => out.put_u32(value.get()),
            Self::SubscriptionIdentifier(id) => {
                check_subscription_id(id)?;
                return put_varint(out, id as usize);
            }
            Self::ContentType(text)
            | Self::ResponseTopic(text)
            | Self::AssignedClientIdentifier(text)
            | Self::AuthenticationMethod(text)
            | Self::ResponseInformation(text)
            | Self::ServerReference(text)
            | Self::ReasonString(text) => return put_binary(out, text.as_bytes()),
            Self::CorrelationData(data) | Self::AuthenticationData(data) => return put_binary(out, data),
            Self::UserProperty(name, value) => {
                put_binary(out, name.as_bytes())?;
                return put_binary(out, value.as_bytes());
            }
        }
        Ok(())
    }
}

/// Refuses an identifier that the wire cannot carry (3.8.2.1.2).
pub(crate) fn check_subscription_id(id: u32) -> Result<(), EncodeError> {
    if (1..=REMAINING_LENGTH_MAX).contains(&(id as usize)) {
        Ok(())
    } else {
        Err(EncodeError::SubscriptionIdInvalid)
    }
}

/// A byte that is 0 or 1.
fn switch(id: u8, cursor: &mut Cursor<'_>) -> Result<bool, Offence> {
    match cursor.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Offence::PropertyValueInvalid { id }),
    }
}

fn response_topic<'a>(cursor: &mut Cursor<'a>) -> Result<&'a str, Offence> {
    let topic = cursor.text()?;
    if topic.is_empty() || topic.bytes().any(|byte| byte == b'+' || byte == b'#') {
        return Err(Offence::ResponseTopicInvalid);
    }
    Ok(topic)
}
