//! What a password file has of a user for SCRAM (RFC 5802, RFC 7677), in the form that PostgreSQL uses too: salt, iterations, and two
//! keys that follow from the password. Read by `users`, made by `passwd`; no password follows from it but by trying.

use std::fmt;
use std::num::NonZeroU32;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::rand::{SecureRandom, SystemRandom};
use ring::{digest, hmac, pbkdf2};
use zeroize::Zeroizing;

use crate::access::hash::{BadHash, SALT_BYTES_ALLOWED};

/// Iterations where nobody says how many: a client computes them, and small ones take a second for these.
pub(crate) const ITERATIONS: u32 = 16_384;
const DEFAULT_ITERATIONS: NonZeroU32 = NonZeroU32::new(ITERATIONS).expect("it is not 0");
/// What RFC 7677 asks for, and what takes clients too long.
pub(crate) const ITERATIONS_ALLOWED: std::ops::RangeInclusive<u32> = 4_096..=1_000_000;
/// Bytes of a new salt.
pub(super) const SALT_BYTES: usize = 16;
/// What all its texts begin with.
pub(crate) const PREFIX: &str = "SCRAM-";

/// A hash to do SCRAM with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mechanism {
    Sha256,
    Sha512,
}

impl Mechanism {
    /// All that there are.
    pub(crate) const ALL: [Self; 2] = [Self::Sha256, Self::Sha512];

    /// What clients call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "SCRAM-SHA-256",
            Self::Sha512 => "SCRAM-SHA-512",
        }
    }

    fn hmac(self) -> hmac::Algorithm {
        match self {
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha512 => hmac::HMAC_SHA512,
        }
    }

    fn digest(self) -> &'static digest::Algorithm {
        self.hmac().digest_algorithm()
    }

    fn pbkdf2(self) -> pbkdf2::Algorithm {
        match self {
            Self::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
            Self::Sha512 => pbkdf2::PBKDF2_HMAC_SHA512,
        }
    }

    /// Bytes of its hashes.
    pub(super) fn bytes(self) -> usize {
        self.digest().output_len()
    }

    /// `H(data)`.
    pub(super) fn hash(self, data: &[u8]) -> digest::Digest {
        digest::digest(self.digest(), data)
    }

    /// `HMAC(key, data)`.
    pub(super) fn sign(self, key: &[u8], data: &[u8]) -> hmac::Tag {
        hmac::sign(&hmac::Key::new(self.hmac(), key), data)
    }

    /// `SaltedPassword`. Takes milliseconds of a core.
    fn salted(self, password: &[u8], salt: &[u8], iterations: NonZeroU32) -> Zeroizing<Vec<u8>> {
        let mut salted = Zeroizing::new(vec![0; self.bytes()]);
        pbkdf2::derive(self.pbkdf2(), iterations, salt, password, &mut salted);
        salted
    }

    /// `StoredKey` of a password. Takes milliseconds of a core.
    pub(crate) fn stored_key(
        self,
        password: &[u8],
        salt: &[u8],
        iterations: NonZeroU32,
    ) -> impl AsRef<[u8]> + use<> {
        let salted = self.salted(password, salt, iterations);
        self.hash(self.sign(&salted, b"Client Key").as_ref())
    }
}

/// What a server knows of a user's password.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Keys {
    /// What they are for.
    pub(crate) mechanism: Mechanism,
    /// How often the client hashes.
    pub(crate) iterations: NonZeroU32,
    /// With what.
    pub(crate) salt: Box<[u8]>,
    /// What the client's proof is held against.
    pub(crate) stored: Box<[u8]>,
    /// What the server proves itself with.
    pub(super) server: Zeroizing<Box<[u8]>>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys")
    }
}

impl Keys {
    /// Reads `SCRAM-SHA-256$ITERATIONS:SALT$STORED:SERVER`, or the same with 512.
    ///
    /// # Errors
    /// It has not that form, or its iterations are out of bounds.
    pub(crate) fn parse(text: &str) -> Result<Self, BadHash> {
        let (name, rest) = text.split_once('$').ok_or(BadHash::Damaged)?;
        let mut known = Mechanism::ALL.into_iter();
        let mechanism = known.find(|mechanism| mechanism.name() == name).ok_or(BadHash::Form)?;
        let (costs, keys) = rest.split_once('$').ok_or(BadHash::Damaged)?;
        let (iterations, salt) = costs.split_once(':').ok_or(BadHash::Damaged)?;
        let (stored, server) = keys.split_once(':').ok_or(BadHash::Damaged)?;
        let decode = |text: &str| STANDARD.decode(text).map_err(|_| BadHash::Damaged);
        let iterations: NonZeroU32 = iterations.parse().map_err(|_| BadHash::Damaged)?;
        let (salt, stored, server) = (decode(salt)?, decode(stored)?, Zeroizing::new(decode(server)?));
        let whole = [stored.len(), server.len()] == [mechanism.bytes(); 2];
        if !whole || !SALT_BYTES_ALLOWED.contains(&salt.len()) {
            return Err(BadHash::Damaged);
        }
        if !ITERATIONS_ALLOWED.contains(&iterations.get()) {
            return Err(BadHash::Costs);
        }
        let server = Zeroizing::new(server.as_slice().into());
        Ok(Self { mechanism, iterations, salt: salt.into(), stored: stored.into(), server })
    }

