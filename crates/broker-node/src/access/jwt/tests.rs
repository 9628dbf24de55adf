//! Tokens that count and tokens that do not. `vectors.json` has one of each algorithm, made by another implementation
//! (Python's `cryptography`), and the keys that go with them.

use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde_json::{Value, json};

use super::keys::Keys;
use super::token::{TOKEN_BYTES_MAX, is_token_like};
use super::*;
use crate::access::noise::Noise;

/// Between `nbf` and `exp` of the vectors.
const NOW_S: f64 = 1_800_000_000.0;

fn vectors() -> Value {
    serde_json::from_str(include_str!("vectors.json")).unwrap()
}

fn vector(algorithm: &str) -> String {
    vectors()["tokens"][algorithm].as_str().unwrap().to_owned()
}

fn secret() -> String {
    vectors()["secret"].as_str().unwrap().to_owned()
}

/// Tokens by all keys of the vectors, with these settings.
struct Bench {
    tokens: Tokens,
    dir: tempfile::TempDir,
}

impl Bench {
    fn new(change: impl FnOnce(&mut JwtSettings)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| -> Option<PathBuf> {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            Some(path)
        };
        let mut settings = JwtSettings {
            secret_file: file("secrets", &secret()),
            keys_file: file("keys", &vectors()["jwks"].to_string()),
            ..JwtSettings::default()
        };
        change(&mut settings);
        Self { tokens: Tokens::open(&settings).unwrap().unwrap(), dir }
    }

    fn plain() -> Self {
        Self::new(|_| {})
    }

    fn at(&self, token: impl AsRef<[u8]>, now_s: f64) -> Result<Grant, BadToken> {
        self.tokens.find(token.as_ref(), now_s)
    }

    #[track_caller]
    fn refuses(&self, token: impl AsRef<[u8]>, why: BadToken) {
        assert_eq!(self.at(token, NOW_S).unwrap_err(), why);
    }
}

fn coded(text: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

/// A token of these texts, signed by the secret with HS256, whatever its header says.
fn signed(header: &str, payload: &str) -> String {
    let text = format!("{}.{}", coded(header), coded(payload));
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret().as_bytes());
    let signature = hmac::sign(&key, text.as_bytes());
    format!("{text}.{}", coded(signature))
}

const HS256: &str = r#"{"alg":"HS256"}"#;

/// One with these claims beside a user and an end.
fn claiming(more: Value) -> String {
    let mut claims = json!({"sub": "ann", "exp": 2_000_000_000});
    claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    signed(HS256, &claims.to_string())
}

