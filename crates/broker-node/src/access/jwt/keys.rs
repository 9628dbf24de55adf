//! The keys that tokens are signed with: secrets, a JWKS (RFC 7517), or public keys in PEM. Each key goes with the algorithms of its
//! kind and no other, whatever a token says. Read through `file` and `remote`, asked by `Tokens`; prints no secret.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm};
use ring::{digest, hmac};
use rustls::pki_types::pem::{PemObject, SectionKind};
use serde_json::Value;
use x509_parser::prelude::FromDer;
use x509_parser::x509::SubjectPublicKeyInfo;
use zeroize::Zeroizing;

use super::json::{self, Object};
use super::token::{Algorithm, BadToken, Token};

/// Keys of one source at most: each of them may have to be tried.
const KEYS_MAX: usize = 32;
/// Bytes of a secret at least: as many as HS256 has (RFC 7518, section 3.2).
const SECRET_BYTES_MIN: usize = 32;
/// What a line with a secret that is no text begins with.
const BASE64: &str = "base64:";
/// Bytes of an RSA modulus: 2,048 to 4,096 bits.
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=512;

/// What tells a key from all others.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::access) struct KeyPrint([u8; digest::SHA256_OUTPUT_LEN]);

impl fmt::Debug for KeyPrint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyPrint")
    }
}

/// What is verified with.
enum Material {
    Secret(Zeroizing<Vec<u8>>),
    Rsa { n: Vec<u8>, e: Vec<u8> },
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
}

/// A key.
struct Key {
    /// Its `kid`, where it has one.
    id: Option<Box<str>>,
    /// The only algorithm that it is for, where that is said.
    only: Option<Algorithm>,
    material: Material,
    print: KeyPrint,
}

/// The keys of one source.
#[derive(Default)]
pub(in crate::access) struct Keys(Vec<Key>);

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} keys", self.0.len())
    }
}

impl PartialEq for Keys {
    fn eq(&self, other: &Self) -> bool {
        let told =
            |keys: &Self| keys.0.iter().map(|key| (key.id.clone(), key.only, key.print)).collect::<Vec<_>>();
        told(self) == told(other)
    }
}

