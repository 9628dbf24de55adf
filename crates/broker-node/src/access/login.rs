//! Who a CONNECT is from: the name in its certificate, or whatever the first source says that knows its client, in the order of
//! `auth.order`. Called by `connection::authenticate`; may have to wait for a hash, for keys, or for the hook.

use std::sync::Arc;

use mqtt_codec::{Connect, Text};
use zeroize::Zeroizing;

use super::asker::Asked;
use super::certificate::{self, Names};
use super::file::Watched;
use super::hook::Said;
use super::introspection::Found;
use super::jwt::Grant;
use super::methods::Shown;
use super::queue::Busy;
use super::users::Login;
use super::{Access, Anonymous, Origin, Principal, Refusal};
use crate::config::AuthSource;

/// What a login took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Took {
    /// Hashes of passwords.
    pub(crate) hashes: u64,
    /// An answer of the hook.
    pub(crate) asked: Option<Asked>,
}

impl Access {
    /// Who a CONNECT is from, or why it is refused; and what that took.
    pub(crate) async fn log_in(
        &self,
        connect: &Connect,
        from: &Origin,
    ) -> (Result<Principal, Refusal>, Took) {
        let mut took = Took::default();
        let found = match self.stranger(from) {
            Ok(nobody) => self.identify(connect, (nobody, from), &mut took).await,
            Err(refusal) => Err(refusal),
        };
        (found.and_then(|who| self.unless_banned(who)), took)
    }

    /// Who a connection is from before anything is computed for it: whatever its certificate says.
    ///
    /// # Errors
    /// It is banned.
    pub(crate) fn stranger(&self, from: &Origin) -> Result<Principal, Refusal> {
        self.unless_banned(certified(from))
    }

    /// Who a client is that a method of enhanced authentication has shown to be somebody. The names in its certificate and in CONNECT
    /// have to be the same.
    ///
    /// # Errors
    /// One of them is another, or it is banned.
    pub(crate) fn shown(
        &self,
        shown: Shown,
        nobody: Principal,
        user_name: Option<&str>,
    ) -> Result<Principal, Refusal> {
        let named = user_name.filter(|name| !name.is_empty());
        let other = |name: &str| name != shown.user();
        if named.is_some_and(other) || nobody.user.as_deref().is_some_and(other) {
            return Err(Refusal::BadCredentials);
        }
        self.unless_banned(shown.of(nobody))
    }

    /// Who a client is that has authenticated again; `None` where that is another user, or may not be this client.
    pub(crate) fn shown_again(&self, shown: Shown, before: &Principal, client: &str) -> Option<Principal> {
        if before.user.as_deref() != Some(shown.user()) {
            return None;
        }
        let who = shown.of(before.clone());
        who.token.as_ref().is_none_or(|token| token.is_for(client)).then_some(who)
    }

    fn unless_banned(&self, who: Principal) -> Result<Principal, Refusal> {
        if self.has_banned(&who, None) { Err(Refusal::Banned) } else { Ok(who) }
    }

    async fn identify(
        &self,
        connect: &Connect,
        (nobody, from): (Principal, &Origin),
        took: &mut Took,
    ) -> Result<Principal, Refusal> {
        if nobody.user.is_some() {
            return Ok(nobody);
        }
        for source in &self.order {
            let found = match source {
                AuthSource::Jwt => self.by_token(connect, &nobody).await.map(Ok),
                AuthSource::Password => self.by_password(connect, &nobody, took).await,
                AuthSource::Introspection => Box::pin(self.by_introspection(connect, &nobody)).await,
                AuthSource::Http => Box::pin(self.by_hook(connect, (&nobody, from), took)).await,
            };
            if let Some(found) = found {
                return found;
            }
        }
        let (name, password) = (connect.user_name.is_some(), connect.password.is_some());
        let was_asked = self.users.is_some() && name
            || (self.tokens.is_some() || self.introspection.is_some()) && password
            || self.hook.is_some() && (name || password);
        // Where somebody could have known it, what is shown has to be right.
        if was_asked { Err(Refusal::BadCredentials) } else { self.let_in(nobody) }
    }

