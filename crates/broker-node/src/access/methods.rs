//! The methods of enhanced authentication (section 4.12 of MQTT 5.0): SCRAM where there are users with passwords, tokens where those
//! count. Kept by the node; each connection that names one begins an exchange of its own.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use session_store::authentication::{Exchange, Method, Step};
use tracing::debug;
use zeroize::Zeroizing;

use super::introspection::Found;
use super::jwt::Grant;
use super::queue::Busy;
use super::scram::{Mechanism, Scram};
use super::{Access, Principal};

/// What clients call it to show a token, here as at other brokers.
const TOKEN_METHOD: &str = "OAUTH2-JWT";
/// What they call it to show one that its issuer is asked about.
const OPAQUE_METHOD: &str = "OAUTH2-TOKEN";

/// Who a method has shown a client to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// A user of the password file.
    Password(Box<str>),
    /// Whoever a token says.
    Token(Arc<Grant>),
}

impl Shown {
    /// The user's name.
    pub(super) fn user(&self) -> &str {
        match self {
            Self::Password(user) => user,
            Self::Token(grant) => grant.user(),
        }
    }

    /// The client of which this was shown, and that much was known before.
    pub(super) fn of(self, known: Principal) -> Principal {
        let user = Some(self.user().into());
        match self {
            Self::Password(_) => Principal { user, has_password: true, ..known },
            Self::Token(grant) => Principal { user, token: Some(grant), ..known },
        }
    }
}

/// The methods that there are.
pub(crate) fn methods(access: &Arc<Access>) -> Vec<Arc<dyn Method<Shown>>> {
    let mut all: Vec<Arc<dyn Method<Shown>>> = Vec::new();
    if access.users.is_some() {
        for mechanism in Mechanism::ALL {
            all.push(Arc::new(ByScram { mechanism, access: Arc::clone(access) }));
        }
    }
    if access.tokens.is_some() {
        all.push(Arc::new(ByToken { is_opaque: false, access: Arc::clone(access) }));
    }
    if access.introspection.is_some() {
        all.push(Arc::new(ByToken { is_opaque: true, access: Arc::clone(access) }));
    }
    all
}

/// SCRAM with the users of the password file.
#[derive(Debug)]
struct ByScram {
    mechanism: Mechanism,
    access: Arc<Access>,
}

impl Method<Shown> for ByScram {
    fn name(&self) -> &str {
        self.mechanism.name()
    }

    fn begin(&self) -> Box<dyn Exchange<Shown>> {
        let users = self.access.users.as_ref().map(super::Watched::current);
        Box::new(Scram::new(self.mechanism, users.unwrap_or_default()))
    }
}

/// A token, in one message.
#[derive(Debug)]
struct ByToken {
    is_opaque: bool,
    access: Arc<Access>,
}

impl Method<Shown> for ByToken {
    fn name(&self) -> &str {
        if self.is_opaque { OPAQUE_METHOD } else { TOKEN_METHOD }
    }

    fn begin(&self) -> Box<dyn Exchange<Shown>> {
        Box::new(Showing { is_opaque: self.is_opaque, access: Arc::clone(&self.access), looking: None })
    }
}

/// A token that is looked at, for which keys may have to be fetched, or somebody be asked.
struct Showing {
    is_opaque: bool,
    access: Arc<Access>,
    looking: Option<Pin<Box<dyn Future<Output = Step<Shown>>>>>,
}

impl fmt::Debug for Showing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Showing")
    }
}

impl Exchange<Shown> for Showing {
    fn step(&mut self, data: &[u8]) -> Step<Shown> {
        let (access, token) = (Arc::clone(&self.access), Zeroizing::new(data.to_vec()));
        let is_opaque = self.is_opaque;
        self.looking = Some(Box::pin(async move {
            let found = match is_opaque {
                true => opaque(&access, &token).await,
                false => signed(&access, &token).await,
            };
            found.map_or(Step::Rejected, |grant| Step::Accepted(None, Shown::Token(grant)))
        }));
        Step::Wait
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Step<Shown>> {
        let Some(looking) = &mut self.looking else { return Poll::Ready(Step::Rejected) };
        looking.as_mut().poll(context)
    }
}

/// What a token grants that says it itself.
async fn signed(access: &Access, token: &[u8]) -> Option<Arc<Grant>> {
    match access.tokens.as_ref()?.check(token, None).await? {
        Ok(grant) => Some(Arc::new(grant)),
        Err(why) => {
            debug!(target: "quelea::access", method = TOKEN_METHOD, %why, "a token does not count");
            None
        }
    }
}

/// What a token grants of which its issuer says so. A method knows no address: all who name it have one place in the queue.
async fn opaque(access: &Access, token: &[u8]) -> Option<Arc<Grant>> {
    match access.introspection.as_ref()?.check(token, None, None).await {
        Ok(Found::Counts(grant)) => Some(grant),
        Ok(Found::No | Found::Unknown) | Err(Busy) => None,
    }
}
