//! Who asks at the admin port, and whether they may: a tower layer before all services, which looks at the token of each
//! request. What changes something, and who was refused, is told to the target `audit` of the log.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::{Request, header::AUTHORIZATION};
use parking_lot::Mutex;
use tokio::time::Instant;
use tonic::Status;
use tower::{Layer, Service};
use tracing::{info, warn};

use super::bounds::Answer;
use super::tokens::{Role, Tokens};
use crate::access::Watched;

/// What comes before a token in a header (RFC 6750).
const SCHEME: &str = "Bearer ";
/// Between two words of those who have no token that is known.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// Bytes of what a request is about that are told.
const ABOUT_BYTES_MAX: usize = 128;

/// What there is at the port for those who show what nodes show.
const SHRINKING: [&str; 2] = ["/quelea.admin.v1.Admin/Status", "/quelea.admin.v1.Admin/Leave"];

/// Which role a request takes; `None` for those that say nothing of the cluster.
fn takes(path: &str) -> Option<Role> {
    match path {
        "/quelea.admin.v1.Admin/Status"
        | "/quelea.admin.v1.Admin/ListClients"
        | "/quelea.admin.v1.Admin/ListSessions"
        | "/quelea.admin.v1.Admin/ListSubscriptions"
        | "/quelea.admin.v1.Admin/ListRetained"
        | "/quelea.admin.v1.Admin/ListBans"
        | "/quelea.admin.v1.Admin/Why" => Some(Role::Viewer),
        "/quelea.admin.v1.Admin/Kick"
        | "/quelea.admin.v1.Admin/Publish"
        | "/quelea.admin.v1.Admin/Reload"
        | "/quelea.admin.v1.Admin/SetLog"
        | "/quelea.admin.v1.Admin/Trace"
        | "/quelea.admin.v1.Admin/Drain"
        | "/quelea.admin.v1.Admin/Undrain"
        | "/quelea.admin.v1.Admin/MoveLeader" => Some(Role::Operator),
        _ if path.starts_with("/grpc.health.v1.Health/") => None,
        _ if path.starts_with("/grpc.reflection.v1.ServerReflection/") => Some(Role::Viewer),
        // What nobody has thought of is the most.
        _ => Some(Role::Admin),
    }
}

/// Who asks.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    /// Whose token it is; `-` where none is needed.
    name: Box<str>,
    /// What for; `None` where everybody may do everything.
    role: Option<Role>,
    from: IpAddr,
    /// Whether all that it may do is have the last node leave.
    shrinks: bool,
}

impl Caller {
    /// Who sent a request that was let through.
    pub(super) fn of<T>(request: &tonic::Request<T>) -> Result<Self, Status> {
        let caller = request.extensions().get::<Self>().cloned();
        caller.ok_or_else(|| Status::internal("nobody knows who asks"))
    }

    /// Whether it may do what takes this role.
    ///
    /// # Errors
    /// It may not, which is told.
    pub(super) fn takes(&self, needed: Role, what: &str) -> Result<(), Status> {
        match self.role.filter(|role| *role < needed) {
            None => Ok(()),
            Some(role) => {
                let why =
                    format!("the role {:?} may not do this: it takes {:?}", role.as_str(), needed.as_str());
                Err(self.refused(what, &why))
            }
        }
    }

    /// Whether it may have no other node leave than the last.
    pub(super) fn shrinks(&self) -> bool {
        self.shrinks
    }

    /// The refusal of what it may not do, which is told.
    fn refused(&self, what: &str, why: &str) -> Status {
        self.tell((what, ""), "refused", why);
        Status::permission_denied(why)
    }

    /// Has something changed, and tells what became of that.
    ///
    /// # Errors
    /// Those of the change.
    pub(super) async fn audited<T>(
        &self,
        what: &str,
        about: &str,
        change: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, Status> {
        let mut open = Open { caller: self, what, about, is_told: false };
        let done = change.await;
        open.is_told = true;
        match &done {
            Ok(_) => self.tell((what, about), "done", ""),
            Err(status) => self.tell((what, about), "refused", status.message()),
        }
        done
    }

    fn tell(&self, (what, about): (&str, &str), outcome: &str, why: &str) {
        let Self { name, from, .. } = self;
        let mut ends = about.char_indices().map(|(at, _)| at);
        let end = ends.find(|at| *at > ABOUT_BYTES_MAX).unwrap_or(about.len());
        let about = about.get(..end).unwrap_or_default();
        match outcome {
            "done" => info!(target: "audit", who = %name, %from, what, about, outcome),
            _ => warn!(target: "audit", who = %name, %from, what, about, outcome, why),
        }
    }
}

/// A change of which it is not known yet whether it is made.
struct Open<'a> {
    caller: &'a Caller,
    what: &'a str,
    about: &'a str,
    is_told: bool,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        if !self.is_told {
            let why = "whoever asked has gone, or it took too long: it may have its effect yet";
            self.caller.tell((self.what, self.about), "unknown", why);
        }
    }
}

