//! `Offence`: everything a peer can do against the protocol, one variant each, and the reason code for it.
//! The decoders return it; whoever drives a connection returns those that need the connection's state.
//! It never holds strings or bytes of the peer, so that it can be logged as it is.

use core::fmt;

use crate::basic::{PacketKind, Version};
use crate::reason::ReasonCode;

macro_rules! offences {
    ($($(#[$doc:meta])* $name:ident $({ $($(#[$field_doc:meta])* $field:ident: $type:ty),+ })?
        => $reason:ident, $text:literal;)+) => {
        /// An offence against the protocol. It ends the connection: under 5.0 with
        /// [`Offence::reason`] in DISCONNECT (or in CONNACK before success) [MQTT-4.13.1-1], under
        /// 3.x by closing [3.1.1, MQTT-4.8.0-1].
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Offence {
            $($(#[$doc])* $name $({ $($(#[$field_doc])* $field: $type),+ })?,)+
        }

        impl Offence {
            /// The reason code to answer with.
            #[must_use]
            pub const fn reason(&self) -> ReasonCode {
                match self {
                    $(Self::$name { .. } => ReasonCode::$reason,)+
                }
            }
        }

        impl fmt::Display for Offence {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$name $({ $($field),+ })? => write!(f, $text),)+
                }
            }
        }
    };
}

