//! The envelope of a checkpoint's records: one byte that says the version, then a prost message. Called by
//! whatever makes and reads checkpoints; checksums are the store's.

use bytes::{Buf, Bytes};
use prost::Message;

use super::RecordError;

/// The newest version of stored records that this binary reads. A record has the lowest one that says all of it, so that
/// a binary that does not know the newest reads what it can.
///
/// 1: the first. 2: an item of an outbox says who takes it in shared groups.
pub const STORED_VERSION: u8 = 2;

/// A record as it is stored, in the first version.
pub(crate) fn seal(message: &impl Message) -> Bytes {
    seal_as(1, message)
}

/// A record as it is stored.
pub(crate) fn seal_as(version: u8, message: &impl Message) -> Bytes {
    let mut bytes = Vec::with_capacity(1 + message.encoded_len());
    bytes.push(version);
    // A vector grows as it must.
    let _fits = message.encode(&mut bytes);
    bytes.into()
}

/// Reads a record; `kind` is what an error calls it. Large fields share `bytes`.
pub(crate) fn unseal<M: Message + Default>(kind: &'static str, mut bytes: Bytes) -> Result<M, RecordError> {
    let version = bytes.try_get_u8().map_err(|_| RecordError::Missing { field: "version" })?;
    if !(1..=STORED_VERSION).contains(&version) {
        let (known, found) = (u32::from(STORED_VERSION), u32::from(version));
        return Err(RecordError::Version { kind, known, found });
    }
    M::decode(bytes).map_err(|error| RecordError::malformed(kind, &error))
}
