//! Who may connect, and what they may do: the authentication of CONNECT and the rules for publishing and subscribing.
//! Made at start from the configuration; connections ask it. What it reads from files may change while the node runs;
//! whether there is authentication and are rules does not.

mod acl;
mod asker;
mod bans;
mod cache;
mod certificate;
mod file;
mod hash;
mod hasher;
mod hook;
mod http;
mod introspection;
mod jwt;
mod login;
mod methods;
#[cfg(test)]
mod noise;
mod passwd;
mod queue;
mod scram;
mod stored;
mod users;
mod watch;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mqtt_codec::ReasonCode;
use rustls::pki_types::CertificateDer;
use tokio::time::Instant;

pub(crate) use self::acl::Rights;
use self::acl::{Clause, Rules};
pub(crate) use self::asker::Asked;
use self::bans::{Bans, Suspect};
pub(crate) use self::file::{BadFile, Watched, read_text};
use self::hasher::Hasher;
use self::hook::Hook;
pub(crate) use self::introspection::Introspected;
use self::introspection::Introspection;
use self::jwt::{Grant, Tokens};
pub(crate) use self::methods::{Shown, methods};
pub(crate) use self::passwd::{PasswdArgs, rewrite, run as passwd};
pub(crate) use self::queue::network_of;
pub(crate) use self::stored::Stored;
use self::users::Users;
pub(crate) use self::watch::{watch, watch_file};
use crate::config::{AuthSource, ClientIdPolicy, ListenerSettings, Settings};
use crate::listener::Peer;

/// What separates a user's name from the rest of a client identifier that is bound to it.
const BOUND_BY: char = ':';

/// Where a connection comes from.
pub(crate) struct Origin {
    /// Who is at the other end.
    pub(crate) peer: Peer,
    /// The certificate that it has shown.
    pub(crate) certificate: Option<CertificateDer<'static>>,
    /// Where it came in.
    pub(crate) listener: Arc<ListenerSettings>,
}

/// Who is at the other end of a connection, as far as it has been shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Principal {
    /// The name that it has shown to be its own; a name that nobody checked is none.
    pub(crate) user: Option<Box<str>>,
    /// The common name of its certificate.
    pub(crate) common_name: Option<Box<str>>,
    /// Its name is in the password file, and not in its certificate.
    has_password: bool,
    /// Its name is in this token, or in what the hook said.
    token: Option<Arc<Grant>>,
    /// Where it comes from; `None` on this machine's unix sockets.
    pub(crate) address: Option<IpAddr>,
}

impl Principal {
    /// Somebody of whom only the address is known.
    pub(crate) fn at(peer: Peer) -> Self {
        let address = match peer {
            Peer::Ip(address) => Some(address.ip()),
            Peer::Unix => None,
        };
        Self { address, ..Self::default() }
    }

    /// Whether it has shown a token.
    pub(crate) fn has_token(&self) -> bool {
        self.token.as_ref().is_some_and(|token| token.is_of_token())
    }

    /// Whether it has shown by itself which client identifier is its own.
    pub(crate) fn names_client(&self) -> bool {
        self.token.as_ref().is_some_and(|token| token.names_client())
    }
}

/// Why a CONNECT is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The user name is unknown or the password is not its own: which of them is told to nobody.
    BadCredentials,
    /// It has shown no name, and has to.
    Anonymous,
    /// Too many others log in.
    Busy,
    /// Nobody could say whether it is who it says.
    Unavailable,
    /// It is banned, as its address or its user is.
    Banned,
}

impl Refusal {
    /// What the client is told.
    pub(crate) fn reason(self) -> ReasonCode {
        match self {
            Self::BadCredentials => ReasonCode::BadUserNameOrPassword,
            Self::Anonymous => ReasonCode::NotAuthorized,
            Self::Busy => ReasonCode::ServerBusy,
            Self::Unavailable => ReasonCode::ServerUnavailable,
            Self::Banned => ReasonCode::Banned,
        }
    }
}

/// Where clients need show no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Anonymous {
    Everywhere,
    OnThisMachine,
    Nowhere,
}

/// What connections ask before they let somebody in or something through.
#[derive(Debug)]
pub(crate) struct Access {
    anonymous: Anonymous,
    client_ids: ClientIdPolicy,
    users: Option<Watched<Users>>,
    tokens: Option<Tokens>,
    introspection: Option<Introspection>,
    hook: Option<Hook>,
    /// In which order they are asked.
    order: Vec<AuthSource>,
    rules: Option<Watched<Rules>>,
    bans: Option<Watched<Bans>>,
    stored: Arc<Stored>,
    hasher: Hasher,
    /// Grows with each change of what is in files, or comes from a server, after it.
    version: AtomicU64,
}

impl Access {
    /// Reads what the configuration names.
    ///
    /// # Errors
    /// A file cannot be used.
    pub(crate) fn open(settings: &Settings) -> Result<Self, BadFile> {
        let (auth, acl) = (&settings.auth, &settings.acl);
        let by_certificate = settings.listener.values().any(ListenerSettings::names_clients);
        let anonymous = match (auth.allow_anonymous, auth.is_configured() || by_certificate) {
            (true, _) => Anonymous::Everywhere,
            (false, false) => Anonymous::OnThisMachine,
            (false, true) => Anonymous::Nowhere,
        };
        let parse_users = |text: &str| Users::parse(text).map_err(|error| error.to_string());
        let users = auth.password.file.as_deref().map(|path| Watched::open(path, parse_users));
        let rules = match (&acl.file, &acl.mosquitto_file) {
            (Some(path), _) => Some(Watched::open(path, Rules::parse)),
            (None, Some(path)) => Some(Watched::open(path, Rules::parse_mosquitto)),
            (None, None) => None,
        };
        Ok(Self {
            anonymous,
            client_ids: auth.client_ids,
            users: users.transpose()?,
            tokens: Tokens::open(&auth.jwt)?,
            introspection: Introspection::open(&auth.introspection)?,
            hook: Hook::open(&auth.http)?,
            order: auth.order.clone(),
            rules: rules.transpose()?,
            bans: auth.bans_file.as_deref().map(|path| Watched::open(path, Bans::parse)).transpose()?,
            stored: Arc::default(),
            hasher: Hasher::new(),
            version: AtomicU64::new(0),
        })
    }

