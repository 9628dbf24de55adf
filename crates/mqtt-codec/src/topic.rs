//! Topic names: the rules of 4.7 that a name alone can break.
//! Used by PUBLISH and by the will.
//! It never looks at topic filters: those are `topic-index`'s.

use crate::limits::Limits;
use crate::offence::Offence;
use crate::text::{self, TextError};

/// Checks the bytes of a topic name, which may be empty: UTF-8, no U+0000, no wildcard, not too deep.
#[inline]
pub(crate) fn check<'a>(name: &'a [u8], limits: &Limits) -> Result<&'a str, Offence> {
    let text = core::str::from_utf8(name).map_err(|_| Offence::TextNotUtf8)?;
    // No early exit: this way the compiler compares many bytes at a time.
    let bad = name.iter().fold(false, |bad, &byte| bad | (byte == 0) | (byte == b'#') | (byte == b'+'));
    if bad {
        return Err(which(name));
    }
    // A name of n bytes has at most n + 1 levels, so the usual one is not counted.
    let levels_max = usize::from(limits.topic_levels_max);
    if name.len() >= levels_max && levels(name) > levels_max {
        return Err(Offence::TopicTooDeep);
    }
    Ok(text)
}

#[cold]
fn which(name: &[u8]) -> Offence {
    match text::check(name) {
        Err(error @ TextError::ContainsNul) => error.into(),
        _ => Offence::TopicWildcard,
    }
}

fn levels(name: &[u8]) -> usize {
    1 + name.iter().filter(|&&byte| byte == b'/').count()
}
