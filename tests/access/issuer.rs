//! Who issues tokens for the tests. Used by the tests of tokens; nothing it signs is good for anything else.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::{Value, json};

/// Seconds since 1970.
pub(crate) fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A key that signs tokens by ES256.
pub(crate) struct Issuer {
    id: &'static str,
    key: EcdsaKeyPair,
}

impl Issuer {
    /// With a new key.
    pub(crate) fn new(id: &'static str) -> Self {
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random);
        Self { id, key: key.unwrap() }
    }

    /// Its key as a JWKS has it.
    pub(crate) fn jwk(&self) -> Value {
        let point = self.key.public_key().as_ref();
        let (x, y) = point[1..].split_at(32);
        let coded = |part| URL_SAFE_NO_PAD.encode::<&[u8]>(part);
        json!({"kty": "EC", "crv": "P-256", "use": "sig", "kid": self.id, "x": coded(x), "y": coded(y)})
    }

    /// A token with these claims alone.
    pub(crate) fn sign(&self, claims: &Value) -> String {
        let header = json!({"alg": "ES256", "typ": "JWT", "kid": self.id});
        let coded = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}", coded(&header), coded(claims));
        let signature = self.key.sign(&SystemRandom::new(), text.as_bytes()).unwrap();
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// One of a user for an hour, with more claims.
    pub(crate) fn token_with(&self, user: &str, more: Value) -> String {
        let mut claims = json!({"sub": user, "exp": now_s() + 3_600});
        claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.sign(&claims)
    }

    /// One of a user for an hour.
    pub(crate) fn token(&self, user: &str) -> String {
        self.token_with(user, json!({}))
    }
}

/// The keys of these as a file.
pub(crate) fn set(issuers: &[&Issuer]) -> String {
    let keys: Vec<Value> = issuers.iter().map(|issuer| issuer.jwk()).collect();
    json!({ "keys": keys }).to_string()
}
