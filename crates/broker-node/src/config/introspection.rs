//! `[auth.introspection]`: tokens that whoever issued them is asked about (RFC 7662). Read by `access::introspection`, which opens the
//! files. What is a secret is never printed.

use super::{
    ConfigError, JwtSettings, SecretText,
    check::{DAY, duration_range, range},
    hook::TIMEOUTS,
    jwt::{self, safe_scheme_of},
    units::duration,
};
use serde::{Deserialize, Serialize};
use std::{path::PathBuf, time::Duration};

/// What the URL may be.
const URL_EXPECTED: &str = "a URL such as \"https://issuer.example.org/introspect\", https (http on this machine alone), without a user \
     name in it: it is shown tokens, and a secret";
/// The secret, as errors show it.
const HIDDEN: &str = "(hidden)";

/// `[auth.introspection]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct IntrospectionSettings {
    /// Where tokens are asked about. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) url: Option<String>,
    /// The authorities of the server there. Default: those that the system trusts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ca: Option<PathBuf>,
    /// Who the broker is there. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_id: Option<String>,
    /// By which secret; from the environment, or from a file by `client_secret_file`. Default none.
    pub(crate) client_secret: SecretText,
    /// The file with it; read again when it changes. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_secret_file: Option<PathBuf>,
    /// How long a login waits for an answer, all in all. Default `5s`.
    #[serde(with = "duration")]
    pub(crate) timeout: Duration,
    /// Requests at once. Default 64.
    pub(crate) requests_max: u16,
    /// How long it is remembered that a token counts, but not past its `exp`. Default `1m`.
    #[serde(with = "duration")]
    pub(crate) cache_active: Duration,
    /// How long it is remembered that one does not. Default `5s`.
    #[serde(with = "duration")]
    pub(crate) cache_inactive: Duration,
    /// What `iss` has to be. Default: anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) issuer: Option<String>,
    /// What `aud` has to be, or have one of. Default: anything.
    pub(crate) audience: Vec<String>,
    /// How far the issuer's clock may be from the node's, for `exp` and `nbf`. Default `10s`.
    #[serde(with = "duration")]
    pub(crate) leeway: Duration,
    /// Whether an answer has to have `exp`. Default true.
    pub(crate) require_expiry: bool,
    /// What of the answer is the user's name. Default `username`.
    pub(crate) user_claim: String,
    /// What of it the client identifier has to be. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_id_claim: Option<String>,
    /// What of it are groups, for rules. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) groups_claim: Option<String>,
    /// What of it are rules. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) acl_claim: Option<String>,
}

impl Default for IntrospectionSettings {
    fn default() -> Self {
        let jwt = JwtSettings::default();
        Self {
            url: None,
            ca: None,
            client_id: None,
            client_secret: SecretText::default(),
            client_secret_file: None,
            timeout: Duration::from_secs(5),
            requests_max: 64,
            cache_active: Duration::from_mins(1),
            cache_inactive: Duration::from_secs(5),
            issuer: None,
            audience: Vec::new(),
            leeway: jwt.leeway,
            require_expiry: jwt.require_expiry,
            user_claim: "username".into(),
            client_id_claim: None,
            groups_claim: None,
            acl_claim: None,
        }
    }
}

impl IntrospectionSettings {
    /// What is asked of an answer, as it is of a token that says it itself.
    pub(crate) fn claims(&self) -> JwtSettings {
        JwtSettings {
            issuer: self.issuer.clone(),
            audience: self.audience.clone(),
            leeway: self.leeway,
            require_expiry: self.require_expiry,
            user_claim: self.user_claim.clone(),
            client_id_claim: self.client_id_claim.clone(),
            groups_claim: self.groups_claim.clone(),
            acl_claim: self.acl_claim.clone(),
            ..JwtSettings::default()
        }
    }

    /// One in which every optional key has a value.
    pub(super) fn sample() -> Self {
        let (file, text) = (Some(PathBuf::new()), Some(String::new()));
        Self {
            url: text.clone(),
            ca: file.clone(),
            client_id: text.clone(),
            client_secret_file: file,
            issuer: text.clone(),
            client_id_claim: text.clone(),
            groups_claim: text.clone(),
            acl_claim: text,
            ..Self::default()
        }
    }
}

/// Refuses what does not go together.
pub(super) fn check(settings: &IntrospectionSettings) -> Result<(), ConfigError> {
    let Some(url) = &settings.url else { return check_unused(settings) };
    let scheme = safe_scheme_of("auth.introspection.url", url, URL_EXPECTED)?;
    if let Some(path) = settings.ca.as_ref().filter(|_| scheme != "https") {
        let expected = "nothing, as auth.introspection.url is not https";
        return Err(ConfigError::value("auth.introspection.ca", &format!("{path:?}"), expected));
    }
    if settings.client_id.as_ref().is_none_or(String::is_empty) {
        let value = settings.client_id.as_ref().map_or("none", |_| "\"\"");
        return Err(ConfigError::value("auth.introspection.client_id", value, "who the broker is there"));
    }
    match (settings.client_secret.is_empty(), &settings.client_secret_file) {
        (true, Some(_)) | (false, None) => {}
        (false, Some(_)) => {
            let expected = "nothing, as auth.introspection.client_secret is set";
            return Err(ConfigError::value("auth.introspection.client_secret_file", HIDDEN, expected));
        }
        (true, None) => {
            let expected = "the secret of the broker there, from the environment \
                 (QUELEA__AUTH__INTROSPECTION__CLIENT_SECRET), or auth.introspection.client_secret_file";
            return Err(ConfigError::value("auth.introspection.client_secret", "none", expected));
        }
    }
    duration_range("auth.introspection.timeout", settings.timeout, TIMEOUTS)?;
    range("auth.introspection.requests_max", settings.requests_max, 1..=1024)?;
    duration_range("auth.introspection.cache_active", settings.cache_active, Duration::ZERO..=DAY)?;
    duration_range("auth.introspection.cache_inactive", settings.cache_inactive, Duration::ZERO..=DAY)?;
    jwt::check_claims("auth.introspection", &settings.claims())
}

/// Refuses what is set where nobody is asked.
fn check_unused(settings: &IntrospectionSettings) -> Result<(), ConfigError> {
    let default = IntrospectionSettings::default();
    let keys = [
        ("ca", settings.ca.is_some()),
        ("client_id", settings.client_id.is_some()),
        ("client_secret", !settings.client_secret.is_empty()),
        ("client_secret_file", settings.client_secret_file.is_some()),
        ("timeout", settings.timeout != default.timeout),
        ("requests_max", settings.requests_max != default.requests_max),
        ("cache_active", settings.cache_active != default.cache_active),
        ("cache_inactive", settings.cache_inactive != default.cache_inactive),
        ("issuer", settings.issuer.is_some()),
        ("audience", !settings.audience.is_empty()),
        ("leeway", settings.leeway != default.leeway),
        ("require_expiry", settings.require_expiry != default.require_expiry),
        ("user_claim", settings.user_claim != default.user_claim),
        ("client_id_claim", settings.client_id_claim.is_some()),
        ("groups_claim", settings.groups_claim.is_some()),
        ("acl_claim", settings.acl_claim.is_some()),
    ];
    match keys.into_iter().find(|(_, is_set)| *is_set) {
        Some((key, _)) => {
            let key = format!("auth.introspection.{key}");
            Err(ConfigError::value(key, "of its own", "nothing without auth.introspection.url"))
        }
        None => Ok(()),
    }
}
