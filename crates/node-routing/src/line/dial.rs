//! One attempt to connect to a node: look it up, connect, put on what secures it, and greet. Used by lines. Nobody else
//! uses a connection before the other end has said who it is.

use std::io;
use std::sync::Arc;

use raft_consensus::network::Refusal;
use raft_consensus::types::NodeId;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic::Status;

use super::Context;
use super::connection::{Connection, Ending};
use crate::identity::check_name;
use crate::proto::routing::Greeting;
use crate::proto::routing::handshake_client::HandshakeClient;
use crate::refusal;
use crate::security::Secured;

/// Why nobody answers at an address.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    /// Nobody listens.
    #[error("{0} refuses connections")]
    Refused(String),
    /// It is not found, or the way there is closed.
    #[error("{0}: {1}")]
    Io(String, io::Error),
    /// It does not show to be a node, or does not speak as nodes do.
    #[error("at {0}: {1}")]
    Insecure(String, io::Error),
    /// It broke while the nodes greeted each other.
    #[error("{0} broke the connection: {1}")]
    Broken(String, String),
    /// Nothing came in time.
    #[error("{0} is silent")]
    Silent(String),
    /// It is not who was meant, or does not want this node.
    #[error("at {0}: {1}")]
    Misfit(String, Refusal),
}

/// Connects to a node at an address.
///
/// # Errors
/// [`DialError`]; nothing is left of the attempt.
pub(crate) async fn dial(
    context: &Context,
    to: NodeId,
    address: &str,
) -> Result<(Connection, Ending), DialError> {
    let dialing = timeout(context.limits.greet_within, attempt(context, to, address));
    dialing.await.unwrap_or_else(|_elapsed| Err(DialError::Silent(address.to_owned())))
}

async fn attempt(context: &Context, to: NodeId, address: &str) -> Result<(Connection, Ending), DialError> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::ConnectionRefused => DialError::Refused(address.to_owned()),
        _ => DialError::Io(address.to_owned(), error),
    };
    let stream = TcpStream::connect(address).await.map_err(failed)?;
    // Small messages leave at once.
    stream.set_nodelay(true).map_err(failed)?;
    let secured = context.security.dialed(stream).await.map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => DialError::Insecure(address.to_owned(), error),
        _ => DialError::Io(address.to_owned(), error),
    });
    let Secured { io, who } = secured?;
    // Before it hears anything.
    let named = check_name(to, &who, &context.peers.borrow());
    named.map_err(|refusal| DialError::Misfit(address.to_owned(), refusal))?;
    let headers = Arc::new(context.identity.headers(to));
    let broken = |reason: String| DialError::Broken(address.to_owned(), reason);
    let begun = Connection::begin(io, headers, &context.limits).await;
    let (connection, ending) = begun.map_err(|error| broken(error.to_string()))?;
    let mut handshake = HandshakeClient::with_origin(connection.clone(), connection.origin());
    let welcome =
        handshake.greet(Greeting {}).await.map_err(|status: Status| match refusal::read(&status) {
            Some(refusal) => {
                context.refused(&refusal);
                DialError::Misfit(address.to_owned(), refusal)
            }
            None => broken(refusal::reason(&status)),
        })?;
    let checked = context.identity.check_welcome(welcome.get_ref(), to, &context.peers.borrow());
    checked.map_err(|refusal| DialError::Misfit(address.to_owned(), refusal))?;
    Ok((connection, ending))
}
