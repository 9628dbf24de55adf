//! Entries straight to bytes. Called by `entry`. Publishes are the bulk of what is written, and as prost messages
//! each of them would be measured once for every message around it: here the lengths are taken once and no byte
//! is copied but to its place. What comes out is what prost would write, which a test checks.

use bytes::BufMut;
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

use super::{Record, entry, wire};
use crate::command::{Command, GroupPick, Input, Publish, PublishItem};
use crate::ids::{ConnectionId, Host, Millis};
use crate::message::Message as Published;
use crate::stream::{Request, Source};

/// The bytes of an entry.
pub(super) fn encode(now: Millis, inputs: &[Input]) -> Vec<u8> {
    let version = entry::version_of(inputs);
    let inputs: Vec<Part<'_>> = inputs.iter().map(Part::of).collect();
    let mut lengths = Lengths { total: 0, nested: Vec::new() };
    put_entry((version, now), &inputs, &mut lengths);
    let mut writer = Writer { bytes: Vec::with_capacity(lengths.total), nested: lengths.nested.into_iter() };
    put_entry((version, now), &inputs, &mut writer);
    writer.bytes
}

/// An input: written here, or by prost.
enum Part<'a> {
    Publish(&'a Request, &'a Publish),
    Other(Box<wire::Input>),
}

impl<'a> Part<'a> {
    fn of(input: &'a Input) -> Self {
        match input {
            Input::Request(request) => match &request.command {
                Command::Publish(publish) => Self::Publish(request, publish),
                _ => Self::Other(Box::new(input.to_wire())),
            },
            _ => Self::Other(Box::new(input.to_wire())),
        }
    }
}

/// What fields are given to: twice the same ones in the same order, first to be measured, then to be written.
/// As in proto3, a plain field of value 0 is left out.
trait Sink: Sized {
    /// A number, written also if it is 0.
    fn present(&mut self, tag: u32, value: u64);

    /// Bytes, written also if there are none.
    fn block(&mut self, tag: u32, bytes: &[u8]);

    /// A message, whose fields `fields` gives.
    fn nested(&mut self, tag: u32, fields: impl FnOnce(&mut Self));

    /// A message that prost writes.
    fn message(&mut self, tag: u32, message: &impl Message);

    fn number(&mut self, tag: u32, value: u64) {
        if value != 0 {
            self.present(tag, value);
        }
    }

    fn bytes(&mut self, tag: u32, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.block(tag, bytes);
        }
    }
}

fn put_entry((version, now): (u32, Millis), inputs: &[Part<'_>], sink: &mut impl Sink) {
    sink.number(1, u64::from(version));
    sink.number(2, now.0);
    for input in inputs {
        match input {
            Part::Publish(asked, publish) => {
                sink.nested(3, |sink| sink.nested(1, |sink| request(asked, publish, sink)));
            }
            Part::Other(input) => sink.message(3, input.as_ref()),
        }
    }
}

fn request(request: &Request, asked: &Publish, sink: &mut impl Sink) {
    match request.source {
        Source::Host(run) => sink.nested(1, |sink| host(run, sink)),
        Source::Outbox(shard) => sink.present(2, u64::from(shard.0)),
    }
    sink.number(3, request.number);
    sink.number(4, request.done_below);
    sink.nested(5, |sink| sink.nested(5, |sink| publish(asked, sink)));
}

fn host(host: Host, sink: &mut impl Sink) {
    sink.number(1, u64::from(host.node.0));
    sink.number(2, u64::from(host.incarnation.0));
}

fn publish(publish: &Publish, sink: &mut impl Sink) {
    if let Some(ConnectionId { host: run, number }) = publish.reply_to {
        sink.nested(1, |sink| {
            sink.nested(1, |sink| host(run, sink));
            sink.number(2, number);
        });
    }
    sink.bytes(2, publish.publisher.as_str().as_bytes());
    for one in &publish.items {
        sink.nested(3, |sink| item(one, sink));
    }
}

fn item(item: &PublishItem, sink: &mut impl Sink) {
    sink.number(1, item.number);
    sink.nested(2, |sink| message(&item.message, sink));
    sink.number(3, u64::from(item.sessions));
    sink.number(4, u64::from(item.store_retained));
    for GroupPick { group, choice } in &item.groups {
        let pick = wire::GroupPick { group: group.to_wire(), choice: *choice };
        sink.message(5, &pick);
    }
}

fn message(message: &Published, sink: &mut impl Sink) {
    sink.bytes(1, message.body.topic());
    sink.bytes(2, message.body.application());
    sink.bytes(3, message.body.payload());
    sink.number(4, u64::from(u8::from(message.qos)));
    sink.number(5, u64::from(message.retain));
    if let Some(at) = message.expires_at {
        sink.present(6, at.0);
    }
}

/// Measures.
struct Lengths {
    total: usize,
    /// The lengths of all nested messages, in the order in which they begin.
    nested: Vec<usize>,
}

impl Sink for Lengths {
    fn present(&mut self, tag: u32, value: u64) {
        self.total += key_len(tag) + encoded_len_varint(value);
    }

    fn block(&mut self, tag: u32, bytes: &[u8]) {
        self.total += key_len(tag) + encoded_len_varint(bytes.len() as u64) + bytes.len();
    }

    fn nested(&mut self, tag: u32, fields: impl FnOnce(&mut Self)) {
        let (index, before) = (self.nested.len(), self.total);
        self.nested.push(0);
        fields(self);
        let len = self.total - before;
        if let Some(place) = self.nested.get_mut(index) {
            *place = len;
        }
        self.total += key_len(tag) + encoded_len_varint(len as u64);
    }

    fn message(&mut self, tag: u32, message: &impl Message) {
        let len = message.encoded_len();
        self.total += key_len(tag) + encoded_len_varint(len as u64) + len;
    }
}

/// Writes.
struct Writer {
    bytes: Vec<u8>,
    /// What was measured.
    nested: std::vec::IntoIter<usize>,
}

impl Sink for Writer {
    fn present(&mut self, tag: u32, value: u64) {
        encode_key(tag, WireType::Varint, &mut self.bytes);
        encode_varint(value, &mut self.bytes);
    }

    fn block(&mut self, tag: u32, bytes: &[u8]) {
        encode_key(tag, WireType::LengthDelimited, &mut self.bytes);
        encode_varint(bytes.len() as u64, &mut self.bytes);
        self.bytes.put_slice(bytes);
    }

    fn nested(&mut self, tag: u32, fields: impl FnOnce(&mut Self)) {
        let len = self.nested.next().unwrap_or_default();
        encode_key(tag, WireType::LengthDelimited, &mut self.bytes);
        encode_varint(len as u64, &mut self.bytes);
        fields(self);
    }

    fn message(&mut self, tag: u32, message: &impl Message) {
        encode_key(tag, WireType::LengthDelimited, &mut self.bytes);
        // A vector grows as it must.
        let _fits = message.encode_length_delimited(&mut self.bytes);
    }
}
