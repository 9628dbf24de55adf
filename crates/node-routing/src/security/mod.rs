//! What is put around a connection between nodes once it exists, and what is known then of whoever is at its other end. The
//! broker gives it to both ends: [`Guarded`], or [`Plain`] where nobody else reaches the node. Reads no file.

mod guarded;
mod secret;
mod verifier;

use std::io;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

pub use self::guarded::{Guarded, Keys};
pub use self::secret::{BadSecret, SECRET_BYTES_MIN, SECRETS_MAX, Secret};
pub use self::verifier::{BadKeys, Certificates};

/// Bytes in both directions.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A connection, with whatever was put around it.
pub type BoxIo = Box<dyn Io>;

/// A connection, and whom it may be with.
pub struct Secured {
    /// The connection.
    pub io: BoxIo,
    /// Whom it may be with.
    pub who: Who,
}

/// Which nodes whoever is at the other end of a connection may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// Any: nothing was shown that says which.
    Any,
    /// Those with these names; `*` is any name without a dot.
    Named(Arc<[Box<str>]>),
}

impl Who {
    /// Whether it may be the node of this name; of one whose name is not known yet, nothing, any may be it.
    #[must_use]
    pub fn may_be(&self, name: &str) -> bool {
        let is = |own: &str| own.eq_ignore_ascii_case(name) || own == "*" && !name.contains('.');
        match self {
            Self::Any => true,
            Self::Named(names) => name.is_empty() || names.iter().any(|own| is(own)),
        }
    }
}

/// Puts something around connections. Both ends of the cluster's connections must do the same.
pub trait Security: Send + Sync + 'static {
    /// Around a connection that was dialed. There is a deadline around it.
    fn dialed(&self, stream: TcpStream) -> BoxFuture<'static, io::Result<Secured>>;

    /// Around a connection that was accepted. There is a deadline around it.
    fn accepted(&self, stream: TcpStream) -> BoxFuture<'static, io::Result<Secured>>;
}

/// Nothing: for nodes that only programs on the same machine reach.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plain;

impl Security for Plain {
    fn dialed(&self, stream: TcpStream) -> BoxFuture<'static, io::Result<Secured>> {
        let secured = Secured { io: Box::new(stream), who: Who::Any };
        Box::pin(std::future::ready(Ok(secured)))
    }

    fn accepted(&self, stream: TcpStream) -> BoxFuture<'static, io::Result<Secured>> {
        self.dialed(stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_shows_names_is_nobody_else() {
        let named = |names: &[&str]| Who::Named(names.iter().map(|name| Box::from(*name)).collect());
        let two = named(&["quelea-1", "quelea-2"]);
        assert!(two.may_be("quelea-1") && two.may_be("Quelea-2") && two.may_be(""));
        assert!(!two.may_be("quelea-3") && !two.may_be("quelea") && !two.may_be("*"));
        let all = named(&["*"]);
        assert!(all.may_be("quelea-3") && !all.may_be("a.b"), "as for hosts: one label");
        assert!(!named(&[]).may_be("quelea-1"));
        assert!(Who::Any.may_be("quelea-1"));
    }
}
