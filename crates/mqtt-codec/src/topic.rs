//! Topic names: the rules of 4.7 that a name alone can break.
//! Used by PUBLISH and by the will, so once for each message: it looks at eight bytes at a time.
//! It never looks at topic filters: those are `topic-index`'s.

use bytes::Bytes;

use crate::limits::Limits;
use crate::offence::Offence;
use crate::text::{self, Text};

/// Checks the bytes of a topic name, which may be empty: UTF-8, no U+0000, no wildcard, not too deep.
#[inline]
pub(crate) fn check(name: &[u8], limits: &Limits) -> Result<(), Offence> {
    let found = scan(name);
    if found != 0 {
        check_closely(name, found)?;
    }
    // A name of n bytes has at most n + 1 levels, so the usual one is not counted.
    let levels_max = usize::from(limits.topic_levels_max);
    if name.len() >= levels_max && levels(name) > levels_max { Err(Offence::TopicTooDeep) } else { Ok(()) }
}

/// Takes a name that [`check`] has accepted out of the packet it lies in, without a copy.
#[inline]
pub(crate) fn slice_of(source: &Bytes, name: &[u8]) -> Text {
    Text::from_checked(source.slice_ref(name))
}

/// A byte that is not ASCII.
const NOT_ASCII: u8 = 1;
/// A byte that no topic name holds: NUL, `#`, `+`.
const FORBIDDEN: u8 = 2;

/// What of [`NOT_ASCII`] and [`FORBIDDEN`] there is in a name.
#[inline]
fn scan(name: &[u8]) -> u8 {
    let Some(last) = name.last_chunk::<8>() else {
        return name.iter().fold(0, |found, &byte| found | scan_byte(byte));
    };
    let (words, _) = name.as_chunks::<8>();
    // The last eight bytes overlap the word before them, which does no harm.
    words.iter().fold(scan_word(*last), |found, word| found | scan_word(*word))
}

const fn scan_byte(byte: u8) -> u8 {
    match byte {
        0 | b'#' | b'+' => FORBIDDEN,
        0x80.. => NOT_ASCII,
        _ => 0,
    }
}

#[inline]
const fn scan_word(word: [u8; 8]) -> u8 {
    const LOW: u64 = u64::from_ne_bytes([0x01; 8]);
    const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);
    const HASH_TO_PLUS: u64 = u64::from_ne_bytes([b'#' ^ b'+'; 8]);
    const PLUS: u64 = u64::from_ne_bytes([b'+'; 8]);
    let word = u64::from_ne_bytes(word);
    // `#` and `+` differ in one bit: set it, and both become zero bytes.
    let wildcard = (word | HASH_TO_PLUS) ^ PLUS;
    // The usual test for a zero byte in a word: a borrow reaches the high bit of a byte below 0x80.
    let zero = (word.wrapping_sub(LOW) & !word) | (wildcard.wrapping_sub(LOW) & !wildcard);
    let found = if zero & HIGH == 0 { 0 } else { FORBIDDEN };
    if word & HIGH == 0 { found } else { found | NOT_ASCII }
}

/// The rare name: not ASCII, or bad.
#[cold]
fn check_closely(name: &[u8], found: u8) -> Result<(), Offence> {
    text::check(name)?;
    if found & FORBIDDEN == 0 { Ok(()) } else { Err(Offence::TopicWildcard) }
}

fn levels(name: &[u8]) -> usize {
    1 + name.iter().filter(|&&byte| byte == b'/').count()
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    /// The rules, byte by byte.
    fn plain(name: &[u8]) -> Result<(), Offence> {
        let text = core::str::from_utf8(name).map_err(|_| Offence::TextNotUtf8)?;
        if text.contains('\0') {
            return Err(Offence::TextContainsNul);
        }
        if text.contains(['+', '#']) { Err(Offence::TopicWildcard) } else { Ok(()) }
    }

    #[test]
    fn words_and_bytes_agree_at_every_place() {
        for len in 1..40 {
            for at in 0..len {
                for byte in 0..=u8::MAX {
                    let mut name = vec![b'a'; len];
                    name[at] = byte;
                    assert_eq!(check(&name, &Limits::DEFAULT), plain(&name), "{byte} at {at} of {len}");
                    // A borrow from one byte must not accuse or excuse its neighbour.
                    if let Some(next) = name.get_mut(at + 1) {
                        *next = byte.wrapping_add(1);
                        assert_eq!(check(&name, &Limits::DEFAULT), plain(&name), "{byte} at {at} of {len}");
                    }
                }
            }
        }
    }

    #[test]
    fn levels_are_counted_only_where_there_may_be_too_many() {
        let limits = Limits { topic_levels_max: 3, ..Limits::DEFAULT };
        for (name, result) in [("a/b/c", Ok(())), ("//", Ok(())), ("///", Err(Offence::TopicTooDeep))] {
            assert_eq!(check(name.as_bytes(), &limits), result, "{name}");
        }
        assert_eq!(check("abcdefgh".as_bytes(), &limits), Ok(()));
        assert_eq!(check("température/é".as_bytes(), &limits), Ok(()));
    }
}
