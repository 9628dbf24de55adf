//! Builders for the packets a client sends, right ones and wrong ones.
//! Used by `RawClient` and by the tests; they write what they are told and never check it.

use crate::wire::{Props, Version, kind, packet, string};

/// A will in a CONNECT.
#[derive(Clone, Debug)]
pub struct Will {
    /// Will Topic.
    pub topic: Vec<u8>,
    /// Will Payload.
    pub payload: Vec<u8>,
    /// Will QoS, written as given (3 is possible).
    pub qos: u8,
    /// Will Retain.
    pub retain: bool,
    /// Will properties; written in 5.0 only.
    pub props: Props,
}

impl Will {
    /// A will at QoS 0, not retained, without properties.
    pub fn new(topic: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> Self {
        let (topic, payload) = (topic.as_ref().to_vec(), payload.as_ref().to_vec());
        Self { topic, payload, qos: 0, retain: false, props: Props::new() }
    }

    /// With this QoS.
    pub fn qos(mut self, qos: u8) -> Self {
        self.qos = qos;
        self
    }

    /// Retained.
    pub fn retain(mut self) -> Self {
        self.retain = true;
        self
    }

    /// With these properties.
    pub fn props(mut self, props: Props) -> Self {
        self.props = props;
        self
    }
}

/// A CONNECT.
#[derive(Clone, Debug)]
pub struct Connect {
    /// The version: decides name, level and whether there are properties.
    pub version: Version,
    /// Client Identifier, any bytes.
    pub client_id: Vec<u8>,
    /// Clean Session or Clean Start.
    pub clean: bool,
    /// Keep Alive in seconds.
    pub keep_alive_s: u16,
    /// The will, if any.
    pub will: Option<Will>,
    /// User Name, if any.
    pub user: Option<Vec<u8>>,
    /// Password, if any.
    pub password: Option<Vec<u8>>,
    /// CONNECT properties; written in 5.0 only.
    pub props: Props,
}

impl Connect {
    /// A CONNECT of this version with a clean session, keep alive 60 s and nothing else.
    pub fn new(version: Version, client_id: impl AsRef<[u8]>) -> Self {
        let client_id = client_id.as_ref().to_vec();
        let (will, user, password, props) = (None, None, None, Props::new());
        Self { version, client_id, clean: true, keep_alive_s: 60, will, user, password, props }
    }

    /// A 5.0 CONNECT, see [`Connect::new`].
    pub fn v5(client_id: impl AsRef<[u8]>) -> Self {
        Self::new(Version::V5, client_id)
    }

    /// A 3.1.1 CONNECT, see [`Connect::new`].
    pub fn v3(client_id: impl AsRef<[u8]>) -> Self {
        Self::new(Version::V3_1_1, client_id)
    }

    /// With Clean Session / Clean Start set or not.
    pub fn clean(mut self, clean: bool) -> Self {
        self.clean = clean;
        self
    }

    /// With this keep alive in seconds.
    pub fn keep_alive(mut self, seconds: u16) -> Self {
        self.keep_alive_s = seconds;
        self
    }

    /// With this will.
    pub fn will(mut self, will: Will) -> Self {
        self.will = Some(will);
        self
    }

    /// With this user name.
    pub fn user(mut self, name: impl AsRef<[u8]>) -> Self {
        self.user = Some(name.as_ref().to_vec());
        self
    }

    /// With this password.
    pub fn password(mut self, password: impl AsRef<[u8]>) -> Self {
        self.password = Some(password.as_ref().to_vec());
        self
    }

    /// With these properties.
    pub fn props(mut self, props: Props) -> Self {
        self.props = props;
        self
    }

    /// The connect flags that follow from the fields.
    pub fn flags(&self) -> u8 {
        let will = self.will.as_ref().map_or(0, |w| 0x04 | (w.qos << 3) | (u8::from(w.retain) << 5));
        u8::from(self.clean) << 1
            | will
            | u8::from(self.password.is_some()) << 6
            | u8::from(self.user.is_some()) << 7
    }

    /// The packet.
    pub fn bytes(&self) -> Vec<u8> {
        self.bytes_with_flags(self.flags())
    }

    /// The packet with other connect flags than its fields ask for.
    pub fn bytes_with_flags(&self, flags: u8) -> Vec<u8> {
        let (name, level) = match self.version {
            Version::V3_1 => ("MQIsdp", 3),
            Version::V3_1_1 => ("MQTT", 4),
            Version::V5 => ("MQTT", 5),
        };
        self.bytes_named(name.as_bytes(), level, flags)
    }

    /// The packet with this protocol name, level and flags.
    pub fn bytes_named(&self, name: &[u8], level: u8, flags: u8) -> Vec<u8> {
        let mut body = string(name);
        body.extend([level, flags]);
        body.extend(self.keep_alive_s.to_be_bytes());
        body.extend(self.props_of(&self.props));
        body.extend(string(&self.client_id));
        if let Some(will) = &self.will {
            body.extend(self.props_of(&will.props));
            body.extend(string(&will.topic));
            body.extend(string(&will.payload));
        }
        for field in [&self.user, &self.password].into_iter().flatten() {
            body.extend(string(field));
        }
        packet(kind::CONNECT << 4, &body)
    }

