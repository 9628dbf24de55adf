//! `ApplicationProperties`: a look into the properties that pass through a broker unchanged.
//! Used by whoever needs a response topic or a content type; fan-out never looks.
//! It never holds anything but payload format, content type, response topic, correlation data and
//! user properties, in the order they came [MQTT-3.3.2-4], [MQTT-3.3.2-15] to [MQTT-3.3.2-20].

use bytes::{Bytes, BytesMut};

use crate::cursor::Cursor;
use crate::encode::EncodeError;
use crate::limits::Limits;
use crate::offence::Offence;
use crate::property::Property;
use crate::property_block::PropertyReader;

/// Iterates over the `application` of a PUBLISH or a will.
#[derive(Debug, Clone)]
pub struct ApplicationProperties<'a> {
    cursor: Cursor<'a>,
}

impl<'a> ApplicationProperties<'a> {
    /// Looks into the `application` of a packet. Of bytes that did not come from a decoder or from
    /// [`ApplicationProperties::build`], it yields what is well formed, and stops.
    #[must_use]
    pub const fn new(application: &'a [u8]) -> Self {
        Self { cursor: Cursor::new(application) }
    }

    /// Builds the `application` of a PUBLISH or a will.
    ///
    /// # Errors
    /// What [`ApplicationProperties::check`] finds, or a field of more than 65,535 bytes.
    pub fn build(properties: &[Property<'_>]) -> Result<Bytes, Offence> {
        let mut raw = BytesMut::new();
        for property in properties {
            property.write(&mut raw).map_err(|error| match error {
                EncodeError::FieldTooLong => Offence::FieldTooLong,
                // Only a subscription identifier can fail otherwise, and it has no place here.
                _ => Offence::PropertyNotAllowed { id: property.id() },
            })?;
        }
        Self::check(&raw, &Limits::NONE)?;
        Ok(raw.freeze())
    }

    /// Checks bytes that come from elsewhere than a packet, such as a store of an older version.
    ///
    /// # Errors
    /// As for the properties of a PUBLISH: unknown, foreign, repeated, or with a bad value.
    pub fn check(application: &[u8], limits: &Limits) -> Result<(), Offence> {
        let mut reader = PropertyReader::over(application, limits);
        while let Some(property) = reader.next()? {
            if !is_application(&property) {
                return PropertyReader::foreign(&property);
            }
        }
        Ok(())
    }
}

/// Whether a property of PUBLISH is passed on unchanged.
#[inline]
pub(crate) const fn is_application(property: &Property<'_>) -> bool {
    matches!(
        property,
        Property::PayloadFormatIndicator(_)
            | Property::ContentType(_)
            | Property::ResponseTopic(_)
            | Property::CorrelationData(_)
            | Property::UserProperty(..)
    )
}

impl<'a> Iterator for ApplicationProperties<'a> {
    type Item = Property<'a>;

    fn next(&mut self) -> Option<Property<'a>> {
        Property::read(&mut self.cursor).ok()
    }
}
