//! CONNACK (3.2): the server's answer to CONNECT.
//! Encoded by the server, decoded by clients.
//! Under 3.x it never carries more than a return code, mapped by the table of `ReasonCode`.

use core::num::{NonZeroU16, NonZeroU32};

use bytes::{BufMut, Bytes, BytesMut};

use crate::basic::{PacketKind, QoS, Version};
use crate::cursor::Cursor;
use crate::encode::{self, Detail, EncodeError, Form};
use crate::limits::Limits;
use crate::offence::Offence;
use crate::property::Property;
use crate::property_block::{PropertyReader, write_block};
use crate::reason::ReasonCode;
use crate::text::Text;
use crate::user_properties::UserProperties;

/// CONNACK.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConnAck {
    /// Whether the server has state of this client. Written as false with a failure
    /// [MQTT-3.2.2-6], and under 3.1, which does not know it.
    pub session_present: bool,
    /// The answer; under 3.x see [`ReasonCode::connack_return_code`].
    pub reason: ReasonCode,
    /// What the server tells of itself; 5.0 only.
    pub properties: ConnAckProperties,
}

/// The properties of CONNACK (3.2.2.3). A field at its default is not written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnAckProperties {
    /// Session Expiry Interval in seconds, where it differs from what the client asked for.
    pub session_expiry_s: Option<u32>,
    /// Receive Maximum; absent means 65,535.
    pub receive_maximum: Option<NonZeroU16>,
    /// Maximum QoS; `ExactlyOnce` (the default) is not written.
    pub maximum_qos: QoS,
    /// Retain Available; true by default.
    pub retain_available: bool,
    /// Maximum Packet Size in bytes; absent means no limit.
    pub maximum_packet_size: Option<NonZeroU32>,
    /// Assigned Client Identifier.
    pub assigned_client_id: Option<Text>,
    /// Topic Alias Maximum; 0 by default.
    pub topic_alias_maximum: u16,
    /// Reason String; left out if the packet would be too big [MQTT-3.2.2-19].
    pub reason_string: Option<Text>,
    /// User properties; left out if the packet would be too big [MQTT-3.2.2-20].
    pub user_properties: UserProperties,
    /// Wildcard Subscription Available; true by default.
    pub wildcard_subscription_available: bool,
    /// Subscription Identifiers Available; true by default.
    pub subscription_identifiers_available: bool,
    /// Shared Subscription Available; true by default.
    pub shared_subscription_available: bool,
    /// Server Keep Alive in seconds.
    pub server_keep_alive_s: Option<u16>,
    /// Response Information.
    pub response_information: Option<Text>,
    /// Server Reference.
    pub server_reference: Option<Text>,
    /// Authentication Method.
    pub authentication_method: Option<Text>,
    /// Authentication Data; only with a method.
    pub authentication_data: Option<Bytes>,
}

impl Default for ConnAckProperties {
    fn default() -> Self {
        Self {
            session_expiry_s: None,
            receive_maximum: None,
            maximum_qos: QoS::ExactlyOnce,
            retain_available: true,
            maximum_packet_size: None,
            assigned_client_id: None,
            topic_alias_maximum: 0,
            reason_string: None,
            user_properties: UserProperties::default(),
            wildcard_subscription_available: true,
            subscription_identifiers_available: true,
            shared_subscription_available: true,
            server_keep_alive_s: None,
            response_information: None,
            server_reference: None,
            authentication_method: None,
            authentication_data: None,
        }
    }
}

impl ConnAck {
    pub(crate) fn decode(version: Version, body: &Bytes, limits: &Limits) -> Result<Self, Offence> {
        let mut cursor = Cursor::new(body);
        let flags = cursor.u8()?;
        if flags > 1 {
            return Err(Offence::ConnAckFlagReserved);
        }
        let reason = if version.is_v5() {
            ReasonCode::read(PacketKind::ConnAck, &mut cursor)?
        } else {
            let code = cursor.u8()?;
            ReasonCode::from_connack_return_code(code).ok_or(Offence::ReasonCodeInvalid { code })?
        };
        if flags == 1 && reason != ReasonCode::Success {
            return Err(Offence::SessionPresentWithFailure);
        }
        // 3.1 has no such flag, and leaves the byte to servers.
        let session_present = flags == 1 && version != Version::V3_1;
        let mut connack = Self { session_present, reason, ..Self::default() };
        if version.is_v5() {
            connack.properties = ConnAckProperties::read(&mut cursor, body, limits)?;
        }
        cursor.finish()?;
        Ok(connack)
    }