offences! {
    // The fixed header.
    /// Packet type 0 (2.1.2).
    PacketTypeReserved => MalformedPacket, "packet type 0 is reserved";
    /// Flags other than those listed for the type [MQTT-2.1.3-1].
    FlagsInvalid {
        /// Type and flags as received.
        first_byte: u8
    } => MalformedPacket, "flags of the first byte 0x{first_byte:02X} are not those of its packet type";
    /// Remaining Length in more than four bytes, or in more than it needs [MQTT-1.5.5-1].
    RemainingLengthMalformed => MalformedPacket, "remaining length is longer than four bytes or than needed";
    /// Larger than [`crate::Limits::packet_bytes_max`].
    PacketTooLarge {
        /// Bytes of the whole packet.
        bytes: u32,
        /// The limit.
        max: u32
    } => PacketTooLarge, "packet of {bytes} bytes is larger than {max}";
    /// AUTH on a connection that does not speak 5.0.
    PacketTypeNotInVersion => ProtocolError, "packet type does not exist in this version";

    // Any body.
    /// A field reaches beyond the packet.
    BodyTooShort => MalformedPacket, "packet ends inside a field";
    /// Bytes behind the last field.
    TrailingBytes => MalformedPacket, "packet goes on behind its last field";
    /// A string with ill-formed UTF-8 [MQTT-1.5.4-1].
    TextNotUtf8 => MalformedPacket, "string is not well-formed UTF-8";
    /// A string with U+0000 [MQTT-1.5.4-2].
    TextContainsNul => MalformedPacket, "string contains U+0000";
    /// A string of more than 65,535 bytes: cannot come from the wire.
    FieldTooLong => MalformedPacket, "string is longer than 65535 bytes";
    /// A variable byte integer in more than four bytes, or in more than it needs [MQTT-1.5.5-1].
    VariableByteIntegerMalformed => MalformedPacket, "variable byte integer is longer than four bytes or than needed";
    /// Packet identifier 0 (2.2.1).
    PacketIdZero => ProtocolError, "packet identifier is 0";
    /// A reason or return code that the packet cannot carry [MQTT-3.14.2-1].
    ReasonCodeInvalid {
        /// The code as received.
        code: u8
    } => ProtocolError, "reason code 0x{code:02X} is not one of this packet";

    // Properties.
    /// Property Length reaches beyond the packet, or a property beyond Property Length (2.2.2.1).
    PropertyLengthInvalid => MalformedPacket, "properties reach beyond their length";
    /// A property that the standard does not list (2.2.2.2).
    PropertyUnknown {
        /// The identifier as received.
        id: u32
    } => MalformedPacket, "property 0x{id:02X} is unknown";
    /// A property that this packet cannot carry (2.2.2.2).
    PropertyNotAllowed {
        /// The identifier.
        id: u8
    } => MalformedPacket, "property 0x{id:02X} is not one of this packet";
    /// A property that may occur once and occurs again (2.2.2.2).
    PropertyDuplicate {
        /// The identifier.
        id: u8
    } => ProtocolError, "property 0x{id:02X} occurs more than once";
    /// A value that the property cannot have: a maximum of 0, a switch of 2, Maximum QoS 2.
    PropertyValueInvalid {
        /// The identifier.
        id: u8
    } => ProtocolError, "property 0x{id:02X} has a value that it cannot have";
    /// More than [`crate::Limits::user_properties_max`].
    UserPropertiesTooMany => QuotaExceeded, "more user properties than accepted";
    /// More than [`crate::Limits::user_properties_bytes_max`].
    UserPropertiesTooLarge => QuotaExceeded, "more bytes of user properties than accepted";

    // CONNECT.
    /// The first packet of a connection is not CONNECT [MQTT-3.1.0-1].
    FirstPacketNotConnect => ProtocolError, "first packet is not CONNECT";
    /// Neither "MQTT" nor "MQIsdp" [MQTT-3.1.2-1].
    ProtocolNameInvalid => UnsupportedProtocolVersion, "protocol name is neither MQTT nor MQIsdp";
    /// A protocol level that is not served under this name [MQTT-3.1.2-2].
    UnsupportedProtocolVersion {
        /// The level as received; bridges of Mosquitto set 0x80 in their first try.
        level: u8,
        /// The form of CONNACK to answer in: 3.1.1 (return code 1), or 5.0 (0x84) where the level,
        /// without 0x80, is 5 or more.
        answer: Version
    } => UnsupportedProtocolVersion, "protocol level {level} is not served (answer in the form of {answer})";
    /// The reserved bit of the connect flags is set [MQTT-3.1.2-3].
    ConnectFlagReserved => MalformedPacket, "reserved connect flag is set";
    /// Will QoS 3 [MQTT-3.1.2-12].
    WillQoSInvalid => MalformedPacket, "will QoS is 3";
    /// Will QoS or Will Retain without Will Flag [MQTT-3.1.2-11], [MQTT-3.1.2-13].
    WillFlagMissing => MalformedPacket, "will QoS or will retain is set without will flag";
    /// A password without a user name, before 5.0 [3.1.1, MQTT-3.1.2-22].
    PasswordWithoutUserName => MalformedPacket, "password without user name";
    /// Longer than [`crate::Limits::client_id_bytes_max`] [MQTT-3.1.3-8].
    ClientIdTooLong => ClientIdentifierNotValid, "client identifier is longer than accepted";
    /// Authentication Data without Authentication Method (3.1.2.11.10).
    AuthenticationDataWithoutMethod => ProtocolError, "authentication data without authentication method";

    // CONNACK.
    /// A reserved acknowledge flag is set [MQTT-3.2.2-1].
    ConnAckFlagReserved => MalformedPacket, "reserved acknowledge flag is set";
    /// Session present beside a failure [MQTT-3.2.2-6].
    SessionPresentWithFailure => ProtocolError, "session present is set beside a failure";

    // PUBLISH and will.
    /// QoS 3 [MQTT-3.3.1-4].
    QoSInvalid => MalformedPacket, "QoS is 3";
    /// DUP at QoS 0 [MQTT-3.3.1-2].
    DupAtQoS0 => MalformedPacket, "DUP is set at QoS 0";
    /// A topic of no character, and no alias in its place [MQTT-4.7.3-1], (3.3.2.1).
    TopicEmpty => ProtocolError, "topic name is empty and there is no alias";
    /// A topic name with `+` or `#` [MQTT-3.3.2-2].
    TopicWildcard => TopicNameInvalid, "topic name contains a wildcard";
    /// More levels than [`crate::Limits::topic_levels_max`].
    TopicTooDeep => TopicNameInvalid, "topic name has more levels than accepted";
    /// Topic Alias 0 [MQTT-3.3.2-8].
    TopicAliasZero => TopicAliasInvalid, "topic alias is 0";
    /// A response topic that is empty or has a wildcard [MQTT-3.3.2-14].
    ResponseTopicInvalid => ProtocolError, "response topic is empty or contains a wildcard";
    /// Subscription Identifier 0 (3.3.2.3.8, 3.8.2.1.2).
    SubscriptionIdZero => ProtocolError, "subscription identifier is 0";

    // SUBSCRIBE, UNSUBSCRIBE and their acknowledgements.
    /// No topic filter [MQTT-3.8.3-2], [MQTT-3.10.3-2].
    FiltersMissing => ProtocolError, "there is no topic filter";
    /// More than [`crate::Limits::filters_max`].
    FiltersTooMany => QuotaExceeded, "more topic filters than accepted";
    /// Reserved bits of the subscription options are set [MQTT-3.8.3-5].
    SubscriptionOptionsReserved => MalformedPacket, "reserved subscription options are set";
    /// QoS 3 is asked for (3.8.3.1).
    SubscriptionQoSInvalid => ProtocolError, "requested QoS is 3";
    /// Retain Handling 3 (3.8.3.1).
    RetainHandlingInvalid => ProtocolError, "retain handling is 3";
    /// No Local on a shared subscription [MQTT-3.8.3-4].
    NoLocalOnShared => ProtocolError, "no local on a shared subscription";
    /// SUBACK or UNSUBACK without a reason code [MQTT-3.8.4-6].
    ReasonCodesMissing => ProtocolError, "there is no reason code";

    // AUTH.
    /// AUTH without Authentication Method (3.15.2.2.2).
    AuthenticationMethodMissing => ProtocolError, "authentication method is missing";

    // Direction: `Packet::check_from_client`.
    /// A packet that only a server sends (2.1.2).
    NotFromClient {
        /// The packet.
        kind: PacketKind
    } => ProtocolError, "{kind} comes from a client";
    /// A client's PUBLISH with a Subscription Identifier [MQTT-3.3.4-6].
    SubscriptionIdFromClient => ProtocolError, "subscription identifier in a PUBLISH of a client";
    /// A client's DISCONNECT with a code or property of servers (3.14.2.1).
    DisconnectNotFromClient => ProtocolError, "DISCONNECT of a client with what only a server says";
    /// A client's AUTH that claims success: only the server ends an authentication (3.15.2.1).
    AuthNotFromClient => ProtocolError, "AUTH of a client with success";

    // What takes the state of the connection to see.
    /// A second CONNECT [MQTT-3.1.0-2].
    SecondConnect => ProtocolError, "second CONNECT";
    /// A topic alias above our Topic Alias Maximum [MQTT-3.3.2-9].
    TopicAliasAboveMaximum => TopicAliasInvalid, "topic alias is above our maximum";
    /// A topic alias that stands for nothing yet on this connection (3.3.2.3.4).
    TopicAliasUnknown => ProtocolError, "topic alias is unknown";
    /// More unacknowledged QoS 1 and 2 publishes than our Receive Maximum [MQTT-3.3.4-7].
    ReceiveMaximumExceeded => ReceiveMaximumExceeded, "more publishes in flight than our receive maximum";
    /// An acknowledgement for an exchange of another kind (4.3).
    AckOfOtherExchange => ProtocolError, "acknowledgement does not belong to its exchange";
    /// DISCONNECT sets a session expiry where CONNECT said 0 (3.14.2.2.2).
    SessionExpiryRaised => ProtocolError, "session expiry is raised from 0 at disconnect";
    /// AUTH where no authentication is going on [MQTT-4.12.0-7].
    AuthOutOfTurn => ProtocolError, "AUTH out of turn";
    /// AUTH with another method than CONNECT [MQTT-4.12.0-5].
    AuthenticationMethodChanged => ProtocolError, "authentication method is not that of CONNECT";
}

impl core::error::Error for Offence {}
