//! Tokens in place of passwords (JWT, RFC 7519; checked as RFC 8725 advises): whether one counts, and what it grants. Asked by `Access`
//! for each CONNECT with one. Nothing of a token or a key is ever logged. Signatures are checked by ring: the libraries for tokens that
//! are maintained bring aws-lc, or an `rsa` crate with an advisory that has no fix (RUSTSEC-2023-0071).

mod claims;
pub(super) mod json;
mod keys;
mod remote;
#[cfg(test)]
mod tests;
mod token;

use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

pub(crate) use self::claims::Grant;
pub(super) use self::claims::{grant, list, text};
use self::keys::Keys;
use self::remote::Remote;
use self::token::Token;
pub(super) use self::token::{BadToken, TOKEN_BYTES_MAX};
use super::file::{BadFile, Watched, read_document};
use crate::config::JwtSettings;

/// The keys of tokens, and what is asked of tokens.
#[derive(Debug)]
pub(super) struct Tokens {
    settings: JwtSettings,
    /// Secrets.
    pub(super) secrets: Option<Watched<Keys>>,
    /// Public keys of a file.
    pub(super) keys: Option<Watched<Keys>>,
    /// Public keys that are fetched.
    pub(super) remote: Option<Remote>,
}

impl Tokens {
    /// Reads the files that are named; `None` where there are no tokens. Nothing is fetched yet.
    ///
    /// # Errors
    /// A file cannot be used.
    pub(super) fn open(settings: &JwtSettings) -> Result<Option<Self>, BadFile> {
        if !settings.is_configured() {
            return Ok(None);
        }
        let open = |path: Option<&Path>, parse| {
            path.map(|path| Watched::open_as(path, read_document, parse)).transpose()
        };
        Ok(Some(Self {
            secrets: open(settings.secret_file.as_deref(), Keys::parse_secrets)?,
            keys: open(settings.keys_file.as_deref(), Keys::parse_public)?,
            remote: Remote::open(settings)?,
            settings: settings.clone(),
        }))
    }

    /// Who shows this password as a token; `None` where it has not the form of one. May have to wait for keys to be fetched.
    ///
    /// # Errors
    /// It does not count.
    pub(super) async fn check(
        &self,
        password: &[u8],
        user_name: Option<&str>,
    ) -> Option<Result<Grant, BadToken>> {
        if !token::is_token_like(password) {
            return None;
        }
        let mut found = self.find(password, now_s());
        if let (Err(BadToken::UnknownKey), Some(remote)) = (&found, &self.remote) {
            remote.look_again().await;
            found = self.find(password, now_s());
        }
        Some(
            found.and_then(
                |grant| if grant.is_of_user(user_name) { Ok(grant) } else { Err(BadToken::OtherUser) },
            ),
        )
    }

    fn find(&self, text: &[u8], now_s: f64) -> Result<Grant, BadToken> {
        let token = Token::parse(text)?;
        let mut none = BadToken::UnknownKey;
        for (keys, is_fetched) in self.current() {
            match keys.verify(&token) {
                Ok(key) => return claims::grant(&self.settings, &token.claims()?, Some(key), now_s),
                // Where the key is not there, it may be soon.
                Err(why) if is_fetched || why == BadToken::Signature => none = why,
                Err(_) => {}
            }
        }
        Err(none)
    }

    /// Whether a token that counted still would, but for its times.
    pub(super) fn knows(&self, grant: &Grant) -> bool {
        grant.key.is_none_or(|key| self.current().any(|(keys, _)| keys.have(key)))
    }

    /// The keys in force, and whether they were fetched; those come last.
    fn current(&self) -> impl Iterator<Item = (Arc<Keys>, bool)> {
        let files = [&self.secrets, &self.keys].into_iter().flatten();
        let files = files.map(|keys| (keys.current(), false));
        files.chain(self.remote.as_ref().map(|keys| (keys.current(), true)))
    }

    /// Whether some of the keys cannot be read now.
    pub(super) fn is_stale(&self) -> bool {
        let mut files = [&self.secrets, &self.keys].into_iter().flatten();
        files.any(Watched::is_stale) || self.remote.as_ref().is_some_and(Remote::is_stale)
    }
}

/// The time of the wall clock, in seconds since 1970.
pub(super) fn now_s() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
