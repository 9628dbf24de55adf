//! DISCONNECT (3.14): the last packet of a connection.
//! Decoded and encoded on both sides in 5.0, sent by clients alone in 3.x.
//! A normal disconnection is never longer than two bytes.

use crate::reason::ReasonCode;
use crate::text::Text;
use crate::user_properties::UserProperties;

/// DISCONNECT.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Disconnect {
    /// Why; always success under 3.x, where it is not written.
    pub reason: ReasonCode,
    /// Session Expiry Interval in seconds, from a client [MQTT-3.14.2-2].
    pub session_expiry_s: Option<u32>,
    /// Reason String; left out if the packet would be too big.
    pub reason_string: Option<Text>,
    /// Server Reference, from a server.
    pub server_reference: Option<Text>,
    /// User properties; left out if the packet would be too big.
    pub user_properties: UserProperties,
}
