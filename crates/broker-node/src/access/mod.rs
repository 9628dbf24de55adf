//! Who may connect, and what they may do: the authentication of CONNECT and the rules for publishing and subscribing.
//! Made at start from the configuration; connections ask it. What it reads from files may change while the node runs;
//! whether there is authentication and are rules does not.

mod acl;
mod file;
mod hash;
mod hasher;
mod passwd;
mod users;
mod watch;

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use mqtt_codec::{Connect, ReasonCode};
use zeroize::Zeroizing;

pub(crate) use self::acl::Rights;
use self::acl::Rules;
pub(crate) use self::file::BadFile;
use self::file::Watched;
use self::hasher::{Busy, Hasher};
pub(crate) use self::passwd::{PasswdArgs, run as passwd};
use self::users::{Login, Users};
pub(crate) use self::watch::watch;
use crate::config::{ClientIdPolicy, Settings};
use crate::listener::Peer;

/// What separates a user's name from the rest of a client identifier that is bound to it.
const BOUND_BY: char = ':';

/// Who is at the other end of a connection, as far as it has been shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Principal {
    /// The name that it has shown to be its own; a name that nobody checked is none.
    pub(crate) user: Option<Box<str>>,
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
}

impl Refusal {
    /// What the client is told.
    pub(crate) fn reason(self) -> ReasonCode {
        match self {
            Self::BadCredentials => ReasonCode::BadUserNameOrPassword,
            Self::Anonymous => ReasonCode::NotAuthorized,
            Self::Busy => ReasonCode::ServerBusy,
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
    rules: Option<Watched<Rules>>,
    hasher: Hasher,
    /// Grows with each change of users or rules, after it.
    version: AtomicU64,
}

impl Access {
    /// Reads what the configuration names.
    ///
    /// # Errors
    /// A file cannot be used.
    pub(crate) fn open(settings: &Settings) -> Result<Self, BadFile> {
        let (auth, acl) = (&settings.auth, &settings.acl);
        let anonymous = match (auth.allow_anonymous, auth.is_configured()) {
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
            rules: rules.transpose()?,
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
    }

    /// Who a CONNECT is from, or why it is refused; and how many hashes that took.
    pub(crate) async fn log_in(&self, connect: &Connect, peer: Peer) -> (Result<Principal, Refusal>, u64) {
        let nobody = Principal::at(peer);
        let address = nobody.address;
        let Some(users) = self.users.as_ref().map(Watched::current) else {
            return (self.let_in(nobody), 0);
        };
        let Some(user) = connect.user_name.as_ref().map(mqtt_codec::Text::as_str) else {
            return (self.let_in(nobody), 0);
        };
        // Without a password nothing is computed for anybody.
        let Some(password) = &connect.password else { return (Err(Refusal::BadCredentials), 0) };
        let known = Principal { user: Some(user.into()), ..nobody };
        let attempt = match users.login(user, password) {
            Login::Known => return (Ok(known), 0),
            Login::Compute(attempt) => attempt,
        };
        let secret = Zeroizing::new(password.to_vec());
        match self.hasher.verify(attempt.hash.clone(), secret, address).await {
            Err(Busy) => (Err(Refusal::Busy), 0),
            Ok(verified) if attempt.finish(verified) => (Ok(known), 1),
            Ok(_) => (Err(Refusal::BadCredentials), 1),
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

    /// Whether somebody may have a client identifier that it chose itself.
    pub(crate) fn may_be(&self, who: &Principal, client: &str) -> bool {
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

    /// Whether a client that is connected has to look again what it may do, now or ever.
    pub(crate) fn is_open(&self) -> bool {
        self.users.is_none() && self.rules.is_none()
    }

    /// Changes when what is in force changes. To be read before what depends on it.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Whether somebody who was let in still would be.
    pub(crate) fn knows(&self, who: &Principal) -> bool {
        match (&self.users, &who.user) {
            (Some(users), Some(user)) => users.current().contains(user),
            (None, _) | (_, None) => true,
        }
    }

    /// What a client may do; `None` is everything.
    pub(crate) fn rights_of(&self, who: &Principal, client: &str) -> Option<Rights> {
        Some(self.rules.as_ref()?.current().rights_of(who, client))
    }

    /// Whether the file with the users, and that with the rules, cannot be used now.
    pub(crate) fn stale(&self) -> (bool, bool) {
        let (users, rules) = (self.users.as_ref(), self.rules.as_ref());
        (users.is_some_and(Watched::is_stale), rules.is_some_and(Watched::is_stale))
    }
}

/// Reads what the configuration names, and keeps nothing of it.
///
/// # Errors
/// A file cannot be used.
pub(crate) fn check_files(settings: &Settings) -> Result<(), BadFile> {
    Access::open(settings).map(drop)
}