impl Material {
    /// Whether a signature is right. Not, where the key is of another kind than the algorithm.
    fn verifies(&self, token: &Token<'_>) -> bool {
        let point = |algorithm: &'static dyn VerificationAlgorithm, key: &[u8]| {
            UnparsedPublicKey::new(algorithm, key).verify(token.signed, &token.signature).is_ok()
        };
        match (self, token.algorithm) {
            (Self::Secret(secret), algorithm) => {
                let Some((hash, _)) = hmac_of(algorithm) else { return false };
                let key = hmac::Key::new(hash, secret);
                hmac::verify(&key, token.signed, &token.signature).is_ok()
            }
            (Self::Rsa { n, e }, algorithm) => {
                let Some(parameters) = rsa_of(algorithm) else { return false };
                let key = RsaPublicKeyComponents { n, e };
                key.verify(parameters, token.signed, &token.signature).is_ok()
            }
            (Self::P256(key), Algorithm::Es256) => point(&signature::ECDSA_P256_SHA256_FIXED, key),
            (Self::P384(key), Algorithm::Es384) => point(&signature::ECDSA_P384_SHA384_FIXED, key),
            (Self::Ed25519(key), Algorithm::EdDsa) => point(&signature::ED25519, key),
            _ => false,
        }
    }

    /// Whether it is of the kind that an algorithm needs, and long enough.
    fn goes_with(&self, algorithm: Algorithm) -> bool {
        match self {
            Self::Secret(secret) => hmac_of(algorithm).is_some_and(|(_, least)| secret.len() >= least),
            Self::Rsa { .. } => rsa_of(algorithm).is_some(),
            Self::P256(_) => algorithm == Algorithm::Es256,
            Self::P384(_) => algorithm == Algorithm::Es384,
            Self::Ed25519(_) => algorithm == Algorithm::EdDsa,
        }
    }

    fn print(&self) -> KeyPrint {
        let (kind, parts): (u8, [&[u8]; 2]) = match self {
            Self::Secret(secret) => (0, [secret, &[]]),
            Self::Rsa { n, e } => (1, [n, e]),
            Self::P256(point) => (2, [point, &[]]),
            Self::P384(point) => (3, [point, &[]]),
            Self::Ed25519(point) => (4, [point, &[]]),
        };
        let mut hash = digest::Context::new(&digest::SHA256);
        hash.update(&[kind]);
        for part in parts {
            hash.update(&(part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let mut print = [0; digest::SHA256_OUTPUT_LEN];
        print.iter_mut().zip(hash.finish().as_ref()).for_each(|(to, from)| *to = *from);
        KeyPrint(print)
    }
}

/// The hash of an HMAC, and the bytes of a secret that it needs at least.
fn hmac_of(algorithm: Algorithm) -> Option<(hmac::Algorithm, usize)> {
    match algorithm {
        Algorithm::Hs256 => Some((hmac::HMAC_SHA256, 32)),
        Algorithm::Hs384 => Some((hmac::HMAC_SHA384, 48)),
        Algorithm::Hs512 => Some((hmac::HMAC_SHA512, 64)),
        _ => None,
    }
}

fn rsa_of(algorithm: Algorithm) -> Option<&'static signature::RsaParameters> {
    match algorithm {
        Algorithm::Rs256 => Some(&signature::RSA_PKCS1_2048_8192_SHA256),
        Algorithm::Rs384 => Some(&signature::RSA_PKCS1_2048_8192_SHA384),
        Algorithm::Rs512 => Some(&signature::RSA_PKCS1_2048_8192_SHA512),
        Algorithm::Ps256 => Some(&signature::RSA_PSS_2048_8192_SHA256),
        Algorithm::Ps384 => Some(&signature::RSA_PSS_2048_8192_SHA384),
        Algorithm::Ps512 => Some(&signature::RSA_PSS_2048_8192_SHA512),
        _ => None,
    }
}

impl Keys {
    /// Reads secrets, a line each.
    ///
    /// # Errors
    /// What is wrong with which line; nothing of it is quoted.
    pub(super) fn parse_secrets(text: &str) -> Result<Self, String> {
        let mut keys = Vec::new();
        for (number, line) in text.lines().map(str::trim).enumerate() {
            let at = |why: &str| format!("line {}: {why}", number + 1);
            if line.starts_with("-----BEGIN") || line.starts_with('{') {
                return Err(at("expected a secret, found what belongs to auth.jwt.keys_file"));
            }
            if line.is_empty() {
                continue;
            }
            let secret = match line.strip_prefix(BASE64) {
                Some(coded) => STANDARD
                    .decode(coded.trim())
                    .map_err(|_| at("what is behind \"base64:\" is no base64"))?,
                None => line.as_bytes().to_vec(),
            };
            let secret = Zeroizing::new(secret);
            if secret.len() < SECRET_BYTES_MIN {
                return Err(at("the secret has fewer than 32 bytes, and could be tried out"));
            }
            keys.push(Key::new(Material::Secret(secret)));
        }
        Self::of(keys)
    }

    /// Reads public keys: a JWKS, or PEM.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(super) fn parse_public(text: &str) -> Result<Self, String> {
        if text.trim_start().starts_with('{') {
            Self::parse_set(text.as_bytes())
        } else {
            Self::parse_pem(text)
        }
    }

    /// Reads a JWKS. Keys of kinds that are not used here, and those for something else than signatures, are left out.
    ///
    /// # Errors
    /// It is none, or one of its keys is damaged or secret.
    pub(super) fn parse_set(text: &[u8]) -> Result<Self, String> {
        let set = json::object(text).ok_or("it is no JSON in which each name is there once")?;
        let listed = set.get("keys").and_then(Value::as_array).ok_or("it has no list \"keys\"")?;
        let mut keys = Vec::new();
        for (place, key) in listed.iter().enumerate() {
            let at = |why: &str| format!("key {} of \"keys\": {why}", place + 1);
            let key = key.as_object().ok_or_else(|| at("it is no object"))?;
            keys.extend(listed_key(key).map_err(at)?);
        }
        Self::of(keys)
    }

    fn parse_pem(text: &str) -> Result<Self, String> {
        let mut keys = Vec::new();
        for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(text.as_bytes()) {
            let (kind, der) = section.map_err(|_| "it is neither a JWKS nor PEM".to_owned())?;
            if kind != SectionKind::PublicKey {
                return Err(
                    "expected \"BEGIN PUBLIC KEY\", found another section: a broker needs no other".into()
                );
            }
            let material = public_key(&der)
                .ok_or_else(|| format!("public key {} is none that is taken: {TAKEN}", keys.len() + 1))?;
            keys.push(Key::new(material));
        }
        Self::of(keys)
    }

    fn of(keys: Vec<Key>) -> Result<Self, String> {
        match keys.len() {
            0 => Err("it has no key that can be used".into()),
            1..=KEYS_MAX => Ok(Self(keys)),
            _ => Err(format!("it has more than {KEYS_MAX} keys")),
        }
    }

    /// How many they are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the key is one of them.
    pub(super) fn have(&self, print: KeyPrint) -> bool {
        self.0.iter().any(|key| key.print == print)
    }

    /// The key that a token is signed with.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn verify(&self, token: &Token<'_>) -> Result<KeyPrint, BadToken> {
        let mut fitting = self.0.iter().filter(|key| key.fits(token)).peekable();
        let none = if fitting.peek().is_some() { BadToken::Signature } else { BadToken::UnknownKey };
        fitting.find(|key| key.material.verifies(token)).map(|key| key.print).ok_or(none)
    }
}

