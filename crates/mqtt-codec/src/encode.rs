//! Writing to the wire: the error of encoding, and the small writers that all packets share.
//! Called by the packets' `encode`; `EncodeError` is seen by whoever sends.
//! It never writes to a socket and never measures a packet twice.

use core::fmt;

/// The most bytes a packet's Remaining Length can tell (2.1.4).
pub(crate) const REMAINING_LENGTH_MAX: usize = 268_435_455;

/// Why a packet cannot be put on the wire. The output is left as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EncodeError {
    /// The packet does not exist in this version: AUTH before 5.0.
    NotInVersion,
    /// 3.x has no CONNACK return code for this reason: close without CONNACK
    /// [3.1.1, MQTT-3.2.2-6].
    NoReturnCode,
    /// The reason code is not one of this packet.
    ReasonCodeInvalid,
    /// Larger than the peer's Maximum Packet Size, also without what may be left out
    /// [MQTT-3.1.2-24], or larger than the protocol can frame.
    PacketTooLarge,
    /// A binary field of more than 65,535 bytes.
    FieldTooLong,
    /// PUBLISH with QoS above 0 and no packet identifier, or with QoS 0 and one
    /// [MQTT-2.2.1-2], [MQTT-2.2.1-3].
    PacketIdMismatch,
    /// A subscription identifier of 0 or above 268,435,455 (3.8.2.1.2).
    SubscriptionIdInvalid,
    /// SUBSCRIBE or UNSUBSCRIBE without a filter, SUBACK or UNSUBACK without a code.
    ListEmpty,
    /// A password without a user name, before 5.0 [3.1.1, MQTT-3.1.2-22].
    PasswordWithoutUserName,
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotInVersion => "packet does not exist in this protocol version",
            Self::NoReturnCode => "no CONNACK return code of 3.x fits the reason; close without CONNACK",
            Self::ReasonCodeInvalid => "reason code is not one of this packet",
            Self::PacketTooLarge => "packet is larger than the peer accepts",
            Self::FieldTooLong => "binary field is longer than 65535 bytes",
            Self::PacketIdMismatch => "expected a packet identifier above QoS 0, and none at QoS 0",
            Self::SubscriptionIdInvalid => "expected a subscription identifier from 1 to 268435455",
            Self::ListEmpty => "expected at least one topic filter or reason code",
            Self::PasswordWithoutUserName => "expected a user name with the password before version 5.0",
        })
    }
}

impl core::error::Error for EncodeError {}
