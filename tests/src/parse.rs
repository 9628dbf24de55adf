//! Packets as the broker sent them: split by the fixed header, then read into light typed forms.
//! Used by `RawClient` and the tests; panics with the bytes when a packet is not well formed.

use crate::wire::{Version, kind, prop};

/// One packet: first byte and body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Type and flags.
    pub first: u8,
    /// Everything after the fixed header.
    pub body: Vec<u8>,
    /// Bytes on the wire, fixed header included.
    pub wire_len: usize,
}

/// CONNACK.
#[derive(Clone, Debug)]
pub struct ConnAck {
    /// The acknowledge flags as sent.
    pub flags: u8,
    /// Session Present.
    pub session_present: bool,
    /// Reason code, or return code in 3.x.
    pub reason: u8,
    /// Properties (none in 3.x).
    pub props: PropList,
}

/// PUBLISH.
#[derive(Clone, Debug)]
pub struct ReceivedPublish {
    /// DUP.
    pub dup: bool,
    /// QoS.
    pub qos: u8,
    /// RETAIN.
    pub retain: bool,
    /// Topic name as sent, empty when only an alias was.
    pub topic: String,
    /// Packet id, 0 at QoS 0.
    pub packet_id: u16,
    /// Properties (none in 3.x).
    pub props: PropList,
    /// Payload.
    pub payload: Vec<u8>,
}

impl ReceivedPublish {
    /// The payload as text, for messages.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.payload).into_owned()
    }
}

/// PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK or UNSUBACK.
#[derive(Clone, Debug)]
pub struct Ack {
    /// The packet id that is acknowledged.
    pub packet_id: u16,
    /// Reason codes: one for the PUB acks (0 when left out), one for each filter in SUBACK and UNSUBACK.
    pub codes: Vec<u8>,
    /// Properties (none in 3.x).
    pub props: PropList,
}

impl Ack {
    /// The only, or first, code.
    pub fn code(&self) -> u8 {
        self.codes[0]
    }
}

/// DISCONNECT or AUTH of 5.0.
#[derive(Clone, Debug)]
pub struct Reasoned {
    /// Reason code, 0 when left out.
    pub reason: u8,
    /// Properties.
    pub props: PropList,
}

/// A property's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Any of the number forms.
    Number(u32),
    /// A string or binary data.
    Bytes(Vec<u8>),
    /// A User Property.
    Pair(Vec<u8>, Vec<u8>),
}

/// Properties in the order in which they were sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PropList(pub Vec<(u8, Value)>);

impl PropList {
    /// The number of this property, if it was sent.
    pub fn number(&self, id: u8) -> Option<u32> {
        self.numbers(id).first().copied()
    }

    /// The numbers of every occurrence of this property.
    pub fn numbers(&self, id: u8) -> Vec<u32> {
        let of =
            |(i, v): &(u8, Value)| if let (true, Value::Number(n)) = (*i == id, v) { Some(*n) } else { None };
        self.0.iter().filter_map(of).collect()
    }

    /// The bytes of this property, if it was sent.
    pub fn bytes(&self, id: u8) -> Option<Vec<u8>> {
        self.0.iter().find_map(|(i, v)| match v {
            Value::Bytes(bytes) if *i == id => Some(bytes.clone()),
            _ => None,
        })
    }

    /// The text of this property, if it was sent.
    pub fn text(&self, id: u8) -> Option<String> {
        self.bytes(id).map(|bytes| String::from_utf8(bytes).expect("a string property is UTF-8"))
    }

    /// The User Properties in order.
    pub fn user(&self) -> Vec<(String, String)> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("a user property is UTF-8");
        let pairs = self.0.iter().filter_map(|(_, v)| match v {
            Value::Pair(name, value) => Some((text(name), text(value))),
            _ => None,
        });
        pairs.collect()
    }

    /// Whether this property was sent.
    pub fn has(&self, id: u8) -> bool {
        self.0.iter().any(|(i, _)| *i == id)
    }
}

impl Packet {
    /// Takes one whole packet from the front of `buffer`, or leaves it as it is.
    pub fn take(buffer: &mut Vec<u8>) -> Option<Self> {
        let mut length = 0usize;
        let mut at = 1;
        loop {
            let byte = *buffer.get(at)?;
            length |= usize::from(byte & 0x7F) << (7 * (at - 1));
            at += 1;
            if byte & 0x80 == 0 {
                break;
            }
            assert!(at < 5, "remaining length of more than four bytes: {:02x?}", &buffer[..5]);
            assert!(buffer.get(at) != Some(&0), "remaining length in more bytes than needed");
        }
        if buffer.len() < at + length {
            return None;
        }
        let whole: Vec<u8> = buffer.drain(..at + length).collect();
        Some(Self { first: whole[0], body: whole[at..].to_vec(), wire_len: whole.len() })
    }

    /// The packet type, see [`kind`].
    pub fn kind(&self) -> u8 {
        self.first >> 4
    }

