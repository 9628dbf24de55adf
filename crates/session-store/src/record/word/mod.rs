//! Words between nodes as bytes: one file each for what hosts are told, what they ask, and what they say to each other. Called by the broker,
//! at both ends of its links. Large payloads share the bytes that they came in.

mod effect;
mod frame;
mod push;
mod question;

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;

use super::{Record, RecordError, required, wire};
use crate::command::Publish;
use crate::effect::Effect;
use crate::ids::{Host, ShardId};
use crate::stream::Request;
use crate::word::{Frame, Heard, Told, Word};

/// A word as bytes; what is about no shard is said of shard 0. Such bytes one behind the other are all these words.
#[must_use]
pub fn encode_word(shard: ShardId, word: &Word) -> Bytes {
    let word = wire::Word { shard: shard.to_wire(), kind: Some(kind(word)) };
    wire::Words { words: vec![word] }.encode_to_vec().into()
}

/// Reads words, and which shard each is about.
///
/// # Errors
/// [`RecordError`] for bytes that no node says.
pub fn decode_words(bytes: Bytes) -> Result<Vec<(ShardId, Word)>, RecordError> {
    let words = wire::Words::decode(bytes).map_err(|error| RecordError::malformed("words", &error))?;
    let word = |word: wire::Word| Ok((ShardId::from_wire(word.shard)?, read(required(word.kind, "word")?)?));
    words.words.into_iter().map(word).collect()
}

fn kind(word: &Word) -> wire::word::Kind {
    use wire::word::Kind;
    match word {
        Word::Requests(requests) => {
            let requests = requests.iter().map(|request| request.to_wire()).collect();
            Kind::Requests(wire::Requests { requests })
        }
        Word::PassOn(publish) => Kind::PassOn(publish.to_wire()),
        Word::Attach(host, number) => {
            Kind::Attach(wire::Attach { host: Some(host.to_wire()), number: *number })
        }
        Word::Told(told) => Kind::Told(told.to_wire()),
        Word::Taken(by, position) => Kind::Taken(wire::Taken { by: by.to_wire(), position: *position }),
        Word::Question(number, question) => Kind::Question(question::to_wire(*number, question)),
        Word::Found(number, found) => Kind::Found(question::found_to_wire(*number, found)),
        Word::Frame(frame) => Kind::Frame(frame.to_wire()),
        Word::Heard(heard) => Kind::Heard(heard.to_wire()),
    }
}

fn read(kind: wire::word::Kind) -> Result<Word, RecordError> {
    use wire::word::Kind;
    Ok(match kind {
        Kind::Requests(requests) => {
            let request = |request| Request::from_wire(request).map(Arc::new);
            Word::Requests(requests.requests.into_iter().map(request).collect::<Result<_, _>>()?)
        }
        Kind::PassOn(publish) => Word::PassOn(Publish::from_wire(publish)?),
        Kind::Attach(attach) => {
            Word::Attach(Host::from_wire(required(attach.host, "attach.host")?)?, attach.number)
        }
        Kind::Told(told) => Word::Told(Told::from_wire(told)?),
        Kind::Taken(taken) => Word::Taken(ShardId::from_wire(taken.by)?, taken.position),
        Kind::Question(asked) => {
            let (number, question) = question::from_wire(asked)?;
            Word::Question(number, question)
        }
        Kind::Found(found) => {
            let (number, found) = question::found_from_wire(found)?;
            Word::Found(number, found)
        }
        Kind::Frame(frame) => Word::Frame(Arc::new(Frame::from_wire(frame)?)),
        Kind::Heard(heard) => Word::Heard(Heard::from_wire(heard)?),
    })
}

impl Record for Told {
    type Wire = wire::Told;

    /// Effects that no host carries out are left out.
    fn to_wire(&self) -> wire::Told {
        let effects = self.effects.iter().filter_map(effect::to_wire).collect();
        let Self { attachment, number, outbox_full, routes, more, .. } = *self;
        wire::Told { attachment, number, outbox_full, effects, routes, more }
    }

    fn from_wire(wire: wire::Told) -> Result<Self, RecordError> {
        let wire::Told { attachment, number, outbox_full, effects, routes, more } = wire;
        let effects: Vec<Effect> =
            effects.into_iter().map(effect::from_wire).collect::<Result<_, RecordError>>()?;
        Ok(Self { attachment, number, outbox_full, routes, more, effects })
    }
}

#[cfg(test)]
mod tests;
