//! UNSUBSCRIBE (3.10): topic filters to give up.
//! Decoded by servers, encoded by clients.
//! It never looks into a filter.

use alloc::vec::Vec;

use crate::basic::PacketId;
use crate::text::Text;
use crate::user_properties::UserProperties;

/// UNSUBSCRIBE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsubscribe {
    /// Repeated by UNSUBACK.
    pub packet_id: PacketId,
    /// User properties.
    pub user_properties: UserProperties,
    /// At least one; their syntax is not checked here.
    pub filters: Vec<Text>,
}