    /// Reads a CONNACK.
    pub fn connack(&self, version: Version) -> ConnAck {
        let mut body = self.open(kind::CONNACK, 0);
        let (flags, reason) = (body.byte(), body.byte());
        let props = body.props_if(version == Version::V5);
        body.end();
        ConnAck { flags, session_present: flags & 1 == 1, reason, props }
    }

    /// Reads a PUBLISH.
    pub fn publish(&self, version: Version) -> ReceivedPublish {
        let mut body = self.open(kind::PUBLISH, self.first & 0x0F);
        let (dup, qos, retain) = (self.first & 8 != 0, self.first >> 1 & 3, self.first & 1 == 1);
        assert!(qos < 3, "PUBLISH with QoS 3");
        let topic = String::from_utf8(body.string()).expect("the topic name is UTF-8");
        let packet_id = if qos > 0 { body.two() } else { 0 };
        assert!(qos == 0 || packet_id != 0, "PUBLISH with packet id 0");
        let props = body.props_if(version == Version::V5);
        ReceivedPublish { dup, qos, retain, topic, packet_id, props, payload: body.rest() }
    }

    /// Reads a PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK or UNSUBACK.
    pub fn ack(&self, version: Version) -> Ack {
        let mut body = self.open(self.kind(), if self.kind() == kind::PUBREL { 2 } else { 0 });
        let packet_id = body.two();
        let v5 = version == Version::V5;
        if matches!(self.kind(), kind::SUBACK | kind::UNSUBACK) {
            let props = body.props_if(v5);
            return Ack { packet_id, codes: body.rest(), props };
        }
        assert!(v5 || body.is_empty(), "a 3.x ack is two bytes: {:02x?}", self.body);
        let codes = vec![if body.is_empty() { 0 } else { body.byte() }];
        let more = !body.is_empty();
        let props = body.props_if(more);
        body.end();
        Ack { packet_id, codes, props }
    }

    /// Reads a DISCONNECT or AUTH of 5.0.
    pub fn reasoned(&self) -> Reasoned {
        let mut body = self.open(self.kind(), 0);
        let reason = if body.is_empty() { 0 } else { body.byte() };
        let more = !body.is_empty();
        let props = body.props_if(more);
        body.end();
        Reasoned { reason, props }
    }

    fn open(&self, expected: u8, flags: u8) -> Reader<'_> {
        assert_eq!(
            (self.kind(), self.first & 0x0F),
            (expected, flags),
            "packet type and flags of {self:02x?}"
        );
        Reader(&self.body)
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn take(&mut self, count: usize) -> Vec<u8> {
        assert!(self.0.len() >= count, "packet too short: {count} bytes wanted of {:02x?}", self.0);
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        taken.to_vec()
    }

    fn byte(&mut self) -> u8 {
        self.take(1)[0]
    }

    fn two(&mut self) -> u16 {
        u16::from(self.byte()) << 8 | u16::from(self.byte())
    }

    fn four(&mut self) -> u32 {
        u32::from(self.two()) << 16 | u32::from(self.two())
    }

    fn varint(&mut self) -> u32 {
        let mut value = 0;
        for shift in [0, 7, 14, 21] {
            let byte = self.byte();
            value |= u32::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                assert!(shift == 0 || byte != 0, "variable byte integer in more bytes than needed");
                return value;
            }
        }
        panic!("variable byte integer of more than four bytes");
    }

    fn string(&mut self) -> Vec<u8> {
        let length = usize::from(self.two());
        self.take(length)
    }

    fn rest(&mut self) -> Vec<u8> {
        self.take(self.0.len())
    }

    fn end(&self) {
        assert!(self.0.is_empty(), "bytes after the last field: {:02x?}", self.0);
    }

    fn props_if(&mut self, there: bool) -> PropList {
        if !there {
            return PropList::default();
        }
        let length = self.varint() as usize;
        let bytes = self.take(length);
        let mut inner = Reader(&bytes);
        let mut list = Vec::new();
        while !inner.is_empty() {
            let id = inner.byte();
            assert!(
                id == prop::USER_PROPERTY
                    || id == prop::SUBSCRIPTION_ID
                    || !list.iter().any(|(i, _)| *i == id)
            );
            list.push((id, inner.value(id)));
        }
        PropList(list)
    }

    fn value(&mut self, id: u8) -> Value {
        match id {
            0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28 | 0x29 | 0x2A => Value::Number(u32::from(self.byte())),
            0x13 | 0x21 | 0x22 | 0x23 => Value::Number(u32::from(self.two())),
            0x02 | 0x11 | 0x18 | 0x27 => Value::Number(self.four()),
            0x0B => Value::Number(self.varint()),
            0x26 => Value::Pair(self.string(), self.string()),
            0x03 | 0x08 | 0x09 | 0x12 | 0x15 | 0x16 | 0x1A | 0x1C | 0x1F => Value::Bytes(self.string()),
            other => panic!("unknown property {other:#04x}"),
        }
    }
}
