//! `Text`: an MQTT UTF-8 string that keeps the bytes it was cut from.
//! Used by every packet; the decoder makes it without a copy, callers make it from their own strings.
//! It never holds ill-formed UTF-8, U+0000 or more than 65,535 bytes, and never skips a byte order mark.

use alloc::string::String;
use alloc::vec::Vec;
use core::borrow::Borrow;
use core::fmt;

use bytes::Bytes;

use crate::offence::Offence;

/// The most bytes an MQTT string or binary field can carry: its length is sixteen bits (1.5.4).
pub const FIELD_BYTES_MAX: usize = u16::MAX as usize;

/// A validated MQTT string (1.5.4): well-formed UTF-8, no U+0000, at most 65,535 bytes.
///
/// Compared, hashed and ordered by its bytes, never normalised [MQTT-4.7.3-4]. A leading byte order
/// mark is data [MQTT-1.5.4-3]. Cloning is a reference count.
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Text(Bytes);

/// Why bytes are not an MQTT string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextError {
    /// More than 65,535 bytes.
    TooLong,
    /// Ill-formed UTF-8, surrogates included [MQTT-1.5.4-1].
    NotUtf8,
    /// Contains U+0000 [MQTT-1.5.4-2].
    ContainsNul,
}

impl fmt::Display for TextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "expected at most 65535 bytes of text, found more",
            Self::NotUtf8 => "expected well-formed UTF-8",
            Self::ContainsNul => "expected text without U+0000",
        })
    }
}

impl core::error::Error for TextError {}

impl From<TextError> for Offence {
    fn from(error: TextError) -> Self {
        match error {
            // The wire cannot announce more, so only a caller's own string gets here.
            TextError::TooLong => Self::FieldTooLong,
            TextError::NotUtf8 => Self::TextNotUtf8,
            TextError::ContainsNul => Self::TextContainsNul,
        }
    }
}

/// Checks bytes against the rules of [`Text`] and gives them back as a `str`.
#[inline]
pub(crate) fn check(bytes: &[u8]) -> Result<&str, TextError> {
    if bytes.len() > FIELD_BYTES_MAX {
        return Err(TextError::TooLong);
    }
    let text = core::str::from_utf8(bytes).map_err(|_| TextError::NotUtf8)?;
    // `contains` on bytes is core's word-at-a-time search.
    if bytes.contains(&0) { Err(TextError::ContainsNul) } else { Ok(text) }
}

impl Text {
    /// Copies a string.
    ///
    /// # Errors
    /// [`TextError`] if it is too long or contains U+0000.
    pub fn new(text: &str) -> Result<Self, TextError> {
        check(text.as_bytes())?;
        Ok(Self(Bytes::copy_from_slice(text.as_bytes())))
    }

    /// Wraps a literal without a copy.
    ///
    /// # Panics
    /// If the literal contains U+0000 or is longer than 65,535 bytes: meant for constants, where that
    /// stops the build.
    #[must_use]
    pub const fn from_static(text: &'static str) -> Self {
        let mut bytes = text.as_bytes();
        assert!(bytes.len() <= FIELD_BYTES_MAX, "a literal of more than 65,535 bytes is not MQTT text");
        while let [first, rest @ ..] = bytes {
            assert!(*first != 0, "a literal with U+0000 is not MQTT text");
            bytes = rest;
        }
        Self(Bytes::from_static(text.as_bytes()))
    }

    /// Takes `text`, which [`check`] has accepted, out of the buffer it lies in, without a copy.
    #[inline]
    pub(crate) fn slice_of(source: &Bytes, text: &str) -> Self {
        Self(source.slice_ref(text.as_bytes()))
    }

    /// Wraps bytes that are known to have been checked: the topic of a packet that was decoded.
    #[inline]
    pub(crate) const fn from_checked(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// The bytes, free of charge.
    #[inline]
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The string. Walks the bytes once more, so prefer [`Text::as_bytes`] where each message passes.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Every way to make a `Text` has checked this, so the default is never taken.
        core::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// Length in bytes, at most 65,535.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The length as it stands before the text on the wire.
    #[inline]
    pub(crate) fn len_bytes(&self) -> [u8; 2] {
        // A `Text` is never longer than its length field can tell.
        u16::try_from(self.0.len()).unwrap_or(u16::MAX).to_be_bytes()
    }

    /// Whether there is no byte at all.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The buffer behind the text.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.0
    }

    /// A copy that does not keep the packet it came from alive: for what is stored for long.
    #[must_use]
    pub fn detached(&self) -> Self {
        Self(Bytes::copy_from_slice(&self.0))
    }
}

impl TryFrom<Bytes> for Text {
    type Error = TextError;

    fn try_from(bytes: Bytes) -> Result<Self, TextError> {
        check(&bytes)?;
        Ok(Self(bytes))
    }
}

impl TryFrom<Vec<u8>> for Text {
    type Error = TextError;

    fn try_from(bytes: Vec<u8>) -> Result<Self, TextError> {
        Self::try_from(Bytes::from(bytes))
    }
}

impl TryFrom<String> for Text {
    type Error = TextError;

    fn try_from(text: String) -> Result<Self, TextError> {
        Self::try_from(Bytes::from(text))
    }
}

impl TryFrom<&str> for Text {
    type Error = TextError;

    fn try_from(text: &str) -> Result<Self, TextError> {
        Self::new(text)
    }
}

impl AsRef<[u8]> for Text {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Borrow<[u8]> for Text {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.as_str(), f)
    }
}
