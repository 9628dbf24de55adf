//! `[auth.jwt]`: clients that show a token in place of a password (JWT, RFC 7519). Read by `access::jwt`, which opens the files
//! and fetches the keys. Holds the names of files, never what is in them.

use super::{
    ConfigError,
    check::{DAY, SECOND, duration_range},
    units::duration,
};
use http::Uri;
use serde::{Deserialize, Serialize};
use std::{path::PathBuf, time::Duration};

/// The most that clocks may differ.
const LEEWAY_MAX: Duration = Duration::from_mins(5);
/// What a URL may be.
const URL_EXPECTED: &str =
    "a URL such as \"https://issuer.example.org/jwks.json\", http or https, without a user name in it";
/// What the URL of an issuer may be.
const ISSUER_EXPECTED: &str = "the URL of an issuer such as \"https://issuer.example.org/realms/devices\", https (http on this \
     machine alone), without a user name, \"?\" and \"#\" in it";

/// `[auth.jwt]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct JwtSettings {
    /// The file with secrets for HS256, HS384 and HS512, a line each; read again when it changes. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) secret_file: Option<PathBuf>,
    /// The file with public keys, a JWKS or PEM; read again when it changes. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) keys_file: Option<PathBuf>,
    /// Where a JWKS is fetched from. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) jwks_url: Option<String>,
    /// The issuer, which says itself where its JWKS is (OpenID Connect Discovery 1.0); also what `iss` has to be then. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) issuer_url: Option<String>,
    /// The authorities of the server there. Default: those that the system trusts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) jwks_ca: Option<PathBuf>,
    /// How often it is fetched. Default `10m`.
    #[serde(with = "duration")]
    pub(crate) jwks_refresh: Duration,
    /// What `iss` has to be. Default: anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) issuer: Option<String>,
    /// What `aud` has to be, or have one of. Default: anything.
    pub(crate) audience: Vec<String>,
    /// How far the issuer's clock may be from the node's, for `exp` and `nbf`. Default `10s`.
    #[serde(with = "duration")]
    pub(crate) leeway: Duration,
    /// Whether a token has to have `exp`. Default true.
    pub(crate) require_expiry: bool,
    /// The claim with the user's name. Default `sub`.
    pub(crate) user_claim: String,
    /// The claim that the client identifier has to be. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_id_claim: Option<String>,
    /// The claim with groups, for rules. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) groups_claim: Option<String>,
    /// The claim with rules. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) acl_claim: Option<String>,
}

impl Default for JwtSettings {
    fn default() -> Self {
        Self {
            secret_file: None,
            keys_file: None,
            jwks_url: None,
            issuer_url: None,
            jwks_ca: None,
            jwks_refresh: Duration::from_mins(10),
            issuer: None,
            audience: Vec::new(),
            leeway: Duration::from_secs(10),
            require_expiry: true,
            user_claim: "sub".into(),
            client_id_claim: None,
            groups_claim: None,
            acl_claim: None,
        }
    }
}

impl JwtSettings {
    /// Whether there are keys, and so tokens.
    pub(crate) fn is_configured(&self) -> bool {
        self.secret_file.is_some()
            || self.keys_file.is_some()
            || self.jwks_url.is_some()
            || self.issuer_url.is_some()
    }

    /// What `iss` has to be, where that is asked.
    pub(crate) fn wanted_issuer(&self) -> Option<&str> {
        self.issuer_url.as_deref().or(self.issuer.as_deref())
    }

    /// One in which every optional key has a value.
    pub(super) fn sample() -> Self {
        let (file, text) = (Some(PathBuf::new()), Some(String::new()));
        Self {
            secret_file: file.clone(),
            keys_file: file.clone(),
            jwks_url: text.clone(),
            issuer_url: text.clone(),
            jwks_ca: file,
            issuer: text.clone(),
            client_id_claim: text.clone(),
            groups_claim: text.clone(),
            acl_claim: text,
            ..Self::default()
        }
    }
}

/// Refuses what does not go together.
pub(super) fn check(jwt: &JwtSettings) -> Result<(), ConfigError> {
    if !jwt.is_configured() {
        return check_unused(jwt);
    }
    let scheme = fetched_by(jwt)?;
    if let Some(path) = jwt.jwks_ca.as_ref().filter(|_| scheme.as_deref() != Some("https")) {
        let expected = "nothing, as what is fetched (auth.jwt.jwks_url, auth.jwt.issuer_url) is not https";
        return Err(ConfigError::value("auth.jwt.jwks_ca", &format!("{path:?}"), expected));
    }
    duration_range("auth.jwt.jwks_refresh", jwt.jwks_refresh, SECOND..=DAY)?;
    check_claims("auth.jwt", jwt)
}

