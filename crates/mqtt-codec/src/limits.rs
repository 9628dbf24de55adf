//! `Limits`: the bounds a receiver sets for what it decodes.
//! Made by the configuration of a listener, passed to `frame::peek` and to the decoders.
//! It never says what a peer accepts: that is `encode_within`'s argument.

/// Bounds on one packet. The defaults suit a server on the open internet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a whole packet, fixed header included: our Maximum Packet Size (3.2.2.3.6).
    /// Beyond it [`crate::Offence::PacketTooLarge`], before any of the body is needed.
    pub packet_bytes_max: u32,
    /// Levels of a topic name: one more than its slashes.
    pub topic_levels_max: u16,
    /// User properties in one packet (in CONNECT: of the packet and of the will, each).
    pub user_properties_max: u16,
    /// Bytes of all user properties in one packet, as they are on the wire.
    pub user_properties_bytes_max: u32,
    /// Topic filters in one SUBSCRIBE or UNSUBSCRIBE. High enough that a quota can be answered
    /// filter by filter.
    pub filters_max: u16,
    /// Bytes of a client identifier.
    pub client_id_bytes_max: u16,
}

impl Limits {
    /// The largest packet the protocol can frame: a Remaining Length of 268,435,455 behind five
    /// bytes of fixed header (2.1.4).
    pub const PACKET_BYTES_CEILING: u32 = 268_435_455 + 5;

    /// As [`Limits::default`], in a constant.
    pub const DEFAULT: Self = Self {
        packet_bytes_max: 1024 * 1024,
        topic_levels_max: 128,
        user_properties_max: 64,
        user_properties_bytes_max: 16 * 1024,
        filters_max: 16_384,
        client_id_bytes_max: 1024,
    };

    /// Whatever the protocol can carry: for tests and for clients that trust their server.
    pub const NONE: Self = Self {
        packet_bytes_max: Self::PACKET_BYTES_CEILING,
        topic_levels_max: u16::MAX,
        user_properties_max: u16::MAX,
        user_properties_bytes_max: u32::MAX,
        filters_max: u16::MAX,
        client_id_bytes_max: u16::MAX,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}
