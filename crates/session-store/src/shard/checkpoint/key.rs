//! The keys of a checkpoint's records: one byte that says what it is, then which one. They are on disks: what a
//! byte means never changes.

use crate::ids::{ClientId, Host, Incarnation, NodeId, SessionKey, ShardId};
use crate::record::RecordError;
use crate::stream::Source;

/// Which record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    /// The shard as a whole.
    Head,
    /// A client.
    Client(ClientId),
    /// A session, without its subscriptions and the contents of its queue.
    Session(SessionKey),
    /// A session's subscriptions.
    Subscriptions(SessionKey),
    /// A page of a session's queue, by the serial number that it begins with.
    Page(SessionKey, u64),
    /// A message that several queues share.
    Body(u64),
    /// The retained message of a topic.
    Retained(Box<[u8]>),
    /// An item of the outbox, by its position.
    Outbox(u64),
    /// What is known of a source of requests.
    Stream(Source),
}

impl Key {
    /// Its bytes.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(16);
        let mut put = |tag: u8, parts: &[&[u8]]| {
            bytes.push(tag);
            parts.iter().for_each(|part| bytes.extend_from_slice(part));
        };
        match self {
            Self::Head => put(b'H', &[]),
            Self::Client(client) => put(b'C', &[client.as_str().as_bytes()]),
            Self::Session(key) => put(b'S', &[&key.0.to_be_bytes()]),
            Self::Subscriptions(key) => put(b'F', &[&key.0.to_be_bytes()]),
            Self::Page(key, start) => put(b'Q', &[&key.0.to_be_bytes(), &start.to_be_bytes()]),
            Self::Body(number) => put(b'B', &[&number.to_be_bytes()]),
            Self::Retained(topic) => put(b'R', &[topic]),
            Self::Outbox(position) => put(b'O', &[&position.to_be_bytes()]),
            Self::Stream(Source::Host(Host { node, incarnation })) => {
                put(b'T', &[&node.0.to_be_bytes(), &incarnation.0.to_be_bytes()]);
            }
            Self::Stream(Source::Outbox(shard)) => put(b'U', &[&shard.0.to_be_bytes()]),
        }
        bytes
    }

    /// Reads it.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        Self::parse(bytes).ok_or(RecordError::Invalid { field: "key" })
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (tag, rest) = bytes.split_first()?;
        Some(match tag {
            b'H' if rest.is_empty() => Self::Head,
            b'C' => Self::Client(ClientId::new(std::str::from_utf8(rest).ok()?)),
            b'S' => Self::Session(SessionKey(u32::from_be_bytes(rest.try_into().ok()?))),
            b'F' => Self::Subscriptions(SessionKey(u32::from_be_bytes(rest.try_into().ok()?))),
            b'Q' => {
                let (key, start) = rest.split_first_chunk()?;
                Self::Page(SessionKey(u32::from_be_bytes(*key)), u64::from_be_bytes(start.try_into().ok()?))
            }
            b'B' => Self::Body(u64::from_be_bytes(rest.try_into().ok()?)),
            b'R' => Self::Retained(rest.into()),
            b'O' => Self::Outbox(u64::from_be_bytes(rest.try_into().ok()?)),
            b'T' => {
                let (node, incarnation) = rest.split_first_chunk()?;
                let node = NodeId(u32::from_be_bytes(*node));
                let incarnation = Incarnation(u32::from_be_bytes(incarnation.try_into().ok()?));
                Self::Stream(Source::Host(Host { node, incarnation }))
            }
            b'U' => Self::Stream(Source::Outbox(ShardId(u16::from_be_bytes(rest.try_into().ok()?)))),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_they_were_written() {
        let host = Host { node: NodeId(7), incarnation: Incarnation(8) };
        let keys = [
            Key::Head,
            Key::Client(ClientId::new("")),
            Key::Client(ClientId::new("Ä")),
            Key::Session(SessionKey(1)),
            Key::Subscriptions(SessionKey(1)),
            Key::Page(SessionKey(1), 2),
            Key::Body(3),
            Key::Retained(b"a/b".as_slice().into()),
            Key::Outbox(4),
            Key::Stream(Source::Host(host)),
            Key::Stream(Source::Outbox(ShardId(5))),
        ];
        for key in &keys {
            assert_eq!(Key::decode(&key.encode()).as_ref(), Ok(key));
        }
        let written: std::collections::BTreeSet<_> = keys.iter().map(Key::encode).collect();
        assert_eq!(written.len(), keys.len());
        for wrong in [b"".as_slice(), b"H1", b"S123", b"Q12345678901", b"T1234567", b"C\xFF", b"?"] {
            assert!(Key::decode(wrong).is_err(), "{wrong:?}");
        }
    }
}