    /// Those of a password with a salt.
    pub(super) fn of(mechanism: Mechanism, password: &[u8], salt: &[u8], iterations: NonZeroU32) -> Self {
        let salted = mechanism.salted(password, salt, iterations);
        let stored = mechanism.hash(mechanism.sign(&salted, b"Client Key").as_ref());
        let server = mechanism.sign(&salted, b"Server Key");
        Self {
            mechanism,
            iterations,
            salt: salt.into(),
            stored: stored.as_ref().into(),
            server: Zeroizing::new(server.as_ref().into()),
        }
    }

    /// What made-up salts follow from, in a file with these keys.
    pub(crate) fn key_of_strangers(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA512, &self.server)
    }

    /// Those of a user that has none: as `like` but for the salt, and no proof goes with them.
    pub(crate) fn made_up(mechanism: Mechanism, like: Option<&Self>, key: &hmac::Key, user: &str) -> Self {
        let iterations = like.map_or(DEFAULT_ITERATIONS, |keys| keys.iterations);
        let mut signed = hmac::Context::with_key(key);
        signed.update(mechanism.name().as_bytes());
        signed.update(user.as_bytes());
        let salt = signed.sign();
        let len = like.map_or(SALT_BYTES, |keys| keys.salt.len());
        let none: Box<[u8]> = vec![0; mechanism.bytes()].into();
        Self {
            mechanism,
            iterations,
            salt: salt.as_ref().iter().copied().take(len).collect(),
            stored: none.clone(),
            server: Zeroizing::new(none),
        }
    }

    /// The text for a new password. `None` where the system has no random numbers.
    pub(crate) fn text_of(mechanism: Mechanism, password: &[u8], iterations: NonZeroU32) -> Option<String> {
        let mut salt = [0; SALT_BYTES];
        SystemRandom::new().fill(&mut salt).ok()?;
        let keys = Self::of(mechanism, password, &salt, iterations);
        let [salt, stored, server] =
            [&*keys.salt, &*keys.stored, &**keys.server].map(|key| STANDARD.encode(key));
        Some(format!("{}${iterations}:{salt}${stored}:{server}", mechanism.name()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What PostgreSQL 16 has of the password "pencil" with the salt of RFC 7677.
    #[test]
    fn the_form_is_one_that_others_have_too() {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let keys = Keys::of(Mechanism::Sha256, b"pencil", &salt, NonZeroU32::new(4_096).unwrap());
        let text = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
        assert!(Keys::parse(text).unwrap() == keys);
        assert_eq!(format!("{keys:?}"), "Keys");
    }

    #[test]
    fn a_new_text_is_of_its_password_alone_and_has_a_salt_of_its_own() {
        let iterations = NonZeroU32::new(4_096).unwrap();
        for mechanism in Mechanism::ALL {
            let text = Keys::text_of(mechanism, b"open sesame", iterations).unwrap();
            let keys = Keys::parse(&text).unwrap();
            let stored = |password: &[u8]| mechanism.stored_key(password, &keys.salt, iterations);
            assert_eq!(stored(b"open sesame").as_ref(), &*keys.stored);
            assert_ne!(stored(b"open sesame ").as_ref(), &*keys.stored);
            assert_ne!(text, Keys::text_of(mechanism, b"open sesame", iterations).unwrap());
        }
    }

    #[test]
    fn what_is_cut_off_damaged_or_out_of_bounds_is_none() {
        let whole = Keys::text_of(Mechanism::Sha512, b"x", NonZeroU32::new(4_096).unwrap()).unwrap();
        for end in 0..whole.len() {
            assert!(Keys::parse(&whole[..end]).is_err(), "{end}");
        }
        for (old, new, error) in [
            ("$4096:", "$4095:", BadHash::Costs),
            ("$4096:", "$1000001:", BadHash::Costs),
            ("$4096:", "$0:", BadHash::Damaged),
            ("$4096:", "$4e3:", BadHash::Damaged),
            ("-512$", "-256$", BadHash::Damaged),
            ("-512$", "-1$", BadHash::Form),
            ("-512$", "-512-PLUS$", BadHash::Form),
        ] {
            assert_eq!(Keys::parse(&whole.replacen(old, new, 1)).err(), Some(error), "{new}");
        }
    }
}