    pub(crate) fn encode(&self, form: Form, out: &mut BytesMut) -> Result<(), EncodeError> {
        let code = if !form.version.is_v5() {
            self.reason.connack_return_code().ok_or(EncodeError::NoReturnCode)?
        } else if self.reason.is_allowed_in(PacketKind::ConnAck) {
            self.reason.value()
        } else {
            return Err(EncodeError::ReasonCodeInvalid);
        };
        let session_present =
            self.session_present && self.reason == ReasonCode::Success && form.version != Version::V3_1;
        encode::packet(out, PacketKind::ConnAck.first_byte(), |out| {
            out.put_u8(u8::from(session_present));
            out.put_u8(code);
            if form.version.is_v5() { self.properties.write(form.detail, out) } else { Ok(()) }
        })
    }
}

impl ConnAckProperties {
    fn read(cursor: &mut Cursor<'_>, body: &Bytes, limits: &Limits) -> Result<Self, Offence> {
        let mut all = Self::default();
        let text = |text| Some(Text::slice_of(body, text));
        let mut reader = PropertyReader::new(cursor, limits)?;
        while let Some(property) = reader.next()? {
            match property {
                Property::SessionExpiryInterval(seconds) => all.session_expiry_s = Some(seconds),
                Property::ReceiveMaximum(maximum) => all.receive_maximum = Some(maximum),
                Property::MaximumQoS(qos) => all.maximum_qos = qos,
                Property::RetainAvailable(on) => all.retain_available = on,
                Property::MaximumPacketSize(bytes) => all.maximum_packet_size = Some(bytes),
                Property::AssignedClientIdentifier(id) => all.assigned_client_id = text(id),
                Property::TopicAliasMaximum(maximum) => all.topic_alias_maximum = maximum,
                Property::ReasonString(reason) => all.reason_string = text(reason),
                Property::UserProperty(..) => reader.keep(),
                Property::WildcardSubscriptionAvailable(on) => all.wildcard_subscription_available = on,
                Property::SubscriptionIdentifierAvailable(on) => {
                    all.subscription_identifiers_available = on;
                }
                Property::SharedSubscriptionAvailable(on) => all.shared_subscription_available = on,
                Property::ServerKeepAlive(seconds) => all.server_keep_alive_s = Some(seconds),
                Property::ResponseInformation(information) => all.response_information = text(information),
                Property::ServerReference(reference) => all.server_reference = text(reference),
                Property::AuthenticationMethod(method) => all.authentication_method = text(method),
                Property::AuthenticationData(data) => all.authentication_data = Some(body.slice_ref(data)),
                other => return PropertyReader::foreign(&other),
            }
        }
        all.user_properties = reader.kept_user_properties(body);
        if all.authentication_data.is_some() && all.authentication_method.is_none() {
            return Err(Offence::AuthenticationDataWithoutMethod);
        }
        Ok(all)
    }

    fn write(&self, detail: Detail, out: &mut BytesMut) -> Result<(), EncodeError> {
        if self.authentication_data.is_some() && self.authentication_method.is_none() {
            return Err(EncodeError::AuthenticationMethodMissing);
        }
        let maximum_qos = Property::MaximumQoS(self.maximum_qos);
        let own = [
            self.session_expiry_s.map(Property::SessionExpiryInterval),
            self.receive_maximum.map(Property::ReceiveMaximum),
            (self.maximum_qos < QoS::ExactlyOnce).then_some(maximum_qos),
            unless(self.retain_available, Property::RetainAvailable(false)),
            self.maximum_packet_size.map(Property::MaximumPacketSize),
            self.assigned_client_id.as_ref().map(|text| Property::AssignedClientIdentifier(text.as_str())),
            (self.topic_alias_maximum > 0).then_some(Property::TopicAliasMaximum(self.topic_alias_maximum)),
            unless(self.wildcard_subscription_available, Property::WildcardSubscriptionAvailable(false)),
            unless(self.subscription_identifiers_available, Property::SubscriptionIdentifierAvailable(false)),
            unless(self.shared_subscription_available, Property::SharedSubscriptionAvailable(false)),
            self.server_keep_alive_s.map(Property::ServerKeepAlive),
            self.response_information.as_ref().map(|text| Property::ResponseInformation(text.as_str())),
            self.server_reference.as_ref().map(|text| Property::ServerReference(text.as_str())),
            self.authentication_method.as_ref().map(|text| Property::AuthenticationMethod(text.as_str())),
            self.authentication_data.as_ref().map(|data| Property::AuthenticationData(data)),
            detail.reason_string(self.reason_string.as_ref()),
        ];
        write_block(out, &own, detail.user_properties(&self.user_properties))
    }
}

fn unless(default: bool, property: Property<'_>) -> Option<Property<'_>> {
    (!default).then_some(property)
}