    fn props_of(&self, props: &Props) -> Vec<u8> {
        if self.version == Version::V5 { props.encode() } else { Vec::new() }
    }
}

/// A PUBLISH.
#[derive(Clone, Debug)]
pub struct Publish {
    version: Version,
    topic: Vec<u8>,
    payload: Vec<u8>,
    qos: u8,
    packet_id: u16,
    flags: u8,
    props: Props,
}

impl Publish {
    /// A QoS 0 PUBLISH of this version.
    pub fn new(version: Version, topic: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> Self {
        let (topic, payload) = (topic.as_ref().to_vec(), payload.as_ref().to_vec());
        Self { version, topic, payload, qos: 0, packet_id: 0, flags: 0, props: Props::new() }
    }

    /// A 5.0 PUBLISH at QoS 0.
    pub fn v5(topic: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> Self {
        Self::new(Version::V5, topic, payload)
    }

    /// A 3.1.1 PUBLISH at QoS 0.
    pub fn v3(topic: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> Self {
        Self::new(Version::V3_1_1, topic, payload)
    }

    /// At this QoS (3 is possible) with this packet id, which is written for any QoS above 0.
    pub fn qos(mut self, qos: u8, packet_id: u16) -> Self {
        self.qos = qos;
        self.packet_id = packet_id;
        self
    }

    /// With RETAIN set.
    pub fn retain(mut self) -> Self {
        self.flags |= 0x01;
        self
    }

    /// With DUP set.
    pub fn dup(mut self) -> Self {
        self.flags |= 0x08;
        self
    }

    /// With these properties.
    pub fn props(mut self, props: Props) -> Self {
        self.props = props;
        self
    }

    /// The packet.
    pub fn bytes(&self) -> Vec<u8> {
        let mut body = string(&self.topic);
        if self.qos > 0 {
            body.extend(self.packet_id.to_be_bytes());
        }
        if self.version == Version::V5 {
            body.extend(self.props.encode());
        }
        body.extend_from_slice(&self.payload);
        packet(kind::PUBLISH << 4 | self.flags | self.qos << 1, &body)
    }
}

/// A SUBSCRIBE of (filter, options byte) pairs; the properties are written in 5.0 only.
pub fn subscribe(version: Version, packet_id: u16, filters: &[(&str, u8)], props: &Props) -> Vec<u8> {
    let mut body = with_id(version, packet_id, props);
    for (filter, options) in filters {
        body.extend(string(filter));
        body.push(*options);
    }
    packet(kind::SUBSCRIBE << 4 | 2, &body)
}

/// An UNSUBSCRIBE; the properties are written in 5.0 only.
pub fn unsubscribe(version: Version, packet_id: u16, filters: &[&str], props: &Props) -> Vec<u8> {
    let mut body = with_id(version, packet_id, props);
    for filter in filters {
        body.extend(string(filter));
    }
    packet(kind::UNSUBSCRIBE << 4 | 2, &body)
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP with nothing but the packet id: the same in every version.
pub fn ack(ack_kind: u8, packet_id: u16) -> Vec<u8> {
    let flags = if ack_kind == kind::PUBREL { 2 } else { 0 };
    packet(ack_kind << 4 | flags, &packet_id.to_be_bytes())
}

/// The same acks with a reason code and properties (5.0).
pub fn ack_v5(ack_kind: u8, packet_id: u16, reason: u8, props: &Props) -> Vec<u8> {
    let flags = if ack_kind == kind::PUBREL { 2 } else { 0 };
    let mut body = packet_id.to_be_bytes().to_vec();
    body.push(reason);
    body.extend(props.encode());
    packet(ack_kind << 4 | flags, &body)
}

/// PINGREQ.
pub fn pingreq() -> Vec<u8> {
    packet(kind::PINGREQ << 4, &[])
}

/// DISCONNECT without a body: the only form of 3.1.1, and reason 0x00 in 5.0.
pub fn disconnect() -> Vec<u8> {
    packet(kind::DISCONNECT << 4, &[])
}

/// DISCONNECT with a reason code and properties (5.0).
pub fn disconnect_v5(reason: u8, props: &Props) -> Vec<u8> {
    let mut body = vec![reason];
    body.extend(props.encode());
    packet(kind::DISCONNECT << 4, &body)
}

/// AUTH (5.0).
pub fn auth(reason: u8, props: &Props) -> Vec<u8> {
    let mut body = vec![reason];
    body.extend(props.encode());
    packet(kind::AUTH << 4, &body)
}

fn with_id(version: Version, packet_id: u16, props: &Props) -> Vec<u8> {
    let mut body = packet_id.to_be_bytes().to_vec();
    if version == Version::V5 {
        body.extend(props.encode());
    }
    body
}
