//! `[auth.http]`: a server of the operator's that is asked about logins. Read by `access::hook`, which opens the files.
//! Holds the names of files, never what is in them.

use super::{
    ConfigError,
    check::{DAY, duration_range, range},
    jwt::scheme_of,
    units::duration,
};
use serde::{Deserialize, Serialize};
use std::{path::PathBuf, time::Duration};

/// How long a login may wait for it.
pub(super) const TIMEOUTS: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_mins(1);
/// What the URL may be.
const URL_EXPECTED: &str =
    "a URL such as \"https://auth.example.org/mqtt\", http or https, without a user name in it";

/// `[auth.http]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct HookSettings {
    /// Where logins are asked about. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) url: Option<String>,
    /// The authorities of the server there. Default: those that the system trusts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ca: Option<PathBuf>,
    /// The file with headers that go with each request, such as one with a secret; read again when it changes. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) headers_file: Option<PathBuf>,
    /// How long a login waits for an answer, all in all. Default `5s`.
    #[serde(with = "duration")]
    pub(crate) timeout: Duration,
    /// Requests at once. Default 64.
    pub(crate) requests_max: u16,
    /// How long it is remembered that a login is allowed. Default `1m`.
    #[serde(with = "duration")]
    pub(crate) cache_allowed: Duration,
    /// How long it is remembered that one is not, or is not known. Default `5s`.
    #[serde(with = "duration")]
    pub(crate) cache_denied: Duration,
}

impl Default for HookSettings {
    fn default() -> Self {
        Self {
            url: None,
            ca: None,
            headers_file: None,
            timeout: Duration::from_secs(5),
            requests_max: 64,
            cache_allowed: Duration::from_mins(1),
            cache_denied: Duration::from_secs(5),
        }
    }
}

impl HookSettings {
    /// One in which every optional key has a value.
    pub(super) fn sample() -> Self {
        let file = Some(PathBuf::new());
        Self { url: Some(String::new()), ca: file.clone(), headers_file: file, ..Self::default() }
    }
}

/// Refuses what does not go together.
pub(super) fn check(hook: &HookSettings) -> Result<(), ConfigError> {
    let Some(url) = &hook.url else { return check_unused(hook) };
    let scheme = scheme_of("auth.http.url", url, URL_EXPECTED)?;
    if let Some(path) = hook.ca.as_ref().filter(|_| scheme != "https") {
        let expected = "nothing, as auth.http.url is not https";
        return Err(ConfigError::value("auth.http.ca", &format!("{path:?}"), expected));
    }
    duration_range("auth.http.timeout", hook.timeout, TIMEOUTS)?;
    range("auth.http.requests_max", hook.requests_max, 1..=1024)?;
    duration_range("auth.http.cache_allowed", hook.cache_allowed, Duration::ZERO..=DAY)?;
    duration_range("auth.http.cache_denied", hook.cache_denied, Duration::ZERO..=DAY)
}

/// Refuses what is set where nobody is asked.
fn check_unused(hook: &HookSettings) -> Result<(), ConfigError> {
    let default = HookSettings::default();
    let keys = [
        ("auth.http.ca", hook.ca.is_some()),
        ("auth.http.headers_file", hook.headers_file.is_some()),
        ("auth.http.timeout", hook.timeout != default.timeout),
        ("auth.http.requests_max", hook.requests_max != default.requests_max),
        ("auth.http.cache_allowed", hook.cache_allowed != default.cache_allowed),
        ("auth.http.cache_denied", hook.cache_denied != default.cache_denied),
    ];
    match keys.into_iter().find(|(_, is_set)| *is_set) {
        Some((key, _)) => Err(ConfigError::value(key, "of its own", "nothing without auth.http.url")),
        None => Ok(()),
    }
}
