//! A secret that all nodes of a cluster share, and the key that follows from it: who has it can show so by TLS, without
//! ever sending it. Used by `guarded`; keeps no secret itself, prints none.

use std::sync::Arc;

use ring::hkdf;
use rustls::crypto::ring::sign::any_eddsa_type;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

use super::BadKeys;

/// Bytes of a secret at least. Whoever reaches a node is shown a public key that follows from it, and could try short ones out.
pub const SECRET_BYTES_MIN: usize = 32;
/// Secrets at a time.
pub const SECRETS_MAX: usize = 8;
/// Bytes of the seed of an Ed25519 key.
const SEED_BYTES: usize = 32;
/// What is derived, and for what: raised where a secret is to mean another key.
const PURPOSE: &[u8] = b"quelea between nodes 1";
/// What is before the seed in an Ed25519 key in PKCS #8 (RFC 8410, 10.3).
const PKCS8_HEAD: [u8; 16] =
    [0x30, 0x2E, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2B, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// Text that is no list of secrets. Nothing of it is quoted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSecret {
    /// A line is too short to be kept secret.
    #[error(
        "line {line} has {found} characters, expected {SECRET_BYTES_MIN} at least: make one with openssl rand -base64 32"
    )]
    Short {
        /// Counted from 1.
        line: usize,
        /// Its bytes.
        found: usize,
    },
    /// There are none, or too many.
    #[error("it has {0} secrets, expected 1 to {SECRETS_MAX}, a line each")]
    Count(usize),
    /// No key follows from it, which is a mistake in this binary.
    #[error("no key can be made of it")]
    Underivable,
}

/// What follows from a secret: the seed of a key.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<[u8; SEED_BYTES]>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    /// The secrets of a text, a line each; blanks around them do not count, nor do empty lines.
    ///
    /// # Errors
    /// There is none, there are more than [`SECRETS_MAX`], or one has less than [`SECRET_BYTES_MIN`] bytes.
    pub fn parse_all(text: &str) -> Result<Vec<Self>, BadSecret> {
        let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
        let secrets = lines.filter(|(_, line)| !line.is_empty()).map(|(line, secret)| match secret.len() {
            found if found < SECRET_BYTES_MIN => Err(BadSecret::Short { line, found }),
            _ => Self::derive(secret),
        });
        let secrets = secrets.collect::<Result<Vec<Self>, _>>()?;
        match secrets.len() {
            1..=SECRETS_MAX => Ok(secrets),
            other => Err(BadSecret::Count(other)),
        }
    }

    fn derive(secret: &str) -> Result<Self, BadSecret> {
        let pseudorandom = hkdf::Salt::new(hkdf::HKDF_SHA256, PURPOSE).extract(secret.as_bytes());
        let mut seed = Zeroizing::new([0; SEED_BYTES]);
        let expanded = pseudorandom.expand(&[b"ed25519"], hkdf::HKDF_SHA256);
        let filled = expanded.and_then(|key| key.fill(seed.as_mut_slice()));
        filled.map(|()| Self(seed)).map_err(|_unspecified| BadSecret::Underivable)
    }

    /// The key, with its public half in the place of a certificate (RFC 7250).
    ///
    /// # Errors
    /// The key cannot be used.
    pub(super) fn key(&self) -> Result<Arc<CertifiedKey>, BadKeys> {
        let pkcs8 = Zeroizing::new([PKCS8_HEAD.as_slice(), self.0.as_slice()].concat());
        let key = any_eddsa_type(&PrivatePkcs8KeyDer::from(pkcs8.as_slice()))?;
        let public = key.public_key().ok_or(BadKeys::NoPublicHalf)?;
        Ok(Arc::new(CertifiedKey::new(vec![CertificateDer::from(public.to_vec())], key)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "0123456789abcdef0123456789abcdef";
    const TWO: &str = "0123456789abcdef0123456789abcdeg";

    fn public(secret: &Secret) -> Vec<u8> {
        secret.key().unwrap().cert[0].to_vec()
    }

    #[test]
    fn a_secret_is_always_the_same_key_and_another_one_another() {
        let (one, two) = (Secret::parse_all(ONE).unwrap(), Secret::parse_all(TWO).unwrap());
        assert_eq!(Secret::parse_all(&format!("\n  {ONE}\r\n\n")).unwrap(), one);
        assert_eq!(public(&one[0]), public(&Secret::parse_all(ONE).unwrap()[0]));
        assert_ne!(public(&one[0]), public(&two[0]));
        let both = Secret::parse_all(&format!("{TWO}\n{ONE}\n")).unwrap();
        assert_eq!(both, [two[0].clone(), one[0].clone()]);
        // Of one release and another.
        let known = "302a300506032b6570032100";
        assert_eq!(public(&one[0])[..12], hex(known), "the public key of an Ed25519 key");
    }

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    #[test]
    fn what_is_no_secret_is_refused_and_not_quoted() {
        assert_eq!(Secret::parse_all("\n \n").err(), Some(BadSecret::Count(0)));
        let short = format!("{ONE}\nhunter2hunter2\n");
        let error = Secret::parse_all(&short).unwrap_err();
        assert_eq!(error, BadSecret::Short { line: 2, found: 14 });
        assert!(!error.to_string().contains("hunter2"), "{error}");
        let many = format!("{ONE}\n").repeat(SECRETS_MAX + 1);
        assert_eq!(Secret::parse_all(&many).err(), Some(BadSecret::Count(SECRETS_MAX + 1)));
        assert_eq!(format!("{:?}", Secret::parse_all(ONE).unwrap()), "[Secret]");
    }
}
