//! SUBACK (3.9): one code for each filter of a SUBSCRIBE.
//! Encoded by servers, decoded by clients.
//! Under 3.x it never carries a code but 0, 1, 2 and 0x80 [3.1.1, MQTT-3.9.3-2].

use alloc::vec::Vec;

use crate::basic::PacketId;
use crate::reason::ReasonCode;
use crate::text::Text;
use crate::user_properties::UserProperties;

/// SUBACK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubAck {
    /// That of the SUBSCRIBE.
    pub packet_id: PacketId,
    /// One for each filter, in order; at least one.
    pub codes: Vec<ReasonCode>,
    /// Reason String; left out if the packet would be too big.
    pub reason_string: Option<Text>,
    /// User properties; left out if the packet would be too big.
    pub user_properties: UserProperties,
}
