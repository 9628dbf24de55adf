//! `UserProperties`: the user properties of one packet, kept as the bytes they came in.
//! Used by every packet of 5.0 but PUBLISH and the will, where they are part of `application`.
//! They never lose their order [MQTT-3.3.2-18] and never hold anything but valid pairs.

use bytes::Bytes;

/// Validated user properties (2.2.2.2), in order, as on the wire.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct UserProperties(Bytes);
