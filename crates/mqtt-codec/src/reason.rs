//! `ReasonCode`: the one table of MQTT 5.0 reason codes: value, name, and the packets that may carry it.
//! Used by every acknowledgement, by `Offence` and by whoever decides what to answer.
//! It never maps by guess: a 3.x return code without a counterpart is none.

use core::fmt;

use crate::basic::{PacketKind, QoS};
use crate::cursor::Cursor;
use crate::offence::Offence;

/// A set of packet types, one bit for each type number.
const fn packets(kinds: &[PacketKind]) -> u16 {
    let mut set = 0;
    let mut rest = kinds;
    while let [first, others @ ..] = rest {
        set |= 1 << (*first as u8);
        rest = others;
    }
    set
}

macro_rules! reason_codes {
    ($($(#[$doc:meta])* $name:ident = $value:literal, $text:literal, [$($kind:ident),+];)+) => {
        /// A reason code (2.4). Below 0x80 it reports success, from 0x80 on a failure.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum ReasonCode {
            $($(#[$doc])* $name = $value,)+
        }

        impl ReasonCode {
            /// Every reason code, in the order of its values.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The code with this value, or `None` if the standard lists none.
            #[must_use]
            pub const fn from_value(value: u8) -> Option<Self> {
                match value {
                    $($value => Some(Self::$name),)+
                    _ => None,
                }
            }

            /// The name of the standard, in lower case.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)+
                }
            }

            const fn packets(self) -> u16 {
                match self {
                    $(Self::$name => const { packets(&[$(PacketKind::$kind),+]) },)+
                }
            }
        }
    };
}

reason_codes! {
    /// Success; in SUBACK granted QoS 0, in DISCONNECT normal disconnection.
    #[default]
    Success = 0x00, "success", [ConnAck, PubAck, PubRec, PubRel, PubComp, SubAck, UnsubAck, Disconnect, Auth];
    /// Granted QoS 1.
    GrantedQoS1 = 0x01, "granted QoS 1", [SubAck];
    /// Granted QoS 2.
    GrantedQoS2 = 0x02, "granted QoS 2", [SubAck];
    /// The client disconnects and wants its will published.
    DisconnectWithWill = 0x04, "disconnect with will message", [Disconnect];
    /// Accepted, and nobody subscribes to it.
    NoMatchingSubscribers = 0x10, "no matching subscribers", [PubAck, PubRec];
    /// There was no such subscription to delete.
    NoSubscriptionExisted = 0x11, "no subscription existed", [UnsubAck];
    /// The authentication goes on with another step.
    ContinueAuthentication = 0x18, "continue authentication", [Auth];
    /// The client starts a re-authentication.
    ReAuthenticate = 0x19, "re-authenticate", [Auth];
    /// The sender does not wish to say why, or no other code fits.
    UnspecifiedError = 0x80, "unspecified error", [ConnAck, PubAck, PubRec, SubAck, UnsubAck, Disconnect];
    /// The packet does not follow the format.
    MalformedPacket = 0x81, "malformed packet", [ConnAck, Disconnect];
    /// The packet is well formed and not allowed here.
    ProtocolError = 0x82, "protocol error", [ConnAck, Disconnect];
    /// Valid, and not accepted by this implementation.
    ImplementationSpecificError = 0x83, "implementation specific error", [ConnAck, PubAck, PubRec, SubAck, UnsubAck, Disconnect];
    /// The server does not speak this version.
    UnsupportedProtocolVersion = 0x84, "unsupported protocol version", [ConnAck];
    /// The client identifier is not allowed.
    ClientIdentifierNotValid = 0x85, "client identifier not valid", [ConnAck];
    /// Credentials refused.
    BadUserNameOrPassword = 0x86, "bad user name or password", [ConnAck];
    /// Not permitted to do this.
    NotAuthorized = 0x87, "not authorized", [ConnAck, PubAck, PubRec, SubAck, UnsubAck, Disconnect];
    /// The server cannot serve now.
    ServerUnavailable = 0x88, "server unavailable", [ConnAck];
    /// The server is too busy; try again later.
    ServerBusy = 0x89, "server busy", [ConnAck, Disconnect];
    /// Banned by an operator.
    Banned = 0x8A, "banned", [ConnAck];
    /// The server stops.
    ServerShuttingDown = 0x8B, "server shutting down", [Disconnect];
    /// The authentication method is unknown, or not the one in use.
    BadAuthenticationMethod = 0x8C, "bad authentication method", [ConnAck, Disconnect];
    /// No packet for one and a half keep alive intervals.
    KeepAliveTimeout = 0x8D, "keep alive timeout", [Disconnect];
    /// Another connection uses the same client identifier.
    SessionTakenOver = 0x8E, "session taken over", [Disconnect];
    /// The topic filter is well formed and not accepted.
    TopicFilterInvalid = 0x8F, "topic filter invalid", [SubAck, UnsubAck, Disconnect];
    /// The topic name is well formed and not accepted.
    TopicNameInvalid = 0x90, "topic name invalid", [ConnAck, PubAck, PubRec, Disconnect];
    /// The packet identifier is in use already.
    PacketIdentifierInUse = 0x91, "packet identifier in use", [PubAck, PubRec, SubAck, UnsubAck];
    /// The packet identifier is not known.
    PacketIdentifierNotFound = 0x92, "packet identifier not found", [PubRel, PubComp];
    /// More unacknowledged publishes than the Receive Maximum.
    ReceiveMaximumExceeded = 0x93, "receive maximum exceeded", [Disconnect];
    /// The topic alias is 0 or above the maximum.
    TopicAliasInvalid = 0x94, "topic alias invalid", [Disconnect];
    /// The packet is larger than the receiver accepts.
    PacketTooLarge = 0x95, "packet too large", [ConnAck, Disconnect];
    /// Data comes too fast.
    MessageRateTooHigh = 0x96, "message rate too high", [Disconnect];
    /// A limit of the implementation or of an operator is reached.
    QuotaExceeded = 0x97, "quota exceeded", [ConnAck, PubAck, PubRec, SubAck, Disconnect];
    /// Closed by an operator.
    AdministrativeAction = 0x98, "administrative action", [Disconnect];
    /// The payload is not of the format it claims.
    PayloadFormatInvalid = 0x99, "payload format invalid", [ConnAck, PubAck, PubRec, Disconnect];
    /// Retained messages are not supported.
    RetainNotSupported = 0x9A, "retain not supported", [ConnAck, Disconnect];
    /// This QoS is not supported.
    QoSNotSupported = 0x9B, "QoS not supported", [ConnAck, Disconnect];
    /// Use another server for now.
    UseAnotherServer = 0x9C, "use another server", [ConnAck, Disconnect];
    /// Use another server from now on.
    ServerMoved = 0x9D, "server moved", [ConnAck, Disconnect];
    /// Shared subscriptions are not supported.
    SharedSubscriptionsNotSupported = 0x9E, "shared subscriptions not supported", [SubAck, Disconnect];
    /// Connections come too fast.
    ConnectionRateExceeded = 0x9F, "connection rate exceeded", [ConnAck, Disconnect];
    /// The time allowed for a connection is over.
    MaximumConnectTime = 0xA0, "maximum connect time", [Disconnect];
    /// Subscription identifiers are not supported.
    SubscriptionIdentifiersNotSupported = 0xA1, "subscription identifiers not supported", [SubAck, Disconnect];
    /// Wildcard subscriptions are not supported.
    WildcardSubscriptionsNotSupported = 0xA2, "wildcard subscriptions not supported", [SubAck, Disconnect];
}

impl ReasonCode {
    /// Reads the code of a packet of 5.0.
    #[inline]
    pub(crate) fn read(kind: PacketKind, cursor: &mut Cursor<'_>) -> Result<Self, Offence> {
        let code = cursor.u8()?;
        Self::from_value(code)
            .filter(|reason| reason.is_allowed_in(kind))
            .ok_or(Offence::ReasonCodeInvalid { code })
    }

    /// The byte on the wire of 5.0.
    #[inline]
    #[must_use]
    pub const fn value(self) -> u8 {
        self as u8
    }

    /// Whether it reports a failure: 0x80 and above.
    #[inline]
    #[must_use]
    pub const fn is_error(self) -> bool {
        self.value() >= 0x80
    }

    /// Whether a packet of this type may carry it, by the tables of chapter 3
    /// ([MQTT-3.2.2-8], [MQTT-3.4.2-1], ...).
    #[must_use]
    pub const fn is_allowed_in(self, kind: PacketKind) -> bool {
        self.packets() & (1 << (kind as u8)) != 0
    }

    /// Whether a *client* may disconnect with it; the other codes of DISCONNECT are the server's
    /// (3.14.2.1).
    #[must_use]
    pub const fn is_disconnect_of_client(self) -> bool {
        matches!(self.value(), 0x00 | 0x04 | 0x80..=0x83 | 0x90 | 0x93..=0x99)
    }

    /// The code with which SUBACK grants a QoS (3.9.3).
    #[must_use]
    pub const fn granted(qos: QoS) -> Self {
        match qos {
            QoS::AtMostOnce => Self::Success,
            QoS::AtLeastOnce => Self::GrantedQoS1,
            QoS::ExactlyOnce => Self::GrantedQoS2,
        }
    }

    /// The QoS that SUBACK grants with this code; `None` if it refuses.
    #[must_use]
    pub const fn granted_qos(self) -> Option<QoS> {
        match self {
            Self::Success => Some(QoS::AtMostOnce),
            Self::GrantedQoS1 => Some(QoS::AtLeastOnce),
            Self::GrantedQoS2 => Some(QoS::ExactlyOnce),
            _ => None,
        }
    }

    /// The 3.x CONNACK return code, 0 to 5, that says the same (3.1.1, 3.2.2.3). `None` where no
    /// return code applies: then a server closes without CONNACK [3.1.1, MQTT-3.2.2-6].
    #[must_use]
    pub const fn connack_return_code(self) -> Option<u8> {
        match self {
            Self::Success => Some(0),
            Self::UnsupportedProtocolVersion => Some(1),
            Self::ClientIdentifierNotValid => Some(2),
            Self::ServerUnavailable
            | Self::ServerBusy
            | Self::QuotaExceeded
            | Self::UseAnotherServer
            | Self::ServerMoved
            | Self::ConnectionRateExceeded => Some(3),
            Self::BadUserNameOrPassword => Some(4),
            Self::NotAuthorized | Self::Banned | Self::BadAuthenticationMethod => Some(5),
            _ => None,
        }
    }

    /// The reason code that says the same as a 3.x CONNACK return code; `None` above 5.
    #[must_use]
    pub const fn from_connack_return_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Success),
            1 => Some(Self::UnsupportedProtocolVersion),
            2 => Some(Self::ClientIdentifierNotValid),
            3 => Some(Self::ServerUnavailable),
            4 => Some(Self::BadUserNameOrPassword),
            5 => Some(Self::NotAuthorized),
            _ => None,
        }
    }
}

impl From<ReasonCode> for u8 {
    fn from(reason: ReasonCode) -> Self {
        reason.value()
    }
}

impl fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (0x{:02X})", self.name(), self.value())
    }
}