impl Key {
    fn new(material: Material) -> Self {
        Self { id: None, only: None, print: material.print(), material }
    }

    /// Whether a token may be signed with it. Where both have a `kid`, it is the same.
    fn fits(&self, token: &Token<'_>) -> bool {
        let same = match (&self.id, &token.key_id) {
            (Some(own), Some(named)) => own == named,
            _ => true,
        };
        same && self.only.is_none_or(|only| only == token.algorithm)
            && self.material.goes_with(token.algorithm)
    }
}

/// What keys are taken.
const TAKEN: &str = "RSA of 2,048 to 4,096 bits, P-256, P-384 and Ed25519";

/// A key of a JWKS; `None` where it is for something else.
fn listed_key(key: &Object) -> Result<Option<Key>, &'static str> {
    let text = |name: &str| key.get(name).and_then(Value::as_str);
    let verifies = |operations: &Value| {
        operations.as_array().is_some_and(|all| all.iter().any(|one| one.as_str() == Some("verify")))
    };
    if key.contains_key("d") || key.contains_key("k") {
        return Err("it is a secret one: a JWKS has public keys, and secrets belong to auth.jwt.secret_file");
    }
    if text("use").is_some_and(|one| one != "sig") || key.get("key_ops").is_some_and(|all| !verifies(all)) {
        return Ok(None);
    }
    let only = match key.get("alg") {
        None => None,
        Some(name) => match name.as_str().and_then(Algorithm::named) {
            Some(algorithm) => Some(algorithm),
            None => return Ok(None),
        },
    };
    let Some(material) = listed_material(key)? else { return Ok(None) };
    if only.is_some_and(|only| !material.goes_with(only)) {
        return Err("its \"alg\" is not one of its \"kty\"");
    }
    Ok(Some(Key { id: text("kid").map(Into::into), only, ..Key::new(material) }))
}

fn listed_material(key: &Object) -> Result<Option<Material>, &'static str> {
    let text = |name: &str| key.get(name).and_then(Value::as_str);
    let bytes = |name: &str| text(name).and_then(|coded| URL_SAFE_NO_PAD.decode(coded).ok());
    let point = |side: usize| match (bytes("x"), bytes("y")) {
        (Some(x), Some(y)) if x.len() == side && y.len() == side => Ok([&[4][..], &x, &y].concat()),
        _ => Err("its \"x\" and \"y\" are no point of its curve"),
    };
    Ok(Some(match (text("kty"), text("crv")) {
        (Some("RSA"), _) => {
            let (Some(n), Some(e)) = (bytes("n"), bytes("e")) else {
                return Err("its \"n\" and \"e\" are no RSA key");
            };
            match rsa(&n, &e) {
                Some(material) => material,
                None => return Ok(None),
            }
        }
        (Some("EC"), Some("P-256")) => Material::P256(point(32)?),
        (Some("EC"), Some("P-384")) => Material::P384(point(48)?),
        (Some("OKP"), Some("Ed25519")) => match bytes("x") {
            Some(x) if x.len() == 32 => Material::Ed25519(x),
            _ => return Err("its \"x\" is no Ed25519 key"),
        },
        _ => return Ok(None),
    }))
}

/// An RSA key of a size that is taken.
fn rsa(n: &[u8], e: &[u8]) -> Option<Material> {
    let plain = |number: &[u8]| number.iter().copied().skip_while(|byte| *byte == 0).collect::<Vec<u8>>();
    let (n, e) = (plain(n), plain(e));
    (RSA_BYTES.contains(&n.len()) && (1..=8).contains(&e.len())).then_some(Material::Rsa { n, e })
}

/// A public key as PEM has it (SubjectPublicKeyInfo).
fn public_key(der: &[u8]) -> Option<Material> {
    let (rest, info) = SubjectPublicKeyInfo::from_der(der).ok()?;
    let curve = info.algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
    let curve = curve.map(|oid| oid.to_id_string());
    let key = info.subject_public_key.data.to_vec();
    if !rest.is_empty() {
        return None;
    }
    match (info.algorithm.algorithm.to_id_string().as_str(), curve.as_deref(), key.len()) {
        ("1.2.840.113549.1.1.1", _, _) => match info.parsed().ok()? {
            x509_parser::public_key::PublicKey::RSA(key) => rsa(key.modulus, key.exponent),
            _ => None,
        },
        ("1.2.840.10045.2.1", Some("1.2.840.10045.3.1.7"), 65) => Some(Material::P256(key)),
        ("1.2.840.10045.2.1", Some("1.3.132.0.34"), 97) => Some(Material::P384(key)),
        ("1.3.101.112", _, 32) => Some(Material::Ed25519(key)),
        _ => None,
    }
}
