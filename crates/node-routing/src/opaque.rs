//! Messages that are passed on as they are: the codec of services whose messages somebody else reads. Used by the
//! generated code. What arrives shares the memory that it was read into.

use bytes::{Buf, BufMut, Bytes};
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

/// A request, as bytes.
pub(crate) type Request = Bytes;
/// An answer, as bytes.
pub(crate) type Response = Bytes;

/// A command to the cluster group, as bytes.
pub(crate) type Asking = Bytes;
/// What came of it, as bytes.
pub(crate) type Asked = Bytes;

/// What a node is asked for whoever administers the cluster, as bytes.
pub(crate) type Question = Bytes;
/// What it answers, as bytes.
pub(crate) type Answer = Bytes;

/// Words of one node to another, as bytes.
pub(crate) type Words = Bytes;
/// What is never said.
pub(crate) type Nothing = Bytes;

/// Leaves messages as they are.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Opaque;

impl Codec for Opaque {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Opaque {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(message);
        Ok(())
    }
}

impl Decoder for Opaque {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        let length = from.remaining();
        Ok(Some(from.copy_to_bytes(length)))
    }
}
