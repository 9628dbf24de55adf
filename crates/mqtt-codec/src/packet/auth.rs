//! AUTH (3.15): a step of enhanced authentication, 5.0 only.
//! Decoded and encoded on both sides.
//! It never checks that the method is the one of CONNECT: that takes the connection's state.

use bytes::Bytes;

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
