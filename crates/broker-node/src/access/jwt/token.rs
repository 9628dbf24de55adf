//! A token as it is shown (JWS in its compact form, RFC 7515): what its header says, and what is signed. Made by `Tokens` of a
//! password; trusts nothing of it, and looks at no signature.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::json::{self, Object};

/// Bytes of a token at most.
pub(in crate::access) const TOKEN_BYTES_MAX: usize = 8 << 10;

/// Why a token does not count. Nothing of the token is quoted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadToken {
    /// It is larger than any that is looked at.
    #[error("it has more than {TOKEN_BYTES_MAX} bytes")]
    TooLong,
    /// A part of it is no base64url, or no object of JSON in which each name is there once.
    #[error("its {0} is not what a token has there")]
    Form(&'static str),
    /// Its header asks for what is not done here.
    #[error("its header has {0:?}, which is not understood here")]
    Header(&'static str),
    /// `none`, or an algorithm that is not known here.
    #[error("it is not signed by an algorithm that is taken here")]
    Algorithm,
    /// No key goes with its header.
    #[error("there is no key for its \"kid\" and \"alg\"")]
    UnknownKey,
    /// A key does, and the signature is not of it.
    #[error("its signature is wrong")]
    Signature,
    /// A claim that it has to have, or what the settings name so.
    #[error("its {0} is missing or cannot be used")]
    Claim(&'static str),
    /// `exp` is over.
    #[error("it has expired")]
    Expired,
    /// `nbf` is to come.
    #[error("it does not count yet")]
    NotYet,
    /// `iss` is another one.
    #[error("it is from another issuer")]
    Issuer,
    /// `aud` is another one.
    #[error("it is for another audience")]
    Audience,
    /// The user name in CONNECT is another one.
    #[error("the user name in CONNECT is not the one in it")]
    OtherUser,
}

/// How a token may be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    Hs256,
    Hs384,
    Hs512,
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    EdDsa,
}

impl Algorithm {
    /// All of them, as RFC 7518 and RFC 8037 spell them. `none` is none of them.
    const NAMES: [(&'static str, Self); 12] = [
        ("HS256", Self::Hs256),
        ("HS384", Self::Hs384),
        ("HS512", Self::Hs512),
        ("RS256", Self::Rs256),
        ("RS384", Self::Rs384),
        ("RS512", Self::Rs512),
        ("PS256", Self::Ps256),
        ("PS384", Self::Ps384),
        ("PS512", Self::Ps512),
        ("ES256", Self::Es256),
        ("ES384", Self::Es384),
        ("EdDSA", Self::EdDsa),
    ];

    /// The one with this name.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::NAMES.iter().find_map(|(known, algorithm)| (*known == name).then_some(*algorithm))
    }
}

/// A token whose signature nobody has looked at.
#[derive(Debug)]
pub(super) struct Token<'a> {
    pub(super) algorithm: Algorithm,
    /// Which key it says that it is signed with.
    pub(super) key_id: Option<Box<str>>,
    /// What is signed.
    pub(super) signed: &'a [u8],
    pub(super) signature: Vec<u8>,
    claims: &'a str,
}

/// Whether a password has the form of a token: three parts in the letters of base64url. Few passwords do, and those are tried as
/// passwords too.
pub(super) fn is_token_like(password: &[u8]) -> bool {
    let known = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    password.iter().all(known) && password.iter().filter(|byte| **byte == b'.').count() == 2
}

impl<'a> Token<'a> {
    /// Reads a token.
    ///
    /// # Errors
    /// It has not the form of one, or wants what is not done here.
    pub(super) fn parse(text: &'a [u8]) -> Result<Self, BadToken> {
        if text.len() > TOKEN_BYTES_MAX {
            return Err(BadToken::TooLong);
        }
        let text = std::str::from_utf8(text).map_err(|_| BadToken::Form("text"))?;
        let (signed, signature) = text.rsplit_once('.').ok_or(BadToken::Form("text"))?;
        let (header, claims) = signed.split_once('.').ok_or(BadToken::Form("text"))?;
        let header = object(header, "header")?;
        // Whoever does not understand these must not take the token (RFC 7515, section 4.1.11).
        if let Some(critical) = ["crit", "b64"].into_iter().find(|name| header.contains_key(*name)) {
            return Err(BadToken::Header(critical));
        }
        let algorithm = header.get("alg").and_then(|name| Algorithm::named(name.as_str()?));
        let key_id = match header.get("kid") {
            None => None,
            Some(id) => Some(id.as_str().ok_or(BadToken::Header("kid"))?.into()),
        };
        Ok(Self {
            algorithm: algorithm.ok_or(BadToken::Algorithm)?,
            key_id,
            signed: signed.as_bytes(),
            signature: decode(signature, "signature")?,
            claims,
        })
    }

    /// What it claims; of use once the signature was found to be right.
    ///
    /// # Errors
    /// It is no object of JSON, or has a name twice.
    pub(super) fn claims(&self) -> Result<Object, BadToken> {
        object(self.claims, "payload")
    }
}

fn decode(part: &str, what: &'static str) -> Result<Vec<u8>, BadToken> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| BadToken::Form(what))
}

fn object(part: &str, what: &'static str) -> Result<Object, BadToken> {
    json::object(&decode(part, what)?).ok_or(BadToken::Form(what))
}
