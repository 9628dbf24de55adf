//! The text of one level: as a node keeps it, and as a match compares it.
//! Called by the filter index when nodes are made and looked for.
//! It never checks the text.

/// The longest text that a node keeps in itself, in bytes.
const SHORT: usize = 14;

/// A level of a topic or filter in the form that is fast to hash and to compare.
#[derive(Clone, Copy, Debug)]
pub(super) struct Level<'t> {
    pub(super) text: &'t [u8],
    /// The first bytes, with zeros up to 14, and the length behind them, at most 255.
    pub(super) start: u128,
}

impl<'t> Level<'t> {
    /// The level of `len` bytes that `rest` begins with; reading beyond it, where there is more, saves a copy.
    #[inline]
    fn at_start_of(rest: &'t [u8], len: usize) -> Self {
        let text = rest.get(..len).unwrap_or(rest);
        let bytes = rest.first_chunk().copied().unwrap_or_else(|| padded(text));
        let shown = u32::try_from(len.min(SHORT)).unwrap_or_default();
        let start = u128::from_le_bytes(bytes) & ((1 << (8 * shown)) - 1);
        Self { text, start: start | u128::from(u8::try_from(len).unwrap_or(u8::MAX)) << 112 }
    }

    /// The first level of a topic, which is all of it where it has no slash.
    #[inline]
    pub(super) fn first_of(topic: &'t [u8]) -> Self {
        Self::at_start_of(topic, topic.iter().position(|byte| *byte == b'/').unwrap_or(topic.len()))
    }

    /// A level that stands alone.
    #[inline]
    pub(super) fn new(text: &'t [u8]) -> Self {
        Self::at_start_of(text, text.len())
    }

    /// Whether `start` is not all of it.
    #[inline]
    pub(super) fn is_long(&self) -> bool {
        self.text.len() > SHORT
    }
}

/// The text of a level in a node.
#[derive(Debug)]
pub(super) enum Label {
    Short([u8; SHORT + 1]),
    // A box in a box is one word, where a slice is two that every node would pay for.
    Long(Box<Box<[u8]>>),
}

impl Label {
    pub(super) fn new(level: &Level<'_>) -> Self {
        match level.start.to_le_bytes().first_chunk() {
            Some(bytes) if !level.is_long() => Self::Short(*bytes),
            _ => Self::Long(Box::new(level.text.into())),
        }
    }

    /// Whether this is the text of `level`.
    #[inline]
    pub(super) fn is(&self, level: &Level<'_>) -> bool {
        match self {
            Self::Short(bytes) => level.start.to_le_bytes().first_chunk() == Some(bytes),
            Self::Long(text) => ***text == *level.text,
        }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Short(bytes @ [.., len]) => bytes.get(..usize::from(*len)).unwrap_or_default(),
            Self::Long(text) => text,
        }
    }
}

/// The beginning of a text that ends before one could read 16 bytes of it.
fn padded(text: &[u8]) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes.iter_mut().zip(text).for_each(|(byte, from)| *byte = *from);
    bytes
}

#[cfg(test)]
mod tests {
    use super::{Label, Level, SHORT};

    #[test]
    fn any_length_comes_back_and_is_itself_alone() {
        let lens = [0, 1, SHORT - 1, SHORT, SHORT + 1, 15, 16, 17, 255, 256, 65_535];
        let texts: Vec<_> = lens.iter().map(|len| vec![b'x'; *len]).chain([vec![0], vec![0, 0]]).collect();
        for text in &texts {
            let label = Label::new(&Level::new(text));
            assert_eq!(label.as_bytes(), text);
            for other in &texts {
                let behind = [other, &b"/some more of it"[..]].concat();
                for level in [Level::new(other), Level::at_start_of(&behind, other.len())] {
                    assert_eq!(label.is(&level), text == other);
                    assert_eq!(level.text, other);
                    assert_eq!(level.start, Level::new(other).start);
                }
            }
        }
        assert_eq!(size_of::<Label>(), 16);
    }
}