#[test]
fn a_token_of_each_algorithm_counts_by_its_own_key_and_by_no_other() {
    let bench = Bench::plain();
    let tokens = vectors()["tokens"].as_object().unwrap().clone();
    assert_eq!(tokens.len(), 12);
    for (algorithm, token) in tokens {
        let token = token.as_str().unwrap();
        let grant = bench.at(token, NOW_S).unwrap_or_else(|why| panic!("{algorithm}: {why}"));
        assert_eq!((grant.user(), grant.until_ms()), ("ann", Some(2_000_000_010_000)), "{algorithm}");
        // Any other signature, and any other text, is wrong.
        let (text, signature) = token.rsplit_once('.').unwrap();
        let mut bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
        for at in [0, bytes.len() / 2, bytes.len() - 1] {
            bytes[at] ^= 1;
            bench.refuses(format!("{text}.{}", coded(&bytes)), BadToken::Signature);
            bytes[at] ^= 1;
        }
        bench.refuses(format!("{text}."), BadToken::Signature);
        // CVE-2022-21449: nothing but zeros.
        bench.refuses(format!("{text}.{}", coded(vec![0; bytes.len()])), BadToken::Signature);
        bench.refuses(format!("{text}.{}", coded(&bytes[1..])), BadToken::Signature);
        let (header, _) = text.split_once('.').unwrap();
        let other = coded(r#"{"sub":"eve","exp":2000000000}"#);
        bench.refuses(format!("{header}.{other}.{signature}"), BadToken::Signature);
    }
}

#[test]
fn public_keys_come_as_pem_too() {
    let vectors = vectors();
    let pem = |name: &str| vectors["pem"][name].as_str().unwrap().to_owned();
    let all = ["rsa", "p256", "p384", "ed"].map(pem).concat();
    let keys = Keys::parse_public(&all).unwrap();
    assert_eq!(keys.len(), 4);
    for (algorithm, token) in vectors["tokens"].as_object().unwrap() {
        let token = Token::parse(token.as_str().unwrap().as_bytes()).unwrap();
        assert_eq!(keys.verify(&token).is_ok(), !algorithm.starts_with("HS"), "{algorithm}");
    }
    let short_secret = format!("-----BEGIN PRIVATE KEY-----\n{}-----END PRIVATE KEY-----\n", "AAAA\n");
    for (bad, why) in [
        (pem("small"), "public key 1 is none that is taken"),
        (all + &pem("k1"), "public key 5 is none that is taken"),
        (short_secret, "found another section"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n".into(), "public key 1 is none"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA".into(), "neither a JWKS nor PEM"),
        ("rubbish\n".into(), "no key that can be used"),
    ] {
        let error = Keys::parse_public(&bad).unwrap_err();
        assert!(error.contains(why), "{why}: {error}");
    }
}

/// RFC 8725, section 2.1: a key is never used with an algorithm of another kind, whatever the token says; `none` is no algorithm.
#[test]
fn the_kind_of_the_key_decides_about_the_algorithm() {
    let bench = Bench::plain();
    let payload = r#"{"sub":"eve","exp":2000000000}"#;
    for none in ["none", "None", "NONE", "nOnE", "", "hs256", "HS1", "ES512", "ES256K", "RSA1_5", "dir"] {
        let header = json!({ "alg": none }).to_string();
        bench.refuses(signed(&header, payload), BadToken::Algorithm);
        bench.refuses(format!("{}.{}.", coded(&header), coded(payload)), BadToken::Algorithm);
    }
    for header in [r#"{"alg":null}"#, r#"{"alg":["HS256"]}"#, "{}", r#"{"typ":"JWT"}"#] {
        bench.refuses(signed(header, payload), BadToken::Algorithm);
    }
    // Public keys, known to everybody, are no secrets.
    let vectors = vectors();
    for name in ["rsa", "p256", "p384", "ed"] {
        let pem = vectors["pem"][name].as_str().unwrap();
        for secret in [pem, pem.trim_end()] {
            let text =
                format!("{}.{}", coded(json!({"alg": "HS256", "kid": name}).to_string()), coded(payload));
            let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
            let token = format!("{text}.{}", coded(hmac::sign(&key, text.as_bytes())));
            assert!(bench.at(&token, NOW_S).is_err(), "{name}");
            assert!(
                Keys::parse_public(pem).unwrap().verify(&Token::parse(token.as_bytes()).unwrap()).is_err()
            );
        }
        assert!(Keys::parse_secrets(pem).unwrap_err().contains("auth.jwt.keys_file"));
    }
    // A key of the right kind that is for one algorithm alone.
    let mut set = vectors["jwks"].clone();
    set["keys"][0]["alg"] = "RS256".into();
    let keys = Keys::parse_public(&set.to_string()).unwrap();
    for (algorithm, counts) in
        [("RS256", Ok(())), ("RS384", Err(BadToken::UnknownKey)), ("PS256", Err(BadToken::UnknownKey))]
    {
        let token = vector(algorithm);
        assert_eq!(keys.verify(&Token::parse(token.as_bytes()).unwrap()).map(drop), counts, "{algorithm}");
    }
}

#[test]
fn what_is_no_token_is_refused() {
    let bench = Bench::plain();
    let good = signed(HS256, r#"{"sub":"ann","exp":2000000000}"#);
    assert!(bench.at(&good, NOW_S).is_ok());
    for end in 0..good.len() {
        assert!(bench.at(&good[..end], NOW_S).is_err(), "cut off at {end}");
    }
    for at in 0..good.len() {
        let mut bytes = good.clone().into_bytes();
        for other in [b'.', b'A', b'=', b' ', 0, 0xFF] {
            let before = std::mem::replace(&mut bytes[at], other);
            assert!(before == other || bench.at(&bytes, NOW_S).is_err(), "{at} {other}");
            bytes[at] = before;
        }
    }
    for bad in
        ["", ".", "..", "...", "a.b.c", &good.replace('.', ".."), &format!("{good}.x"), &format!("{good}=")]
    {
        assert!(bench.at(bad, NOW_S).is_err(), "{bad}");
    }
    for (header, payload) in [
        ("[]", "{}"),
        ("null", "{}"),
        (r#"{"alg":"HS256"} "x""#, "{}"),
        (r#"{"alg":"HS256","alg":"HS256"}"#, "{}"),
        (r#"{"alg":"none","alg":"HS256"}"#, "{}"),
        (HS256, "[]"),
        (HS256, "1"),
        (HS256, ""),
        (HS256, r#"{"sub":"ann","sub":"eve","exp":2000000000}"#),
        (HS256, r#"{"sub":"ann","exp":2000000000,"exp":3000000000}"#),
        (HS256, r#"{"sub":"ann","exp":2000000000,"x":{"y":1,"y":2}}"#),
    ] {
        let part = if header == HS256 { "payload" } else { "header" };
        bench.refuses(signed(header, payload), BadToken::Form(part));
    }
    bench.refuses(signed(r#"{"alg":"HS256","crit":["exp"],"exp":1}"#, "{}"), BadToken::Header("crit"));
    bench.refuses(signed(r#"{"alg":"HS256","b64":false}"#, "{}"), BadToken::Header("b64"));
    bench.refuses(signed(r#"{"alg":"HS256","kid":7}"#, "{}"), BadToken::Header("kid"));
    // Where keys are, and what they are, is not for a token to say.
    let jwk =
        json!({"alg": "ES256", "kid": "p521", "jwk": vectors()["jwks"]["keys"][1], "jku": "http://eve"});
    bench.refuses(signed(&jwk.to_string(), "{}"), BadToken::UnknownKey);
}

#[test]
fn a_token_is_bounded_before_it_is_read() {
    let bench = Bench::plain();
    let of = |len: usize| claiming(json!({ "x": "x".repeat(len) }));
    let empty = of(0).len();
    let fits = of((TOKEN_BYTES_MAX - empty) * 3 / 4 - 4);
    assert!(fits.len() <= TOKEN_BYTES_MAX && fits.len() + 16 > TOKEN_BYTES_MAX, "{}", fits.len());
    assert!(bench.at(&fits, NOW_S).is_ok());
    bench.refuses(of(TOKEN_BYTES_MAX), BadToken::TooLong);
    bench.refuses("a".repeat(65_535), BadToken::TooLong);
}

#[test]
fn a_key_that_is_named_has_to_be_there() {
    let bench = Bench::plain();
    let token = vector("ES256");
    let (header, rest) = token.split_once('.').unwrap();
    assert_eq!(URL_SAFE_NO_PAD.decode(header).unwrap(), br#"{"alg":"ES256","typ":"JWT","kid":"p256"}"#);
    for (kid, why) in
        [("p384", BadToken::UnknownKey), ("new", BadToken::UnknownKey), ("", BadToken::UnknownKey)]
    {
        let header = coded(json!({"alg": "ES256", "typ": "JWT", "kid": kid}).to_string());
        bench.refuses(format!("{header}.{rest}"), why);
    }
    // Without one all that fit are tried.
    bench.refuses(format!("{}.{rest}", coded(r#"{"alg":"ES256"}"#)), BadToken::Signature);
    // A secret has no name, and counts for any.
    assert!(bench.at(signed(r#"{"alg":"HS256","kid":"x"}"#, r#"{"sub":"a","exp":2e9}"#), NOW_S).is_ok());
}

#[test]
fn a_token_counts_from_nbf_until_exp_give_or_take_the_leeway() {
    let bench = Bench::plain();
    let token = claiming(json!({"nbf": 1_000, "exp": 2_000.5}));
    for (now_s, expected) in [
        (989.9, Some(BadToken::NotYet)),
        (990.1, None),
        (2_010.4, None),
        (2_010.5, Some(BadToken::Expired)),
        (1e12, Some(BadToken::Expired)),
    ] {
        assert_eq!(bench.at(&token, now_s).err(), expected, "{now_s}");
    }
    let strict = Bench::new(|settings| settings.leeway = std::time::Duration::ZERO);
    assert_eq!(strict.at(&token, 2_000.5).unwrap_err(), BadToken::Expired);
    assert_eq!(strict.at(&token, 999.0).unwrap_err(), BadToken::NotYet);
    // A time that is none is never taken for one that is not there (CVE-2026-25537).
    for bad in [json!("2000000000"), json!(null), json!(-1), json!([2_000_000_000]), json!(true), json!({})] {
        bench.refuses(claiming(json!({ "exp": bad })), BadToken::Claim("exp"));
        bench.refuses(claiming(json!({ "nbf": bad })), BadToken::Claim("nbf"));
    }
    let endless = signed(HS256, r#"{"sub":"ann"}"#);
    bench.refuses(&endless, BadToken::Claim("exp"));
    let lenient = Bench::new(|settings| settings.require_expiry = false);
    assert_eq!(lenient.at(&endless, NOW_S).unwrap().until_ms(), None);
    lenient.refuses(claiming(json!({"exp": "never"})), BadToken::Claim("exp"));
    lenient.refuses(claiming(json!({"exp": 5})), BadToken::Expired);
    // However far away, it is a time.
    assert!(
        bench.at(claiming(json!({"exp": 1e300})), NOW_S).unwrap().until_ms().unwrap() < 10_000_000_000_000
    );
}

#[test]
fn issuer_and_audience_are_held_against_the_settings() {
    let bench = Bench::new(|settings| {
        settings.issuer = Some("https://issuer.example".into());
        settings.audience = vec!["broker".into(), "mqtt".into()];
    });
    assert!(bench.at(vector("RS256"), NOW_S).is_ok());
    let of = |iss: Value, aud: Value| claiming(json!({"iss": iss, "aud": aud}));
    let (iss, aud) = (json!("https://issuer.example"), json!("mqtt"));
    assert!(bench.at(of(iss.clone(), aud.clone()), NOW_S).is_ok());
    for bad in [json!("https://issuer.example/"), json!(""), json!(null), json!(["https://issuer.example"])] {
        bench.refuses(of(bad, aud.clone()), BadToken::Issuer);
    }
    for bad in
        [json!("brokers"), json!([]), json!(null), json!([["mqtt"]]), json!({"mqtt": 1}), json!(["x", 1])]
    {
        bench.refuses(of(iss.clone(), bad), BadToken::Audience);
    }
    bench.refuses(claiming(json!({"aud": "mqtt"})), BadToken::Issuer);
    bench.refuses(claiming(json!({ "iss": iss })), BadToken::Audience);
}

#[test]
fn claims_say_who_it_is_and_what_it_may_do() {
    let bench = Bench::new(|settings| {
        settings.user_claim = "client.name".into();
        settings.client_id_claim = Some("device".into());
        settings.groups_claim = Some("realm.roles".into());
        settings.acl_claim = Some("acl".into());
    });
    let good = json!({
        "client": {"name": "jane doe"}, "device": "d-1", "realm": {"roles": ["a", "b"]}, "acl": {"publish": "x/#"},
    });
    let grant = bench.at(claiming(good.clone()), NOW_S).unwrap();
    assert_eq!(grant.user(), "jane doe");
    assert!(grant.is_for("d-1") && !grant.is_for("d-2") && !grant.is_for("") && grant.names_client());
    assert!(grant.is_of("b") && !grant.is_of("c") && !grant.is_of("jane doe"));
    assert!(grant.rules().is_some_and(|rules| *rules != super::super::acl::Granted::default()));
    let but = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        bench.at(claiming(claims), NOW_S)
    };
    // A name that is there as it is comes before the way to it.
    assert_eq!(but("client.name", json!("direct")).unwrap().user(), "direct");
    assert_eq!(but("realm", json!({})).map(|grant| grant.is_of("a")), Ok(false), "groups may be missing");
    assert!(but("realm", json!({"roles": "a"})).unwrap().is_of("a"));
    let none = but("acl", json!({})).unwrap();
    assert_eq!(none.rules(), Some(&super::super::acl::Granted::default()), "nothing, not everything");
    for (name, bad, key) in [
        ("client", json!("jane"), "user_claim"),
        ("client", json!({"name": ""}), "user_claim"),
        ("client", json!({"name": 7}), "user_claim"),
        ("client", json!({"name": "a\nb"}), "user_claim"),
        ("client", json!({"name": ["jane"]}), "user_claim"),
        ("device", json!(null), "client_id_claim"),
        ("device", json!(["d-1"]), "client_id_claim"),
        ("realm", json!({"roles": [1]}), "groups_claim"),
        ("realm", json!({"roles": {}}), "groups_claim"),
        ("realm", json!({"roles": vec!["g"; 257]}), "groups_claim"),
        ("acl", json!([]), "acl_claim"),
        ("acl", json!({"deny": "x"}), "acl_claim"),
    ] {
        assert_eq!(but(name, bad.clone()).unwrap_err(), BadToken::Claim(key), "{name} {bad}");
    }
}

/// No altered token counts, whatever of it is altered, and altered keys are read or refused.
#[test]
fn damaged_tokens_show_nothing() {
    let (bench, mut noise) = (Bench::plain(), Noise::new());
    let tokens = vectors()["tokens"].as_object().unwrap().clone();
    assert!(tokens.len() >= 12);
    for (algorithm, token) in &tokens {
        let token = token.as_str().unwrap();
        bench.at(token, NOW_S).unwrap();
        for _ in 0..100 {
            let damaged = noise.damaged(token);
            let found = bench.at(&damaged, NOW_S);
            assert!(damaged == token || found.is_err(), "{algorithm}: {damaged}");
        }
    }
    let keys = vectors()["jwks"].to_string();
    let refused = (0..400).filter_map(|_| Keys::parse_public(&noise.damaged(&keys)).err());
    let refused: Vec<String> = refused.collect();
    assert!(!refused.is_empty() && refused.iter().all(|why| !why.is_empty()));
}

/// Scopes are listed with blanks between; other claims with one text are one group (RFC 8693, section 4.2).
#[test]
fn each_scope_is_a_group() {
    let claims = json!({"sub": "ann", "scope": " mqtt:read  mqtt:write ", "role": "a b"});
    let of = |claim: &str| {
        let bench = Bench::new(|settings| settings.groups_claim = Some(claim.into()));
        bench.at(claiming(claims.clone()), NOW_S).unwrap()
    };
    let scopes = of("scope");
    assert!(scopes.is_of("mqtt:read") && scopes.is_of("mqtt:write") && !scopes.is_of(""));
    assert!(!scopes.is_of("mqtt:read  mqtt:write"));
    assert!(of("role").is_of("a b") && !of("role").is_of("a"));
    let bench = Bench::new(|settings| settings.groups_claim = Some("scope".into()));
    for bad in [json!("a\nb"), json!(7), json!("g ".repeat(257))] {
        bench.refuses(claiming(json!({"scope": bad})), BadToken::Claim("groups_claim"));
    }
}

#[test]
fn secrets_are_lines_of_enough_bytes() {
    let long = "0123456789abcdef0123456789abcdef";
    let coded = format!("base64:{}", base64::engine::general_purpose::STANDARD.encode(long));
    let keys = Keys::parse_secrets(&format!("\n{long}\n  {coded}  \n")).unwrap();
    assert_eq!(keys.len(), 2);
    let (one, other) = (Keys::parse_secrets(long).unwrap(), Keys::parse_secrets(&coded).unwrap());
    assert_eq!(one, other, "the same secret");
    for (bad, why) in [
        ("short", "line 1: the secret has fewer than 32 bytes"),
        ("base64:c2hvcnQ=", "fewer than 32 bytes"),
        ("base64:***", "no base64"),
        ("\n\n", "no key that can be used"),
        ("{\"keys\":[]}", "auth.jwt.keys_file"),
        (&format!("{long}\n").repeat(33), "more than 32 keys"),
    ] {
        let error = Keys::parse_secrets(bad).unwrap_err();
        assert!(error.contains(why) && !error.contains("short"), "{why}: {error}");
    }
    // One for HS256 is too short for the others (RFC 7518, section 3.2).
    for (hash, name, counts) in [
        (hmac::HMAC_SHA256, "HS256", true),
        (hmac::HMAC_SHA384, "HS384", false),
        (hmac::HMAC_SHA512, "HS512", false),
    ] {
        let text = format!("{}.e30", URL_SAFE_NO_PAD.encode(json!({ "alg": name }).to_string()));
        let signature = hmac::sign(&hmac::Key::new(hash, long.as_bytes()), text.as_bytes());
        let token = format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature));
        assert_eq!(one.verify(&Token::parse(token.as_bytes()).unwrap()).is_ok(), counts, "{name}");
    }
}

#[test]
fn one_bad_key_makes_a_set_unusable_and_foreign_ones_are_left_out() {
    let vectors = vectors();
    let set = |keys: Vec<Value>| Keys::parse_public(&json!({ "keys": keys }).to_string());
    let key = |place: usize| vectors["jwks"]["keys"][place].clone();
    let but = |place: usize, name: &str, value: Value| {
        let mut key = key(place);
        key[name] = value;
        key
    };
    assert_eq!(set((0..7).map(key).collect()).unwrap().len(), 4, "too small, and of other curves");
    for foreign in [
        json!({"kty": "post-quantum"}),
        but(0, "use", json!("enc")),
        but(0, "alg", json!("RSA-OAEP")),
        but(0, "key_ops", json!(["encrypt"])),
    ] {
        assert_eq!(set(vec![foreign.clone(), key(1)]).unwrap().len(), 1, "{foreign}");
        assert!(set(vec![foreign]).unwrap_err().contains("no key that can be used"));
    }
    for (bad, why) in [
        (but(0, "n", json!("***")), "\"n\" and \"e\""),
        (but(0, "e", json!(null)), "\"n\" and \"e\""),
        (but(1, "x", json!("AA")), "no point"),
        (but(2, "y", json!(null)), "no point"),
        (but(3, "x", json!("AA")), "no Ed25519 key"),
        (but(1, "alg", json!("RS256")), "not one of its \"kty\""),
        (but(0, "alg", json!("HS256")), "not one of its \"kty\""),
        (but(0, "d", json!("AA")), "a secret one"),
        (json!({"kty": "oct", "k": "AAAA"}), "a secret one"),
        (json!("rsa"), "no object"),
    ] {
        let error = set(vec![key(1), bad.clone()]).unwrap_err();
        assert!(error.starts_with("key 2 of \"keys\": ") && error.contains(why), "{bad}: {error}");
    }
    for bad in ["{}", r#"{"keys":{}}"#, r#"{"keys":[]}"#, r#"{"keys":[],"keys":[]}"#, "{"] {
        assert!(Keys::parse_public(bad).is_err(), "{bad}");
    }
    assert!(set(vec![key(1); 33]).unwrap_err().contains("more than 32"));
}

/// A key that is taken away takes its tokens with it.
#[test]
fn a_grant_is_known_as_long_as_its_key_is_there() {
    let bench = Bench::plain();
    let (by_secret, by_key) =
        (bench.at(vector("HS512"), NOW_S).unwrap(), bench.at(vector("EdDSA"), NOW_S).unwrap());
    assert!(bench.tokens.knows(&by_secret) && bench.tokens.knows(&by_key));
    std::fs::write(bench.dir.path().join("secrets"), "another secret that is long enough").unwrap();
    bench.tokens.secrets.as_ref().unwrap().reload().unwrap();
    assert!(!bench.tokens.knows(&by_secret) && bench.tokens.knows(&by_key));
    bench.refuses(vector("HS512"), BadToken::UnknownKey);
    std::fs::write(bench.dir.path().join("keys"), "cut off").unwrap();
    assert!(bench.tokens.keys.as_ref().unwrap().reload().is_err());
    assert!(bench.tokens.knows(&by_key) && bench.tokens.is_stale());
    let shown = format!("{:?} {by_key:?}", bench.tokens);
    assert!(!shown.contains("another secret") && shown.contains("KeyPrint"), "{shown}");
}

#[tokio::test]
async fn a_user_name_beside_a_token_is_that_of_the_token_or_empty() {
    let bench = Bench::plain();
    let token = claiming(json!({}));
    for (name, expected) in
        [(None, true), (Some(""), true), (Some("ann"), true), (Some("Ann"), false), (Some("eve"), false)]
    {
        let found = bench.tokens.check(token.as_bytes(), name).await.unwrap();
        assert_eq!(found.is_ok(), expected, "{name:?}");
    }
    assert!(bench.tokens.check(b"a password", Some("ann")).await.is_none());
    assert!(is_token_like(token.as_bytes()) && !is_token_like(b"a.b c.d") && !is_token_like(b"a.b"));
}
