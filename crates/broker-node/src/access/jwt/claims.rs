//! What a token has to claim, and what follows from that: who its client is, what it may do, and until when. Asked by `Tokens` once
//! the signature was found to be right; reads no clock.

use serde_json::Value;

use super::json::Object;
use super::keys::KeyPrint;
use super::token::BadToken;
use crate::access::acl::Granted;
use crate::config::JwtSettings;

/// Groups in a token at most.
const GROUPS_MAX: usize = 256;
/// An `exp` that is so far away is none that means something: 100 years.
const FAR_S: f64 = 3.2e9;

/// What a token has shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    /// Who shows it.
    user: Box<str>,
    until_ms: Option<u64>,
    /// The client identifier that it is for; `None` for any.
    client_id: Option<Box<str>>,
    groups: Box<[Box<str>]>,
    rules: Option<Granted>,
    /// What it is signed with; `None` for what is said by a server that was asked.
    pub(super) key: Option<KeyPrint>,
    /// Whether it was shown by a token.
    of_token: bool,
}

impl Grant {
    /// What the hook says of a login.
    pub(in crate::access) fn of_hook(
        user: Box<str>,
        until_s: Option<f64>,
        groups: Box<[Box<str>]>,
        rules: Option<Granted>,
    ) -> Self {
        Self { user, until_ms: until_s.map(ms), client_id: None, groups, rules, key: None, of_token: false }
    }

    /// Whether it was shown by a token.
    pub(crate) fn is_of_token(&self) -> bool {
        self.of_token
    }

    /// The name of who shows it.
    pub(crate) fn user(&self) -> &str {
        &self.user
    }

    /// Whether that may be the user name in CONNECT: many clients have to send one with a password, and send an empty one.
    pub(in crate::access) fn is_of_user(&self, named: Option<&str>) -> bool {
        named.is_none_or(|name| name.is_empty() || name == self.user())
    }

    /// When it is over, in milliseconds since 1970, the leeway with it; `None` for never.
    pub(crate) fn until_ms(&self) -> Option<u64> {
        self.until_ms
    }

    /// Whether it says that its user is of a group.
    pub(crate) fn is_of(&self, group: &str) -> bool {
        self.groups.iter().any(|own| **own == *group)
    }

    /// The rules that it brings along; `None` where tokens do not.
    pub(crate) fn rules(&self) -> Option<&Granted> {
        self.rules.as_ref()
    }

    /// Whether it is for one client identifier.
    pub(crate) fn names_client(&self) -> bool {
        self.client_id.is_some()
    }

    /// Whether a client identifier is one that it may have.
    pub(crate) fn is_for(&self, client: &str) -> bool {
        self.client_id.as_deref().is_none_or(|own| own == client)
    }
}

/// What a token grants at a time, in seconds since 1970, whose claims are known by this key, or by whom it was issued.
///
/// # Errors
/// It does not count then, or here.
pub(in crate::access) fn grant(
    settings: &JwtSettings,
    claims: &Object,
    key: Option<KeyPrint>,
    now_s: f64,
) -> Result<Grant, BadToken> {
    let until_s = lifetime(settings, claims, now_s)?;
    check_names(settings, claims)?;
    let client_id = match &settings.client_id_claim {
        None => None,
        Some(name) => Some(text(find(claims, name)).ok_or(BadToken::Claim("client_id_claim"))?),
    };
    let groups = match settings.groups_claim.as_ref().and_then(|name| find(claims, name)) {
        None => Box::default(),
        Some(groups) => groups_of(groups, settings).ok_or(BadToken::Claim("groups_claim"))?,
    };
    let rules = match &settings.acl_claim {
        None => None,
        Some(name) => Some(match find(claims, name) {
            // What was to say what it may do says nothing.
            None => Granted::default(),
            Some(rules) => Granted::parse(rules).ok_or(BadToken::Claim("acl_claim"))?,
        }),
    };
    let user = text(find(claims, &settings.user_claim)).ok_or(BadToken::Claim("user_claim"))?;
    Ok(Grant { user, until_ms: until_s.map(ms), client_id, groups, rules, key, of_token: true })
}

/// Seconds in milliseconds.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive and bounded")]
fn ms(seconds: f64) -> u64 {
    (seconds * 1e3) as u64
}

/// Until when it counts.
fn lifetime(settings: &JwtSettings, claims: &Object, now_s: f64) -> Result<Option<f64>, BadToken> {
    let leeway_s = settings.leeway.as_secs_f64();
    // What is there and no time is never taken for what is not there.
    let time = |name: &'static str| match claims.get(name) {
        None => Ok(None),
        Some(value) => {
            value.as_f64().filter(|at| at.is_finite() && *at >= 0.0).map(Some).ok_or(BadToken::Claim(name))
        }
    };
    let until_s = time("exp")?.map(|at| at + leeway_s);
    if until_s.is_none() && settings.require_expiry {
        return Err(BadToken::Claim("exp"));
    }
    if until_s.is_some_and(|until_s| until_s <= now_s) {
        return Err(BadToken::Expired);
    }
    if time("nbf")?.is_some_and(|from_s| from_s > now_s + leeway_s) {
        return Err(BadToken::NotYet);
    }
    Ok(until_s.map(|until_s| until_s.min(now_s + FAR_S)))
}

fn check_names(settings: &JwtSettings, claims: &Object) -> Result<(), BadToken> {
    let is = |name: &str, wanted: &str| claims.get(name).and_then(Value::as_str) == Some(wanted);
    if settings.wanted_issuer().is_some_and(|issuer| !is("iss", issuer)) {
        return Err(BadToken::Issuer);
    }
    let for_one = |wanted: &String| match claims.get("aud") {
        Some(Value::Array(all)) => all.iter().any(|one| one.as_str() == Some(wanted)),
        _ => is("aud", wanted),
    };
    if settings.audience.is_empty() || settings.audience.iter().any(for_one) {
        return Ok(());
    }
    Err(BadToken::Audience)
}

/// A claim by its name, or by the names on the way to it, with dots between: `realm_access.roles`.
fn find<'a>(claims: &'a Object, name: &str) -> Option<&'a Value> {
    if let Some(found) = claims.get(name) {
        return Some(found);
    }
    let (first, rest) = name.split_once('.')?;
    rest.split('.').try_fold(claims.get(first)?, |value, name| value.as_object()?.get(name))
}

/// Groups that are listed; of scopes (RFC 6749, section 3.3) each is one, with blanks between.
fn groups_of(groups: &Value, settings: &JwtSettings) -> Option<Box<[Box<str>]>> {
    match (groups.as_str(), settings.groups_claim.as_deref()) {
        (Some(scopes), Some("scope")) => {
            let all: Box<[Box<str>]> =
                scopes.split(' ').filter(|one| !one.is_empty()).map(Into::into).collect();
            let plain = !scopes.contains(char::is_control) && all.len() <= GROUPS_MAX;
            plain.then_some(all)
        }
        _ => list(groups, GROUPS_MAX),
    }
}

/// A name: some text without control characters.
pub(in crate::access) fn text(value: Option<&Value>) -> Option<Box<str>> {
    let text = value?.as_str()?;
    (!text.is_empty() && !text.contains(char::is_control)).then(|| text.into())
}

/// Names, or one.
pub(in crate::access) fn list(value: &Value, most: usize) -> Option<Box<[Box<str>]>> {
    match value {
        Value::Array(all) if all.len() <= most => all.iter().map(|one| text(Some(one))).collect(),
        Value::Array(_) => None,
        one => Some([text(Some(one))?].into()),
    }
}
