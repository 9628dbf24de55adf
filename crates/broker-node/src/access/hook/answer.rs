//! What the server of the hook says of a login. What is not understood as a whole is no answer: it might have been meant to forbid
//! something.

use std::sync::Arc;

use serde_json::Value;

use crate::access::acl::Granted;
use crate::access::jwt::{Grant, json, list, text};

/// Groups in an answer at most.
const GROUPS_MAX: usize = 256;
/// An end that is so far away is none that means something: 100 years.
const FAR_S: f64 = 3.2e9;
/// The names that an answer may have.
const NAMES: [&str; 5] = ["result", "user", "groups", "acl", "expire_at"];

/// What is said of a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::access) enum Said {
    /// It is let in, as this user.
    Allow(Arc<Grant>),
    /// It is not.
    Deny,
    /// Others decide.
    Ignore,
}

impl Said {
    /// Reads an answer about a login with this user name, at a time in seconds since 1970.
    ///
    /// # Errors
    /// It is none.
    pub(in crate::access) fn parse(answer: &[u8], named: Option<&str>, now_s: f64) -> Result<Self, String> {
        let said = json::object(answer).ok_or("it is no JSON in which each name is there once")?;
        if said.keys().any(|name| !NAMES.contains(&name.as_str())) {
            return Err(format!("it has a name that is none of {}", NAMES.join(", ")));
        }
        match said.get("result").and_then(Value::as_str) {
            Some("allow") => {}
            Some("deny") => return Ok(Self::Deny),
            Some("ignore") => return Ok(Self::Ignore),
            _ => return Err("its \"result\" is none of \"allow\", \"deny\" and \"ignore\"".into()),
        }
        let unusable = |name: &str| format!("its {name:?} cannot be used");
        let user = match said.get("user") {
            None | Some(Value::Null) => named.filter(|name| !name.is_empty()).map(Into::into),
            Some(user) => Some(text(Some(user)).ok_or_else(|| unusable("user"))?),
        };
        let user = user.ok_or("neither it nor the client names a user")?;
        let groups = match said.get("groups") {
            None | Some(Value::Null) => Box::default(),
            Some(groups) => list(groups, GROUPS_MAX).ok_or_else(|| unusable("groups"))?,
        };
        let rules = match said.get("acl") {
            None | Some(Value::Null) => None,
            Some(rules) => Some(Granted::parse(rules).ok_or_else(|| unusable("acl"))?),
        };
        let until_s = match said.get("expire_at") {
            None | Some(Value::Null) => None,
            Some(at) => Some(at.as_f64().filter(|at| *at > now_s).ok_or_else(|| unusable("expire_at"))?),
        };
        let until_s = until_s.map(|at| at.min(now_s + FAR_S));
        Ok(Self::Allow(Arc::new(Grant::of_hook(user, until_s, groups, rules))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_S: f64 = 1_000.0;

    fn parse(text: &str) -> Result<Said, String> {
        Said::parse(text.as_bytes(), Some("ann"), NOW_S)
    }

    fn grant(text: &str) -> Arc<Grant> {
        match parse(text) {
            Ok(Said::Allow(grant)) => grant,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn answers_let_in_refuse_or_say_nothing() {
        assert_eq!(parse(r#"{"result":"deny"}"#), Ok(Said::Deny));
        assert_eq!(parse(r#"{"result":"ignore"}"#), Ok(Said::Ignore));
        let plain = grant(r#"{"result":"allow"}"#);
        assert_eq!((plain.user(), plain.until_ms(), plain.rules()), ("ann", None, None));
        let all = grant(
            r#"{"result":"allow","user":"bob","groups":["a","b"],"acl":{"publish":"t"},"expire_at":1001.5}"#,
        );
        assert_eq!((all.user(), all.until_ms()), ("bob", Some(1_001_500)));
        assert!(all.is_of("a") && all.is_of("b") && !all.is_of("c") && all.rules().is_some());
        let null = grant(r#"{"result":"allow","user":null,"groups":null,"acl":null,"expire_at":null}"#);
        assert_eq!(null, plain);
        assert!(grant(r#"{"result":"allow","expire_at":1e300}"#).until_ms().is_some());
        let nobody = Said::parse(br#"{"result":"allow"}"#, None, NOW_S);
        assert_eq!(nobody, Err("neither it nor the client names a user".into()));
    }

    #[test]
    fn what_is_not_understood_is_no_answer() {
        for bad in [
            "",
            "allow",
            "[]",
            "{}",
            "null",
            r#"{"result":"ALLOW"}"#,
            r#"{"result":true}"#,
            r#"{"result":"allow"} "x""#,
            r#"{"result":"deny","result":"allow"}"#,
            r#"{"result":"allow","expires_at":1}"#,
            r#"{"result":"allow","is_superuser":false}"#,
            r#"{"result":"allow","user":""}"#,
            r#"{"result":"allow","user":7}"#,
            r#"{"result":"allow","user":"a\u0000"}"#,
            r#"{"result":"allow","groups":[1]}"#,
            r#"{"result":"allow","acl":[]}"#,
            r#"{"result":"allow","acl":{"deny":["a"]}}"#,
            r#"{"result":"allow","expire_at":"1001"}"#,
            r#"{"result":"allow","expire_at":1000}"#,
            r#"{"result":"allow","expire_at":-1}"#,
        ] {
            let error = parse(bad).unwrap_err();
            assert!(!error.is_empty(), "{bad}");
        }
    }
}
