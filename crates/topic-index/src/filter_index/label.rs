//! The text of one level, kept in the node itself where it is short, as nearly all are.
//! Called by the filter index when nodes are made and compared.
//! It never checks the text.

/// The bytes that fit beside the length, so that a label takes 16 bytes.
const SHORT: usize = 14;

/// The text of one level.
#[derive(Debug)]
pub(super) enum Label {
    Short { len: u8, bytes: [u8; SHORT] },
    // A box in a box is one word, where a slice is two that every node would pay for.
    Long(Box<Box<[u8]>>),
}

impl Label {
    pub(super) fn new(text: &[u8]) -> Self {
        let mut bytes = [0; SHORT];
        match (bytes.get_mut(..text.len()), u8::try_from(text.len())) {
            (Some(start), Ok(len)) => {
                start.copy_from_slice(text);
                Self::Short { len, bytes }
            }
            _ => Self::Long(Box::new(text.into())),
        }
    }

    #[inline]
    pub(super) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Short { len, bytes } => bytes.get(..usize::from(*len)).unwrap_or_default(),
            Self::Long(text) => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Label, SHORT};

    #[test]
    fn any_length_comes_back() {
        for len in [0, 1, SHORT - 1, SHORT, SHORT + 1, 255, 256, 65_535] {
            let text = vec![b'x'; len];
            assert_eq!(Label::new(&text).as_bytes(), text);
        }
        assert_eq!(size_of::<Label>(), 16);
    }
}
