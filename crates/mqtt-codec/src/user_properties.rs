//! `UserProperties`: the user properties of one packet, kept as the bytes they came in.
//! Used by every packet of 5.0 but PUBLISH and the will, where they are part of `application`.
//! They never lose their order [MQTT-3.3.2-18] and never hold anything but valid pairs.

use core::fmt;

use bytes::{BufMut, Bytes, BytesMut};

use crate::cursor::Cursor;
use crate::property::Property;
use crate::text::Text;

/// Validated user properties (2.2.2.2), in order, as on the wire.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct UserProperties(Bytes);

impl UserProperties {
    /// Wraps what a `PropertyReader` has kept.
    pub(crate) const fn from_checked(raw: Bytes) -> Self {
        Self(raw)
    }

    /// Builds them from names and values.
    #[must_use]
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a Text, &'a Text)>) -> Self {
        let mut raw = BytesMut::new();
        for (name, value) in pairs {
            raw.put_u8(USER_PROPERTY);
            for text in [name, value] {
                raw.put_slice(&text.len_bytes());
                raw.put_slice(text.as_bytes());
            }
        }
        Self(raw.freeze())
    }

    /// Names and values in order, without a copy.
    pub fn iter(&self) -> impl Iterator<Item = (Text, Text)> + '_ {
        let mut cursor = Cursor::new(&self.0);
        core::iter::from_fn(move || match Property::read(&mut cursor) {
            Ok(Property::UserProperty(name, value)) => {
                Some((Text::slice_of(&self.0, name), Text::slice_of(&self.0, value)))
            }
            _ => None,
        })
    }

    /// How many pairs there are; walks them.
    #[must_use]
    pub fn count(&self) -> usize {
        self.iter().count()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As on the wire: identifiers, names and values, without a length before them.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

const USER_PROPERTY: u8 = 0x26;

impl fmt::Debug for UserProperties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
