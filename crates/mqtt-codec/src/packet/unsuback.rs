//! UNSUBACK (3.11): one code for each filter of an UNSUBSCRIBE.
//! Encoded by servers, decoded by clients.
//! Under 3.x it never has a payload.

use alloc::vec::Vec;

use crate::basic::PacketId;
use crate::reason::ReasonCode;
use crate::text::Text;
use crate::user_properties::UserProperties;

/// UNSUBACK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnsubAck {
    /// That of the UNSUBSCRIBE.
    pub packet_id: PacketId,
    /// One for each filter, in order; at least one. Empty when decoded from 3.x.
    pub codes: Vec<ReasonCode>,
    /// Reason String; left out if the packet would be too big.
    pub reason_string: Option<Text>,
    /// User properties; left out if the packet would be too big.
    pub user_properties: UserProperties,
}
