//! AUTH (3.15): a step of enhanced authentication, 5.0 only.
//! Decoded and encoded on both sides.
//! It never checks that the method is the one of CONNECT: that takes the connection's state.

use bytes::{BufMut, Bytes, BytesMut};

use crate::basic::{PacketKind, Version};
use crate::cursor::Cursor;
use crate::encode::{self, EncodeError, Form};
use crate::limits::Limits;
use crate::offence::Offence;
use crate::property::Property;
use crate::property_block::{PropertyReader, write_block};
use crate::reason::ReasonCode;
use crate::text::Text;
use crate::user_properties::UserProperties;

/// AUTH.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Auth {
    /// Success, continue or re-authenticate.
    pub reason: ReasonCode,
    /// Authentication Method; absent only in the two-byte form that means success.
    pub authentication_method: Option<Text>,
    /// Authentication Data; only with a method.
    pub authentication_data: Option<Bytes>,
    /// Reason String; left out if the packet would be too big.
    pub reason_string: Option<Text>,
    /// User properties; left out if the packet would be too big.
    pub user_properties: UserProperties,
}

impl core::fmt::Debug for Auth {
    /// Leaves the authentication data out: this may end in a log.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Auth")
            .field("reason", &self.reason)
            .field("authentication_method", &self.authentication_method)
            .field("authentication_data", &self.authentication_data.as_ref().map(|_| "..."))
            .field("reason_string", &self.reason_string)
            .field("user_properties", &self.user_properties)
            .finish()
    }
}

impl Auth {
    pub(crate) fn decode(version: Version, body: &Bytes, limits: &Limits) -> Result<Self, Offence> {
        if !version.is_v5() {
            return Err(Offence::PacketTypeNotInVersion);
        }
        let mut cursor = Cursor::new(body);
        let mut auth = Self::default();
        // An empty body means success without properties (3.15.2.1).
        if cursor.is_empty() {
            return Ok(auth);
        }
        auth.reason = ReasonCode::read(PacketKind::Auth, &mut cursor)?;
        let mut reader = PropertyReader::new(&mut cursor, limits)?;
        while let Some(property) = reader.next()? {
            match property {
                Property::AuthenticationMethod(text) => {
                    auth.authentication_method = Some(Text::slice_of(body, text));
                }
                Property::AuthenticationData(data) => {
                    auth.authentication_data = Some(body.slice_ref(data));
                }
                Property::ReasonString(text) => auth.reason_string = Some(Text::slice_of(body, text)),
                Property::UserProperty(..) => reader.keep(),
                other => return PropertyReader::foreign(&other),
            }
        }
        auth.user_properties = reader.kept_user_properties(body);
        cursor.finish()?;
        match &auth.authentication_method {
            None => Err(Offence::AuthenticationMethodMissing),
            Some(_) => Ok(auth),
        }
    }

    pub(crate) fn encode(&self, form: Form, out: &mut BytesMut) -> Result<(), EncodeError> {
        if !form.version.is_v5() {
            return Err(EncodeError::NotInVersion);
        }
        if !self.reason.is_allowed_in(PacketKind::Auth) {
            return Err(EncodeError::ReasonCodeInvalid);
        }
        let own = [
            self.authentication_method.as_ref().map(|text| Property::AuthenticationMethod(text.as_str())),
            self.authentication_data.as_ref().map(|data| Property::AuthenticationData(data)),
            form.detail.reason_string(self.reason_string.as_ref()),
        ];
        let user_properties = form.detail.user_properties(&self.user_properties);
        let bare = own.iter().all(Option::is_none) && user_properties.is_empty();
        if self.authentication_method.is_none() && !(bare && self.reason == ReasonCode::Success) {
            return Err(EncodeError::AuthenticationMethodMissing);
        }
        encode::packet(out, PacketKind::Auth.first_byte(), |out| {
            if bare {
                return Ok(());
            }
            out.put_u8(self.reason.value());
            write_block(out, &own, user_properties)
        })
    }
}
