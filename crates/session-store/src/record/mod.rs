//! What is written down or said to other nodes: entries of a shard's log, records of its checkpoint, words, as prost
//! messages (`proto/session.proto`). Used by whoever appends to a log or a store, or has links. Reading never panics, whatever
//! the bytes, and never allocates by a length that was only announced.

mod acks;
mod bulk;
mod connect;
mod entry;
mod error;
mod ids;
mod limits;
mod message;
mod picks;
mod publish;
mod reply;
mod scanned;
mod stored;
mod subscribe;
mod word;

pub use self::entry::{ENTRY_VERSION, Entry, decode_entry, encode_entry};
pub use self::error::RecordError;
pub use self::stored::STORED_VERSION;
pub(crate) use self::stored::{seal, seal_as, unseal};
pub use self::word::{decode_words, encode_word};

/// What `build.rs` makes of `proto/session.proto`.
#[allow(clippy::all, missing_docs, unreachable_pub, reason = "generated")]
pub(crate) mod wire {
    include!(concat!(env!("OUT_DIR"), "/quelea.session.v1.rs"));
}

/// A value that has a form of its own on the wire.
pub(crate) trait Record: Sized {
    /// Its prost message.
    type Wire;

    /// The value as it is written.
    fn to_wire(&self) -> Self::Wire;

    /// The value that was written.
    ///
    /// # Errors
    /// [`RecordError`], for bytes that no version of Quelea wrote.
    fn from_wire(wire: Self::Wire) -> Result<Self, RecordError>;
}

/// All of a list.
pub(crate) fn all_to_wire<R: Record>(values: &[R]) -> Vec<R::Wire> {
    values.iter().map(Record::to_wire).collect()
}

/// All of a list.
pub(crate) fn all_from_wire<R: Record>(wires: Vec<R::Wire>) -> Result<Vec<R>, RecordError> {
    wires.into_iter().map(R::from_wire).collect()
}

/// A message that proto3 lets be absent and that is always written.
pub(crate) fn required<T>(value: Option<T>, field: &'static str) -> Result<T, RecordError> {
    value.ok_or(RecordError::Missing { field })
}

#[cfg(test)]
pub(crate) mod arbitrary;
#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
