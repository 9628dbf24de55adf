//! The bytes of the floor's two slots. Used by `floor` alone. It never takes a slot whose checksum does not hold.
//!
//! ```text
//!  0  magic, 8 bytes
//!  8  checksum u32     over the bytes 12..length
//! 12  format version u32
//! 16  length u32
//! 20  number of groups u32
//! 24  number of the slot u64: the higher is the newer
//! 32  segment u64, offset u64
//! 48  each group: number u32, index u64, hash u64
//! ```

use super::{Checkpoint, FloorState};
use crate::wal::{GroupId, Position, WalError};

const MAGIC: &[u8; 8] = b"\x89QFLOOR\n";
const VERSION: u32 = 1;
const FIXED: usize = 48;
const GROUP_BYTES: usize = 20;
const SLOT_BYTES: usize = 64 << 10;
/// The size of the file.
pub(crate) const FILE_BYTES: u64 = 2 * SLOT_BYTES as u64;
pub(crate) const GROUPS_MAX: usize = (SLOT_BYTES - FIXED) / GROUP_BYTES;

/// Where the slot of a number lies.
pub(crate) fn offset(number: u64) -> u64 {
    (number % 2) * SLOT_BYTES as u64
}

pub(crate) fn encode(number: u64, state: &FloorState) -> Vec<u8> {
    let len = FIXED + state.checkpoints.len() * GROUP_BYTES;
    let mut bytes = Vec::with_capacity(len);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes());
    bytes.extend_from_slice(&u32::try_from(state.checkpoints.len()).unwrap_or(u32::MAX).to_le_bytes());
    for value in [number, state.synced.segment, state.synced.offset] {
        bytes.extend_from_slice(&value.to_le_bytes());
    }
    for (group, checkpoint) in &state.checkpoints {
        bytes.extend_from_slice(&group.0.to_le_bytes());
        bytes.extend_from_slice(&checkpoint.index.to_le_bytes());
        bytes.extend_from_slice(&checkpoint.hash.to_le_bytes());
    }
    let crc = crc32fast::hash(&bytes).to_le_bytes();
    [MAGIC, crc.as_slice(), bytes.as_slice()].concat()
}

/// The newer of the slots that are whole, with its number.
pub(crate) fn newest(file: &[u8]) -> Result<Option<(u64, FloorState)>, WalError> {
    let mut newest = None;
    for slot in file.chunks(SLOT_BYTES).take(2) {
        if let Some(found) = decode(slot)
            && newest.as_ref().is_none_or(|(number, _)| *number < found.0)
        {
            newest = Some(found);
        }
    }
    if newest.is_none()
        && let Some(found) = file.chunks(SLOT_BYTES).take(2).find_map(other_version)
    {
        return Err(WalError::Version { file: super::NAME.to_owned(), found, known: VERSION });
    }
    Ok(newest)
}

/// What is behind the version of a slot that is whole, and its version.
fn checked(slot: &[u8]) -> Option<(u32, &[u8])> {
    let rest = slot.strip_prefix(MAGIC)?;
    let (crc, body) = rest.split_first_chunk::<4>()?;
    let len = usize::try_from(u32::from_le_bytes(*body.get(4..)?.first_chunk()?)).ok()?;
    let body = body.get(..len.checked_sub(12)?)?;
    if crc32fast::hash(body) != u32::from_le_bytes(*crc) {
        return None;
    }
    let (version, fields) = body.split_first_chunk::<4>()?;
    Some((u32::from_le_bytes(*version), fields))
}

fn other_version(slot: &[u8]) -> Option<u32> {
    checked(slot).map(|(version, _)| version).filter(|version| *version != VERSION)
}

fn decode(slot: &[u8]) -> Option<(u64, FloorState)> {
    let (version, fields) = checked(slot)?;
    if version != VERSION {
        return None;
    }
    let (numbers, groups) = fields.get(8..)?.split_at_checked(24)?;
    let number = |at: usize| Some(u64::from_le_bytes(*numbers.get(at..)?.first_chunk()?));
    let synced = Position { segment: number(8)?, offset: number(16)? };
    let mut state = FloorState { synced, ..FloorState::default() };
    for row in groups.chunks_exact(GROUP_BYTES) {
        let group = u32::from_le_bytes(*row.first_chunk()?);
        let index = u64::from_le_bytes(*row.get(4..)?.first_chunk()?);
        let hash = u64::from_le_bytes(*row.get(12..)?.first_chunk()?);
        state.checkpoints.insert(GroupId(group), Checkpoint { index, hash });
    }
    Some((number(0)?, state))
}
