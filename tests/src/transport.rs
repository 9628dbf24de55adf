//! The byte stream under a raw client: TCP here, others (WebSocket, TLS) by implementing the trait.
//! Used by `RawClient`; never interprets what passes through.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::time::Duration;

use crate::BOUND;

/// An ordered byte stream with a timeout on each read.
pub trait Transport: Send {
    /// Writes all of it.
    ///
    /// # Errors
    /// Whatever the socket says, a peer that has closed above all.
    fn send(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Reads what is there, waiting up to `timeout`; `Ok(0)` is the end of the stream.
    ///
    /// # Errors
    /// `WouldBlock` or `TimedOut` when nothing came, or whatever the socket says.
    fn receive(&mut self, buffer: &mut [u8], timeout: Duration) -> io::Result<usize>;

    /// Ends the connection with no more ado.
    fn shutdown(&mut self);
}

impl Transport for TcpStream {
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn receive(&mut self, buffer: &mut [u8], timeout: Duration) -> io::Result<usize> {
        self.set_read_timeout(Some(timeout.max(Duration::from_millis(1))))?;
        self.read(buffer)
    }

    fn shutdown(&mut self) {
        // The peer may have closed already: then there is nothing left to end.
        drop(TcpStream::shutdown(self, Shutdown::Both));
    }
}

/// A TCP connection that sends at once and gives up writing after [`BOUND`].
pub fn tcp(addr: &str) -> TcpStream {
    let resolved = addr.to_socket_addrs().ok().and_then(|mut found| found.next());
    let Some(resolved) = resolved else { panic!("not an address: {addr}") };
    let stream = TcpStream::connect_timeout(&resolved, BOUND)
        .unwrap_or_else(|error| panic!("cannot connect to {addr}: {error}"));
    stream.set_nodelay(true).unwrap();
    stream.set_write_timeout(Some(BOUND)).unwrap();
    stream
}
