//! One password hash as a line of a password file has it: argon2id, PBKDF2-SHA512 as Mosquitto writes it (`$7$`), or that of SCRAM.
//! Read by `users`, made by `passwd`, computed by `hasher`. Never says in `Debug` or in an error what it holds.

use std::fmt;
use std::num::NonZeroU32;

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use ring::pbkdf2::{self, PBKDF2_HMAC_SHA512};
use ring::rand::{SecureRandom, SystemRandom};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::scram::{Keys, Mechanism};

/// What new passwords are hashed with: 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
/// Bytes of a new salt, and of its hash.
const SALT_BYTES: usize = 16;
const HASH_BYTES: usize = 32;
/// What a line may ask for at most, so that no file makes a login cost minutes or gigabytes.
const MEMORY_KIB_MAX: u32 = 256 * 1024;
const PASSES_MAX: u32 = 16;
const LANES_MAX: u32 = 16;
const ITERATIONS_MAX: u32 = 5_000_000;
/// Bytes of a hash: less is no hash, more is none that anybody writes.
const HASH_BYTES_ALLOWED: std::ops::RangeInclusive<usize> = 16..=64;
pub(super) const SALT_BYTES_ALLOWED: std::ops::RangeInclusive<usize> = 8..=64;

/// Why a text is no password hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadHash {
    /// None of the three forms.
    #[error(
        "expected a hash that begins with $argon2id$ (from `quelea passwd`), SCRAM-SHA- (from `quelea passwd --scram`) or $7$ (from `mosquitto_passwd`)"
    )]
    Form,
    /// Its parts are missing, too many, or not what they should be; the line may be cut off.
    #[error("the hash is damaged or cut off")]
    Damaged,
    /// It would cost too much, or next to nothing.
    #[error(
        "the hash has costs that are not allowed: argon2id with up to 256 MiB, 16 passes and 16 lanes; SCRAM with 4,096 to 1,000,000 iterations; $7$ with up to 5,000,000"
    )]
    Costs,
}

/// A password hash.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct PasswordHash {
    kind: Kind,
    salt: Box<[u8]>,
    hash: Box<[u8]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Argon2id { memory_kib: u32, passes: u32, lanes: u32 },
    Pbkdf2Sha512 { iterations: NonZeroU32 },
    Scram { mechanism: Mechanism, iterations: NonZeroU32 },
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash")
    }
}

impl PasswordHash {
    /// Reads the text of a password file.
    ///
    /// # Errors
    /// It is none of the forms that are known, or its costs are out of bounds.
    pub(crate) fn parse(text: &str) -> Result<Self, BadHash> {
        let this = match text.split('$').collect::<Vec<_>>().as_slice() {
            ["", "argon2id", rest @ ..] => Self::parse_argon2id(rest)?,
            ["", "7", rest @ ..] => Self::parse_pbkdf2(rest)?,
            _ => return Err(BadHash::Form),
        };
        let sizes =
            SALT_BYTES_ALLOWED.contains(&this.salt.len()) && HASH_BYTES_ALLOWED.contains(&this.hash.len());
        if sizes { Ok(this) } else { Err(BadHash::Damaged) }
    }

    /// `v=19`, `m=19456,t=2,p=1`, salt, hash; base64 without padding.
    fn parse_argon2id(parts: &[&str]) -> Result<Self, BadHash> {
        let ["v=19", costs, salt, hash] = parts else { return Err(BadHash::Damaged) };
        let costs: Vec<u32> = costs
            .split(',')
            .zip(["m=", "t=", "p="])
            .map_while(|(cost, name)| cost.strip_prefix(name)?.parse().ok())
            .collect();
        let [memory_kib, passes, lanes] = costs.as_slice() else { return Err(BadHash::Damaged) };
        let (memory_kib, passes, lanes) = (*memory_kib, *passes, *lanes);
        let bounded = memory_kib <= MEMORY_KIB_MAX && passes <= PASSES_MAX && lanes <= LANES_MAX;
        if !bounded || Params::new(memory_kib, passes, lanes, None).is_err() {
            return Err(BadHash::Costs);
        }
        let decode = |text: &str| STANDARD_NO_PAD.decode(text).map_err(|_| BadHash::Damaged);
        let kind = Kind::Argon2id { memory_kib, passes, lanes };
        Ok(Self { kind, salt: decode(salt)?.into(), hash: decode(hash)?.into() })
    }

    /// Iterations, salt, hash; base64 with padding.
    fn parse_pbkdf2(parts: &[&str]) -> Result<Self, BadHash> {
        let [iterations, salt, hash] = parts else { return Err(BadHash::Damaged) };
        let iterations: NonZeroU32 = iterations.parse().map_err(|_| BadHash::Damaged)?;
        if iterations.get() > ITERATIONS_MAX {
            return Err(BadHash::Costs);
        }
        let decode = |text: &str| STANDARD.decode(text).map_err(|_| BadHash::Damaged);
        let (kind, hash) = (Kind::Pbkdf2Sha512 { iterations }, decode(hash)?);
        // Its length says nothing of a hash that was cut by whole groups of four: all have the same.
        if hash.len() != 64 {
            return Err(BadHash::Damaged);
        }
        Ok(Self { kind, salt: decode(salt)?.into(), hash: hash.into() })
    }