    /// By the token in the place of the password, if it counts.
    async fn by_token(&self, connect: &Connect, nobody: &Principal) -> Option<Principal> {
        let (tokens, password) = (self.tokens.as_ref()?, connect.password.as_ref()?);
        let user_name = connect.user_name.as_ref().map(Text::as_str);
        // Boxed: most clients show none, and none has to wait for keys but rarely.
        match Box::pin(tokens.check(password, user_name)).await? {
            Ok(grant) => Some(granted(Arc::new(grant), nobody)),
            Err(why) => {
                tracing::debug!(target: "quelea::access", client = %connect.client_id, %why, "a token does not count");
                None
            }
        }
    }

    /// By the token in the place of the password, if it counts where it was issued.
    async fn by_introspection(
        &self,
        connect: &Connect,
        nobody: &Principal,
    ) -> Option<Result<Principal, Refusal>> {
        let (issuer, password) = (self.introspection.as_ref()?, connect.password.as_ref()?);
        let user_name = connect.user_name.as_ref().map(Text::as_str);
        match issuer.check(password, user_name, nobody.address).await {
            Err(Busy) => Some(Err(Refusal::Busy)),
            Ok(Found::Counts(grant)) => Some(Ok(granted(grant, nobody))),
            Ok(Found::No) => None,
            Ok(Found::Unknown) => Some(Err(Refusal::Unavailable)),
        }
    }

    /// By name and password, if the file has the name, or nobody else is asked.
    async fn by_password(
        &self,
        connect: &Connect,
        nobody: &Principal,
        took: &mut Took,
    ) -> Option<Result<Principal, Refusal>> {
        let users = self.users.as_ref().map(Watched::current)?;
        let user = connect.user_name.as_ref().map(Text::as_str)?;
        // Without a password nothing is computed for anybody.
        let password = connect.password.as_ref()?;
        let known = Principal { user: Some(user.into()), has_password: true, ..nobody.clone() };
        let attempt = match users.login(user, password) {
            Login::Known => return Some(Ok(known)),
            Login::Compute(attempt) => attempt,
        };
        let secret = Zeroizing::new(password.to_vec());
        let verified = match self.hasher.verify(attempt.hash.clone(), secret, nobody.address).await {
            Err(Busy) => return Some(Err(Refusal::Busy)),
            Ok(verified) => verified,
        };
        took.hashes += 1;
        let is_user = attempt.is_users();
        match attempt.finish(verified) {
            true => Some(Ok(known)),
            false => is_user.then_some(Err(Refusal::BadCredentials)),
        }
    }

    /// By what the hook says, if it says something.
    async fn by_hook(
        &self,
        connect: &Connect,
        (nobody, from): (&Principal, &Origin),
        took: &mut Took,
    ) -> Option<Result<Principal, Refusal>> {
        let hook = self.hook.as_ref()?;
        if connect.user_name.is_none() && connect.password.is_none() {
            return None;
        }
        match hook.ask(connect, (nobody, from)).await {
            Err(Busy) => Some(Err(Refusal::Busy)),
            Ok((said, asked)) => {
                took.asked = Some(asked);
                match said {
                    _ if asked == Asked::Failed => Some(Err(Refusal::Unavailable)),
                    Said::Allow(grant) => Some(Ok(granted(grant, nobody))),
                    Said::Deny => Some(Err(Refusal::BadCredentials)),
                    Said::Ignore => None,
                }
            }
        }
    }

    fn let_in(&self, nobody: Principal) -> Result<Principal, Refusal> {
        let here = nobody.address.is_none_or(|address| address.to_canonical().is_loopback());
        match self.anonymous {
            Anonymous::Everywhere => Ok(nobody),
            Anonymous::OnThisMachine if here => Ok(nobody),
            Anonymous::OnThisMachine | Anonymous::Nowhere => Err(Refusal::Anonymous),
        }
    }
}

/// Who has shown a token, or is let in by the hook.
fn granted(grant: Arc<Grant>, nobody: &Principal) -> Principal {
    Principal { user: Some(grant.user().into()), token: Some(grant), ..nobody.clone() }
}

/// Who somebody is by its certificate alone.
fn certified(from: &Origin) -> Principal {
    let Some(der) = &from.certificate else { return Principal::at(from.peer) };
    let user_from = from.listener.tls.as_ref().and_then(|tls| tls.user_name_from);
    let Names { common_name, user } = certificate::names(der, user_from);
    Principal { user, common_name, ..Principal::at(from.peer) }
}
