//! SUBSCRIBE (3.8): topic filters with their options.
//! Decoded by servers, encoded by clients.
//! It never looks into a filter, but for the `$share/` that forbids No Local.

use alloc::vec::Vec;

use crate::basic::{PacketId, QoS};
use crate::text::Text;
use crate::user_properties::UserProperties;

/// SUBSCRIBE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribe {
    /// Repeated by SUBACK.
    pub packet_id: PacketId,
    /// Subscription Identifier of all its filters, 1 to 268,435,455.
    pub subscription_id: Option<u32>,
    /// User properties.
    pub user_properties: UserProperties,
    /// At least one.
    pub filters: Vec<SubscribeFilter>,
}

/// A topic filter and how it is subscribed to. Its syntax is not checked here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscribeFilter {
    /// The filter as received.
    pub filter: Text,
    /// Its options.
    pub options: SubscriptionOptions,
}

/// Subscription options (3.8.3.1). Under 3.x only the QoS is on the wire.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct SubscriptionOptions {
    /// The highest QoS to deliver with.
    pub qos: QoS,
    /// Do not send the subscriber what it publishes itself.
    pub no_local: bool,
    /// Keep RETAIN as it was published.
    pub retain_as_published: bool,
    /// What to do with retained messages at subscribe.
    pub retain_handling: RetainHandling,
}

/// Retain Handling (3.8.3.1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RetainHandling {
    /// Send retained messages at each subscribe; what 3.x does.
    #[default]
    Send = 0,
    /// Send them only if the subscription is new.
    SendIfNew = 1,
    /// Do not send them.
    DoNotSend = 2,
}
