//! The hash of a state: the sum of its records' hashes, so that it can be kept up to date by what changes.
//! Used by the store. Finds accidents, not attacks. Its values are on disks: it never changes.

use std::fmt;

/// The hash of a set of records; that of no record is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct StateHash(pub u64);

impl StateHash {
    /// The hash with one record more.
    pub(super) fn with(self, record: u64) -> Self {
        Self(self.0.wrapping_add(record))
    }

    /// The hash with one record less.
    pub(super) fn without(self, record: u64) -> Self {
        Self(self.0.wrapping_sub(record))
    }
}

impl fmt::Display for StateHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// An odd number without a pattern, so that multiplying by it loses nothing.
const FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;

/// The hash of one record.
pub(super) fn of_record(key: &[u8], value: &[u8]) -> u64 {
    let state = absorb(FACTOR, key);
    finish(absorb(state, value))
}

/// Each step is a bijection of the state, so that a change within eight bytes is never missed.
fn absorb(mut state: u64, bytes: &[u8]) -> u64 {
    let mut words = bytes.chunks_exact(8);
    for word in words.by_ref() {
        let word = word.try_into().map_or(0, u64::from_le_bytes);
        state = step(state, word);
    }
    let mut last = [0; 8];
    for (to, from) in last.iter_mut().zip(words.remainder()) {
        *to = *from;
    }
    step(step(state, u64::from_le_bytes(last)), bytes.len() as u64)
}

fn step(state: u64, word: u64) -> u64 {
    (state ^ word).wrapping_mul(FACTOR).rotate_left(29)
}

/// Spreads each bit over all of them (the finalizer of `MurmurHash3`), since the sum would not.
fn finish(mut state: u64) -> u64 {
    state ^= state >> 33;
    state = state.wrapping_mul(0xFF51_AFD7_ED55_8CCD);
    state ^= state >> 33;
    state = state.wrapping_mul(0xC4CE_B9FE_1A85_EC53);
    state ^ (state >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_never_change() {
        assert_eq!(of_record(b"", b""), VALUES[0]);
        assert_eq!(of_record(b"key", b"value"), VALUES[1]);
        assert_eq!(of_record(b"a key of more than a word", &[7; 4_096]), VALUES[2]);
    }

    const VALUES: [u64; 3] = [0xBE70_F6CB_10FF_F471, 0x99EC_FD84_45CA_11E9, 0xF376_3E3B_CBEC_AF68];

    #[test]
    fn every_flipped_bit_is_seen_and_so_is_a_byte_that_moves_from_value_to_key() {
        let (key, value) = (b"key".to_vec(), vec![5; 77]);
        let right = of_record(&key, &value);
        for bit in 0..value.len() * 8 {
            let mut wrong = value.clone();
            wrong[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(of_record(&key, &wrong), right, "bit {bit}");
        }
        assert_ne!(of_record(b"key\x05", &value[1..]), right);
        assert_ne!(of_record(&key, &value[1..]), right);
    }
}
