//! A block of properties: Property Length and what it covers (2.2.2).
//! Read and written by every packet of 5.0.
//! It never lets a property through twice that may occur once, nor more user properties than the
//! limits allow; its cost is linear in the block.

use core::ops::Range;

use bytes::{Bytes, BytesMut};

use crate::basic::Version;
use crate::cursor::Cursor;
use crate::encode::{EncodeError, length_prefixed};
use crate::limits::Limits;
use crate::offence::Offence;
use crate::property::Property;
use crate::text::Text;
use crate::user_properties::UserProperties;

/// The properties of one packet, one after the other, with those that are kept as raw bytes.
#[derive(Debug)]
pub(crate) struct PropertyReader<'a> {
    block: &'a [u8],
    cursor: Cursor<'a>,
    limits: Limits,
    /// One bit for each identifier that was seen: the largest is 0x2A.
    seen: u64,
    user_properties: u16,
    user_properties_bytes: usize,
    last: Range<usize>,
    /// The kept properties while they are contiguous.
    kept: Range<usize>,
    /// The kept properties once they are not.
    copied: BytesMut,
}

impl<'a> PropertyReader<'a> {
    /// Reads Property Length, and moves `body` behind the block.
    pub(crate) fn new(body: &mut Cursor<'a>, limits: &Limits) -> Result<Self, Offence> {
        let len = body.varint()?;
        let block = body.take(len as usize).map_err(|_| Offence::PropertyLengthInvalid)?;
        Ok(Self::over(block, limits))
    }

    /// Reads properties without a length before them.
    pub(crate) fn over(block: &'a [u8], limits: &Limits) -> Self {
        Self {
            block,
            cursor: Cursor::new(block),
            limits: *limits,
            seen: 0,
            user_properties: 0,
            user_properties_bytes: 0,
            last: 0..0,
            kept: 0..0,
            copied: BytesMut::new(),
        }
    }

    /// The next property; `None` behind the last.
    pub(crate) fn next(&mut self) -> Result<Option<Property<'a>>, Offence> {
        if self.cursor.is_empty() {
            return Ok(None);
        }
        let start = self.block.len() - self.cursor.remaining();
        let property = Property::read(&mut self.cursor).map_err(|offence| match offence {
            Offence::BodyTooShort => Offence::PropertyLengthInvalid,
            other => other,
        })?;
        self.last = start..self.block.len() - self.cursor.remaining();
        match property {
            Property::UserProperty(..) => self.count_user_property()?,
            // PUBLISH may carry several; SUBSCRIBE checks its own.
            Property::SubscriptionIdentifier(_) => {}
            _ => self.see(property.id())?,
        }
        Ok(Some(property))
    }

    /// Refuses a second property of this identifier.
    pub(crate) fn see(&mut self, id: u8) -> Result<(), Offence> {
        let bit = 1_u64 << (id & 63);
        if self.seen & bit != 0 {
            return Err(Offence::PropertyDuplicate { id });
        }
        self.seen |= bit;
        Ok(())
    }

    fn count_user_property(&mut self) -> Result<(), Offence> {
        if self.user_properties >= self.limits.user_properties_max {
            return Err(Offence::UserPropertiesTooMany);
        }
        self.user_properties += 1;
        self.user_properties_bytes += self.last.len();
        if self.user_properties_bytes > self.limits.user_properties_bytes_max as usize {
            return Err(Offence::UserPropertiesTooLarge);
        }
        Ok(())
    }

    /// Keeps the last property, as it is on the wire, behind those kept before.
    pub(crate) fn keep(&mut self) {
        if !self.copied.is_empty() {
            self.copied.extend_from_slice(self.raw(&self.last));
        } else if self.kept.is_empty() {
            self.kept = self.last.clone();
        } else if self.kept.end == self.last.start {
            self.kept.end = self.last.end;
        } else {
            self.copied.extend_from_slice(self.raw(&self.kept));
            self.copied.extend_from_slice(self.raw(&self.last));
        }
    }

    /// What was kept: a slice of `source`, which holds the block, unless it was interleaved with
    /// other properties and had to be copied.
    pub(crate) fn kept(self, source: &Bytes) -> Bytes {
        if self.copied.is_empty() { source.slice_ref(self.raw(&self.kept)) } else { self.copied.freeze() }
    }

    /// [`PropertyReader::kept`] of a reader that kept user properties alone.
    pub(crate) fn kept_user_properties(self, source: &Bytes) -> UserProperties {
        UserProperties::from_checked(self.kept(source))
    }

    fn raw(&self, range: &Range<usize>) -> &'a [u8] {
        // Ranges are positions that the cursor has passed, so they lie in the block.
        self.block.get(range.clone()).unwrap_or_default()
    }

    /// Refuses a property that the packet cannot carry.
    pub(crate) fn foreign<T>(property: &Property<'_>) -> Result<T, Offence> {
        Err(Offence::PropertyNotAllowed { id: property.id() })
    }
}

/// Writes Property Length and the properties: those present of `own`, then raw ones.
pub(crate) fn write_block(
    out: &mut BytesMut,
    own: &[Option<Property<'_>>],
    raw: &[u8],
) -> Result<(), EncodeError> {
    length_prefixed(out, |out| {
        own.iter().flatten().try_for_each(|property| property.write(out))?;
        out.extend_from_slice(raw);
        Ok(())
    })
}

/// Reason string and user properties: all the properties of most acknowledgements.
#[derive(Debug, Default)]
pub(crate) struct Diagnostics {
    pub(crate) reason_string: Option<Text>,
    pub(crate) user_properties: UserProperties,
}

impl Diagnostics {
    /// [`Diagnostics::read`] where the version has properties.
    pub(crate) fn read_if_v5(
        version: Version,
        body: &mut Cursor<'_>,
        source: &Bytes,
        limits: &Limits,
    ) -> Result<Self, Offence> {
        if version.is_v5() { Self::read(body, source, limits) } else { Ok(Self::default()) }
    }

    /// Reads a block that may hold nothing else.
    pub(crate) fn read(body: &mut Cursor<'_>, source: &Bytes, limits: &Limits) -> Result<Self, Offence> {
        let mut reader = PropertyReader::new(body, limits)?;
        let mut reason_string = None;
        while let Some(property) = reader.next()? {
            match property {
                Property::ReasonString(text) => reason_string = Some(Text::slice_of(source, text)),
                Property::UserProperty(..) => reader.keep(),
                other => return PropertyReader::foreign(&other),
            }
        }
        Ok(Self { reason_string, user_properties: reader.kept_user_properties(source) })
    }
}