    /// The text for a new password, argon2id with a new salt. `None` where the system has no random numbers.
    pub(crate) fn text_of(password: &[u8]) -> Option<String> {
        let mut salt = [0; SALT_BYTES];
        SystemRandom::new().fill(&mut salt).ok()?;
        let mut hash = [0; HASH_BYTES];
        argon2id(MEMORY_KIB, PASSES, 1)?.hash_password_into(password, &salt, &mut hash).ok()?;
        let (salt, hash) = (STANDARD_NO_PAD.encode(salt), STANDARD_NO_PAD.encode(hash));
        Some(format!("$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p=1${salt}${hash}"))
    }

    /// One that no password has, and that costs what a new one does.
    pub(crate) fn of_nobody() -> Self {
        let kind = Kind::Argon2id { memory_kib: MEMORY_KIB, passes: PASSES, lanes: 1 };
        Self { kind, salt: [0; SALT_BYTES].into(), hash: [0; HASH_BYTES].into() }
    }

    /// What a password is held against that its user sends as it is.
    pub(crate) fn of_scram(keys: &Keys) -> Self {
        let Keys { mechanism, iterations, salt, stored, .. } = keys;
        let kind = Kind::Scram { mechanism: *mechanism, iterations: *iterations };
        Self { kind, salt: salt.clone(), hash: stored.clone() }
    }

    /// Whether it is the hash of this password. Takes milliseconds of a core and megabytes of memory.
    pub(crate) fn verify(&self, password: &[u8]) -> bool {
        match self.kind {
            Kind::Pbkdf2Sha512 { iterations } => {
                pbkdf2::verify(PBKDF2_HMAC_SHA512, iterations, &self.salt, password, &self.hash).is_ok()
            }
            Kind::Scram { mechanism, iterations } => {
                let found = mechanism.stored_key(password, &self.salt, iterations);
                bool::from(found.as_ref().ct_eq(&self.hash))
            }
            Kind::Argon2id { memory_kib, passes, lanes } => {
                let mut found = Zeroizing::new(vec![0; self.hash.len()]);
                let computed = argon2id(memory_kib, passes, lanes).is_some_and(|argon2| {
                    argon2.hash_password_into(password, &self.salt, &mut found).is_ok()
                });
                computed && bool::from(found.as_slice().ct_eq(&self.hash))
            }
        }
    }
}

fn argon2id(memory_kib: u32, passes: u32, lanes: u32) -> Option<Argon2<'static>> {
    let params = Params::new(memory_kib, passes, lanes, None).ok()?;
    Some(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the password "secret"; made by the reference implementation (`argon2 somesalt12345678 -id -k 64 -t 1 -p 1`).
    const MOSQUITTO: &str = "$7$101$c2FsdHNhbHRzYWx0$";

    fn mosquitto_of(password: &[u8]) -> String {
        let mut hash = [0; 64];
        let iterations = NonZeroU32::new(101).unwrap();
        pbkdf2::derive(PBKDF2_HMAC_SHA512, iterations, b"saltsaltsalt", password, &mut hash);
        format!("{MOSQUITTO}{}", STANDARD.encode(hash))
    }

    #[test]
    fn a_new_hash_is_of_its_password_alone() {
        let text = PasswordHash::text_of(b"open sesame").unwrap();
        let hash = PasswordHash::parse(&text).unwrap();
        assert!(hash.verify(b"open sesame"));
        assert!(!hash.verify(b"open sesame "));
        assert!(!hash.verify(b""));
        assert_ne!(text, PasswordHash::text_of(b"open sesame").unwrap(), "each has a salt of its own");
        assert!(!PasswordHash::of_nobody().verify(b""));
    }

    #[test]
    fn hashes_of_mosquitto_are_understood() {
        let hash = PasswordHash::parse(&mosquitto_of(b"secret")).unwrap();
        assert!(hash.verify(b"secret"));
        assert!(!hash.verify(b"Secret"));
    }

    #[test]
    fn what_is_cut_off_damaged_or_too_dear_is_no_hash() {
        for whole in [PasswordHash::text_of(b"x").unwrap(), mosquitto_of(b"x")] {
            for end in 0..whole.len() {
                let cut = &whole[..end];
                let parsed = PasswordHash::parse(cut);
                let shorter = parsed.as_ref().is_ok_and(|hash| hash.verify(b"x"));
                assert!(!shorter, "{cut}");
            }
            assert_eq!(PasswordHash::parse(&format!("{whole}$")), Err(BadHash::Damaged));
        }
        let with =
            |costs: &str| format!("$argon2id$v=19${costs}$c2FsdHNhbHRzYWx0$c2FsdHNhbHRzYWx0c2FsdHNhbHQ");
        assert!(PasswordHash::parse(&with("m=64,t=1,p=1")).is_ok());
        for (text, error) in [
            (String::new(), BadHash::Form),
            ("secret".into(), BadHash::Form),
            ("$6$salt$hash".into(), BadHash::Form),
            (with("m=4194304,t=1,p=1"), BadHash::Costs),
            (with("m=64,t=99,p=1"), BadHash::Costs),
            (with("m=64,t=0,p=1"), BadHash::Costs),
            (with("t=1,m=64,p=1"), BadHash::Damaged),
            (format!("$7$0${}", "c2FsdHNhbHRzYWx0$AAAA"), BadHash::Damaged),
            (format!("$7$4000000000${}", "c2FsdHNhbHRzYWx0$AAAA"), BadHash::Costs),
        ] {
            assert_eq!(PasswordHash::parse(&text), Err(error), "{text}");
        }
        assert_eq!(format!("{:?}", PasswordHash::of_nobody()), "PasswordHash");
    }
}
