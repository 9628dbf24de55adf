//! PUBACK, PUBREC, PUBREL, PUBCOMP (3.4 to 3.7): the four steps of QoS 1 and 2, which share one layout.
//! Decoded and encoded on both sides, once or twice for each message above QoS 0.
//! Without failure, reason string and user properties they are never longer than four bytes.

use crate::basic::PacketId;
use crate::reason::ReasonCode;
use crate::text::Text;
use crate::user_properties::UserProperties;

macro_rules! acks {
    ($($(#[$doc:meta])* $name:ident;)+) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name {
            /// The identifier of the PUBLISH.
            pub packet_id: PacketId,
            /// The outcome; always success under 3.x, where it is not written.
            pub reason: ReasonCode,
            /// Reason String; left out if the packet would be too big.
            pub reason_string: Option<Text>,
            /// User properties; left out if the packet would be too big.
            pub user_properties: UserProperties,
        }

        impl $name {
            /// With a reason code alone.
            #[inline]
            #[must_use]
            pub fn new(packet_id: PacketId, reason: ReasonCode) -> Self {
                Self { packet_id, reason, reason_string: None, user_properties: UserProperties::default() }
            }
        }
    )+};
}

acks! {
    /// PUBACK (3.4): ends a QoS 1 exchange.
    PubAck;
    /// PUBREC (3.5): a QoS 2 message is owned by the receiver.
    PubRec;
    /// PUBREL (3.6): a QoS 2 message may be forgotten by the receiver.
    PubRel;
    /// PUBCOMP (3.7): ends a QoS 2 exchange.
    PubComp;
}
