//! CONNECT (3.1): the first packet of a connection, and the will inside it.
//! Decoded by `decode_connect`, which learns the version here; encoded by clients.
//! It never decides policy: an empty client identifier, credentials and topics are the caller's.

use core::fmt;
use core::num::{NonZeroU16, NonZeroU32};

use bytes::Bytes;

use crate::basic::{QoS, Version};
use crate::text::Text;
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