/// How keys are fetched, where they are.
fn fetched_by(jwt: &JwtSettings) -> Result<Option<String>, ConfigError> {
    let Some(url) = &jwt.issuer_url else {
        let scheme_of = |url: &String| scheme_of("auth.jwt.jwks_url", url, URL_EXPECTED);
        return jwt.jwks_url.as_ref().map(scheme_of).transpose();
    };
    let others = [("auth.jwt.jwks_url", &jwt.jwks_url), ("auth.jwt.issuer", &jwt.issuer)];
    for (key, other) in others {
        if let Some(other) = other {
            let expected = "nothing, as auth.jwt.issuer_url is set and says it";
            return Err(ConfigError::value(key, &format!("{other:?}"), expected));
        }
    }
    if url.contains(['?', '#']) {
        return Err(ConfigError::value("auth.jwt.issuer_url", &format!("{url:?}"), ISSUER_EXPECTED));
    }
    safe_scheme_of("auth.jwt.issuer_url", url, ISSUER_EXPECTED).map(Some)
}

/// Refuses what cannot be asked of claims, under a section's name.
pub(super) fn check_claims(section: &str, jwt: &JwtSettings) -> Result<(), ConfigError> {
    duration_range(&format!("{section}.leeway"), jwt.leeway, Duration::ZERO..=LEEWAY_MAX)?;
    if jwt.audience.iter().any(String::is_empty) {
        return Err(ConfigError::value(format!("{section}.audience"), "\"\"", "names of audiences"));
    }
    let texts = [
        ("issuer", jwt.issuer.as_ref()),
        ("user_claim", Some(&jwt.user_claim)),
        ("client_id_claim", jwt.client_id_claim.as_ref()),
        ("groups_claim", jwt.groups_claim.as_ref()),
        ("acl_claim", jwt.acl_claim.as_ref()),
    ];
    match texts.into_iter().find(|(_, text)| text.is_some_and(String::is_empty)) {
        Some((key, _)) => {
            let is_name = key.ends_with("claim");
            let expected = if is_name { "the name of a claim" } else { "what the claim has to be" };
            Err(ConfigError::value(format!("{section}.{key}"), "\"\"", expected))
        }
        None => Ok(()),
    }
}

/// Refuses what is set for tokens where there are no keys for any.
fn check_unused(jwt: &JwtSettings) -> Result<(), ConfigError> {
    let default = JwtSettings::default();
    let keys = [
        ("auth.jwt.jwks_ca", jwt.jwks_ca.is_some()),
        ("auth.jwt.jwks_refresh", jwt.jwks_refresh != default.jwks_refresh),
        ("auth.jwt.issuer", jwt.issuer.is_some()),
        ("auth.jwt.audience", !jwt.audience.is_empty()),
        ("auth.jwt.leeway", jwt.leeway != default.leeway),
        ("auth.jwt.require_expiry", jwt.require_expiry != default.require_expiry),
        ("auth.jwt.user_claim", jwt.user_claim != default.user_claim),
        ("auth.jwt.client_id_claim", jwt.client_id_claim.is_some()),
        ("auth.jwt.groups_claim", jwt.groups_claim.is_some()),
        ("auth.jwt.acl_claim", jwt.acl_claim.is_some()),
    ];
    let expected = "nothing without keys: auth.jwt.secret_file, auth.jwt.keys_file, auth.jwt.jwks_url or \
         auth.jwt.issuer_url";
    match keys.into_iter().find(|(_, is_set)| *is_set) {
        Some((key, _)) => Err(ConfigError::value(key, "of its own", expected)),
        None => Ok(()),
    }
}

/// Whether a URL is of http or https; what else is none that can be asked.
pub(super) fn scheme_of(key: &str, url: &str, expected: &str) -> Result<String, ConfigError> {
    let bad = || ConfigError::value(key, &format!("{url:?}"), expected);
    let uri: Uri = url.parse().map_err(|_| bad())?;
    let named = uri
        .authority()
        .is_some_and(|authority| !authority.host().is_empty() && !authority.as_str().contains('@'));
    let scheme = uri.scheme_str().filter(|scheme| named && ["http", "https"].contains(scheme));
    scheme.map(str::to_owned).ok_or_else(bad)
}

/// The same of what has to be safe on the way: https, or http on this machine.
pub(super) fn safe_scheme_of(key: &str, url: &str, expected: &str) -> Result<String, ConfigError> {
    let scheme = scheme_of(key, url, expected)?;
    let host = url.parse::<Uri>().ok().and_then(|uri| uri.host().map(str::to_owned));
    if scheme == "https" || host.is_some_and(|host| is_this_machine(&host)) {
        return Ok(scheme);
    }
    Err(ConfigError::value(key, &format!("{url:?}"), expected))
}

/// Whether the host of a URL is this machine, whatever names are looked up.
pub(crate) fn is_this_machine(host: &str) -> bool {
    ["localhost", "127.0.0.1", "[::1]"].contains(&host)
}
