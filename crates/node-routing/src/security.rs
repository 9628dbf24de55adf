//! What is put around a connection between nodes once it exists. The broker gives it to both ends; without
//! certificates it is [`Plain`].

use std::io;

use futures_util::future::BoxFuture;
use raft_consensus::types::NodeId;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// Bytes in both directions.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A connection, with whatever was put around it.
pub type BoxIo = Box<dyn Io>;

/// Puts something around connections. Both ends of the cluster's connections must do the same.
pub trait Security: Send + Sync + 'static {
    /// Around a connection that was dialed, to reach this node. There is a deadline around it.
    fn dialed(&self, stream: TcpStream, to: NodeId) -> BoxFuture<'static, io::Result<BoxIo>>;

    /// Around a connection that was accepted. There is a deadline around it.
    fn accepted(&self, stream: TcpStream) -> BoxFuture<'static, io::Result<BoxIo>>;
}

/// Nothing: for networks in which nobody else is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plain;

impl Security for Plain {
    fn dialed(&self, stream: TcpStream, _to: NodeId) -> BoxFuture<'static, io::Result<BoxIo>> {
        Box::pin(std::future::ready(Ok(Box::new(stream) as BoxIo)))
    }

    fn accepted(&self, stream: TcpStream) -> BoxFuture<'static, io::Result<BoxIo>> {
        Box::pin(std::future::ready(Ok(Box::new(stream) as BoxIo)))
    }
}
