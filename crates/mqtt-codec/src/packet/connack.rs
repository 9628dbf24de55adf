//! CONNACK (3.2): the server's answer to CONNECT.
//! Encoded by the server, decoded by clients.
//! Under 3.x it never carries more than a return code, mapped by the table of `ReasonCode`.

use core::num::{NonZeroU16, NonZeroU32};

use bytes::Bytes;

use crate::basic::QoS;
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