    /// Says in one line who is let in where that is anybody.
    pub(crate) fn announce(&self) {
        match self.anonymous {
            Anonymous::Everywhere => {
                tracing::warn!(target: "quelea::access", "auth.allow_anonymous is set: anybody who reaches a listener may connect");
            }
            Anonymous::OnThisMachine => {
                tracing::info!(target: "quelea::access", "no authentication is configured: clients on this machine may connect, and nobody else");
            }
            Anonymous::Nowhere => {}
        }
        if self.hook.as_ref().is_some_and(Hook::is_in_the_clear) {
            tracing::warn!(target: "quelea::access", "auth.http.url is not https: passwords of clients go there as they are");
        }
    }

    /// Whether somebody may have a client identifier that it chose itself.
    pub(crate) fn may_be(&self, who: &Principal, client: &str) -> bool {
        if who.token.as_ref().is_some_and(|token| !token.is_for(client)) {
            return false;
        }
        match (self.client_ids, who.user.as_deref()) {
            (ClientIdPolicy::Any, _) => true,
            (ClientIdPolicy::User, None) => false,
            // A name with the separator in it could pass for the beginning of another one's identifiers.
            (ClientIdPolicy::User, Some(user)) => {
                let rest = client.strip_prefix(user).filter(|_| !user.contains(BOUND_BY));
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(BOUND_BY))
            }
        }
    }

    /// Whether there is nothing that may change but what lies in the cluster.
    fn has_no_files(&self) -> bool {
        let tokens = self.tokens.is_some() || self.introspection.is_some();
        !tokens && self.users.is_none() && self.hook.is_none() && self.rules.is_none() && self.bans.is_none()
    }

    /// What was asked of those who issue tokens.
    pub(crate) fn introspected(&self) -> Introspected {
        self.introspection.as_ref().map(Introspection::counts).unwrap_or_default()
    }

    /// What lies in the cluster, for whoever follows that.
    pub(crate) fn stored(&self) -> &Arc<Stored> {
        &self.stored
    }

    /// Grows when what is in force changes. To be read before what depends on it.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire).wrapping_add(self.stored.version())
    }

    /// Whether somebody who was let in still would be.
    pub(crate) fn knows(&self, who: &Principal) -> bool {
        match (&self.users, &self.tokens, who) {
            (_, Some(tokens), Principal { token: Some(token), .. }) => tokens.knows(token),
            (Some(users), _, Principal { user: Some(user), has_password: true, .. }) => {
                users.current().contains(user)
            }
            _ => true,
        }
    }

    /// When somebody who was let in has to have gone; `None` for never.
    pub(crate) fn until(&self, who: &Principal) -> Option<Instant> {
        let until = Duration::from_millis(who.token.as_ref()?.until_ms()?);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Instant::now().checked_add(until.saturating_sub(now))
    }

    /// Whether somebody is banned, or the client identifier that it wants or has.
    pub(crate) fn has_banned(&self, who: &Principal, client: Option<&str>) -> bool {
        let suspect = Suspect { address: who.address, user: who.user.as_deref(), client };
        let now = SystemTime::now();
        self.bans.as_ref().is_some_and(|bans| bans.current().has(suspect, now))
            || self.stored.has_banned(suspect, now)
    }

    /// What a client may do; `None` is everything. What its token allows comes after the rules of the file.
    pub(crate) fn rights_of(&self, who: &Principal, client: &str) -> Option<Rights> {
        let rules = self.rules.as_ref().map(|rules| rules.current().clauses_of(who, client));
        let granted = who.token.as_ref().and_then(|token| token.rules());
        if rules.is_none() && granted.is_none() {
            return None;
        }
        let mut clauses: Vec<Clause> = rules.unwrap_or_default();
        clauses.extend(granted.into_iter().flat_map(|granted| granted.clauses_of(who, client)));
        Some(Rights::new(clauses))
    }

    /// Whether the file with the users or the keys of tokens, which count as one of users, that with the rules or that with the bans, which counts as one of rules, cannot be
    /// used now.
    pub(crate) fn stale(&self) -> (bool, bool) {
        let (users, rules) = (self.users.as_ref(), self.rules.as_ref());
        let bans = self.bans.as_ref().is_some_and(Watched::is_stale);
        let tokens = self.tokens.as_ref().is_some_and(Tokens::is_stale);
        let headers = self.hook.as_ref().and_then(|hook| hook.headers.as_ref());
        let secret = self.introspection.as_ref().and_then(|asked| asked.secret_file.as_ref());
        let tokens =
            tokens || headers.is_some_and(Watched::is_stale) || secret.is_some_and(Watched::is_stale);
        (tokens || users.is_some_and(Watched::is_stale), bans || rules.is_some_and(Watched::is_stale))
    }
}

/// Reads what the configuration names, and keeps nothing of it.
///
/// # Errors
/// A file cannot be used.
pub(crate) fn check_files(settings: &Settings) -> Result<(), BadFile> {
    Access::open(settings).map(drop)
}