/// Lets through who may ask what they ask. Clones share what they know.
#[derive(Clone)]
pub(super) struct Guard {
    /// `None` where only this machine reaches the port and nobody is asked who they are.
    tokens: Option<Arc<Watched<Tokens>>>,
    /// Whether everybody here has shown what nodes show, and may do no more than [`SHRINKING`].
    is_for_nodes: bool,
    /// When somebody without a token was told of last.
    told: Arc<Mutex<Option<Instant>>>,
    from: IpAddr,
}

impl Guard {
    /// Of a port.
    pub(super) fn new(tokens: Option<Arc<Watched<Tokens>>>) -> Self {
        Self { tokens, is_for_nodes: false, told: Arc::default(), from: IpAddr::from([0; 4]) }
    }

    /// Of a port at which everybody has shown what nodes show.
    pub(super) fn of_nodes() -> Self {
        Self { is_for_nodes: true, ..Self::new(None) }
    }

    /// Of a connection from there.
    pub(super) fn of_connection(&self, from: IpAddr) -> Self {
        Self { from: from.to_canonical(), ..self.clone() }
    }

    fn check<B>(&self, request: &Request<B>) -> Result<Caller, Status> {
        let (from, path) = (self.from, request.uri().path());
        if self.is_for_nodes {
            let caller = Caller { name: "cluster".into(), role: Some(Role::Viewer), from, shrinks: true };
            return match SHRINKING.contains(&path) {
                true => Ok(caller),
                false => {
                    Err(caller
                        .refused(path, "at this port there is nothing but what makes a cluster smaller"))
                }
            };
        }
        let nobody = Caller { name: "-".into(), role: None, from, shrinks: false };
        let (Some(tokens), Some(needed)) = (&self.tokens, takes(path)) else { return Ok(nobody) };
        let header = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = header.and_then(|value| value.strip_prefix(SCHEME));
        let current = tokens.current();
        let Some((name, role)) = token.and_then(|token| current.find(token)) else {
            self.tell_stranger(path, token.is_some());
            return Err(Status::unauthenticated("a token is needed: quelea ctl --token-file FILE"));
        };
        let caller = Caller { name: name.into(), role: Some(role), from, shrinks: false };
        caller.takes(needed, path)?;
        Ok(caller)
    }

    /// Once in a while: whoever has no token can ask as often as they like.
    fn tell_stranger(&self, path: &str, has_token: bool) {
        let now = Instant::now();
        let mut told = self.told.lock();
        if told.is_none_or(|last| now >= last + TELL_EVERY) {
            *told = Some(now);
            let why = if has_token { "the token is not known" } else { "no token" };
            warn!(target: "audit", who = "-", from = %self.from, what = path, outcome = "refused", why);
        }
    }
}

impl<S> Layer<S> for Guard {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded { guard: self.clone(), inner }
    }
}

/// Services behind the guard.
#[derive(Clone)]
pub(super) struct Guarded<S> {
    guard: Guard,
    inner: S,
}

impl<S, B> Service<Request<B>> for Guarded<S>
where
    S: Service<
            Request<B>,
            Response = http::Response<tonic::body::Body>,
            Error = Infallible,
            Future = BoxFuture<'static, Answer>,
        >,
{
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Answer>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        match self.guard.check(&request) {
            Ok(caller) => {
                request.extensions_mut().insert(caller);
                self.inner.call(request)
            }
            Err(status) => Box::pin(std::future::ready(Ok(status.into_http()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_call_takes_a_role_and_what_is_not_known_the_highest() {
        assert_eq!(takes("/quelea.admin.v1.Admin/Status"), Some(Role::Viewer));
        assert_eq!(takes("/quelea.admin.v1.Admin/ListClients"), Some(Role::Viewer));
        assert_eq!(takes("/quelea.admin.v1.Admin/Drain"), Some(Role::Operator));
        assert_eq!(takes("/quelea.admin.v1.Admin/Why"), Some(Role::Viewer));
        for call in ["Kick", "Publish", "Reload", "SetLog", "Trace"] {
            assert_eq!(takes(&format!("/quelea.admin.v1.Admin/{call}")), Some(Role::Operator));
        }
        assert_eq!(takes("/quelea.admin.v1.Admin/Leave"), Some(Role::Admin));
        assert_eq!(takes("/quelea.admin.v1.Admin/DeleteSession"), Some(Role::Admin));
        assert_eq!(takes("/quelea.admin.v1.Admin/PurgeRetained"), Some(Role::Admin));
        assert_eq!(takes("/quelea.admin.v1.Admin/ListBans"), Some(Role::Viewer));
        for call in ["Ban", "Unban"] {
            assert_eq!(takes(&format!("/quelea.admin.v1.Admin/{call}")), Some(Role::Admin));
        }
        assert_eq!(takes("/quelea.admin.v1.Admin/NewInTheNextRelease"), Some(Role::Admin));
        assert_eq!(takes("/grpc.health.v1.Health/Check"), None);
        assert_eq!(takes(""), Some(Role::Admin));
    }
}
