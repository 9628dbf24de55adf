//! The bytes of one connection, whatever carries them: TCP, TLS, WebSocket, both, or a unix socket.
//! Made by `handshake`, used by the connection that the handler serves, in one task.
//! Knows no MQTT, and holds no buffer of its own for an idle plain connection.

use super::{permit::Permit, websocket::WebSocket};
use crate::config::Protocol;
use std::{
    convert::identity,
    future::poll_fn,
    io::{self, IoSlice},
    pin::{Pin, pin},
    task::{Context, Poll, Waker, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, Interest, ReadBuf, Ready},
    net::{TcpStream, UnixStream},
    task::{consume_budget, unconstrained},
    time::timeout,
};
use tokio_rustls::server::TlsStream;

/// How long a closing connection may take to read what was sent to it last.
const LINGER: Duration = Duration::from_secs(1);
/// What it may still send meanwhile.
const LINGER_BYTES_MAX: usize = 1 << 20;

/// One connection as a stream of bytes.
///
/// Two ways to use it, not to be mixed while one of them waits: as `AsyncRead` and `AsyncWrite`, or, so that no read
/// buffer is held while nothing arrives, by waiting for `ready` and then calling the `try_` functions until they say
/// `WouldBlock`.
#[derive(Debug)]
pub(crate) struct Transport {
    io: Io,
    /// Whether the last read found nothing; until then `io` may hold bytes that the socket no longer tells of.
    drained: bool,
    /// The place that the socket takes under the limits; given back with the socket.
    _permit: Permit,
}

#[derive(Debug)]
enum Io {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream<TcpStream>>),
    Ws(Box<WebSocket<TcpStream>>),
    Wss(Box<WebSocket<TlsStream<TcpStream>>>),
}

/// Anything that a transport can be made of.
#[derive(Debug)]
pub(super) struct Stream(Io);

macro_rules! from {
    ($variant:ident, $stream:ty, $make:expr) => {
        impl From<$stream> for Stream {
            fn from(stream: $stream) -> Self {
                Self(Io::$variant($make(stream)))
            }
        }
    };
}

from!(Tcp, TcpStream, identity);
from!(Unix, UnixStream, identity);
from!(Tls, TlsStream<TcpStream>, Box::new);
from!(Ws, WebSocket<TcpStream>, Box::new);
from!(Wss, WebSocket<TlsStream<TcpStream>>, Box::new);

/// Calls the same on whatever is inside.
macro_rules! each {
    ($io:expr, $stream:ident => $call:expr) => {
        match $io {
            Io::Tcp($stream) => $call,
            Io::Unix($stream) => $call,
            Io::Tls($stream) => $call,
            Io::Ws($stream) => $call,
            Io::Wss($stream) => $call,
        }
    };
}

impl Transport {
    /// The connection over `stream`, which has this place.
    pub(super) fn new(stream: Stream, permit: Permit) -> Self {
        Self { io: stream.0, drained: false, _permit: permit }
    }

    /// What carries the bytes.
    pub(crate) fn kind(&self) -> Protocol {
        match self.io {
            Io::Tcp(_) => Protocol::Tcp,
            Io::Unix(_) => Protocol::Unix,
            Io::Tls(_) => Protocol::Tls,
            Io::Ws(_) => Protocol::Ws,
            Io::Wss(_) => Protocol::Wss,
        }
    }

    /// Waits until a `try_` function for one of `interest` is worth calling. Safe to drop. It may be wrong: then that
    /// function says `WouldBlock`.
    ///
    /// # Errors
    /// Where the runtime is going away.
    pub(crate) async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        // The `try_` functions never make a task yield; this does, after as many turns as any other.
        consume_budget().await;
        if interest.is_readable() && !self.drained && !matches!(self.io, Io::Tcp(_) | Io::Unix(_)) {
            return Ok(Ready::READABLE);
        }
        match &self.io {
            Io::Unix(stream) => stream.ready(interest).await,
            Io::Tcp(stream) => stream.ready(interest).await,
            Io::Tls(stream) => stream.get_ref().0.ready(interest).await,
            Io::Ws(stream) => stream.get_ref().ready(interest).await,
            Io::Wss(stream) => stream.get_ref().get_ref().0.ready(interest).await,
        }
    }

    /// Waits until `try_read` is worth calling; see `ready`.
    ///
    /// # Errors
    /// As `ready`.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        self.ready(Interest::READABLE).await.map(drop)
    }

    /// Waits until `try_write` or `try_flush` is worth calling; see `ready`.
    ///
    /// # Errors
    /// As `ready`.
    pub(crate) async fn writable(&self) -> io::Result<()> {
        self.ready(Interest::WRITABLE).await.map(drop)
    }

    /// Reads what is there, up to the length of `buf`; 0 is the end.
    ///
    /// # Errors
    /// `WouldBlock` where nothing is there; any other error ends the connection.
    pub(crate) fn try_read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match &self.io {
            Io::Tcp(stream) => stream.try_read(buf),
            Io::Unix(stream) => stream.try_read(buf),
            _ => {
                let mut buf = ReadBuf::new(buf);
                now(|cx| Pin::new(&mut *self).poll_read(cx, &mut buf))?;
                Ok(buf.filled().len())
            }
        }
    }

    /// Writes as much of `buf` as can be taken now. A `try_flush` must follow.
    ///
    /// # Errors
    /// As `try_read`.
    pub(crate) fn try_write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match &self.io {
            Io::Tcp(stream) => stream.try_write(buf),
            Io::Unix(stream) => stream.try_write(buf),
            _ => now(|cx| Pin::new(&mut *self).poll_write(cx, buf)),
        }
    }

    /// Writes as much of all `bufs`, in order, as can be taken now. A `try_flush` must follow.
    ///
    /// # Errors
    /// As `try_read`.
    pub(crate) fn try_write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        match &self.io {
            Io::Tcp(stream) => stream.try_write_vectored(bufs),
            Io::Unix(stream) => stream.try_write_vectored(bufs),
            _ => now(|cx| Pin::new(&mut *self).poll_write_vectored(cx, bufs)),
        }
    }

    /// Passes on to the kernel what a layer in between has taken. Costs nothing for TCP and unix sockets.
    ///
    /// # Errors
    /// `WouldBlock` where something is left: wait for `writable` and call it again.
    pub(crate) fn try_flush(&mut self) -> io::Result<()> {
        match &self.io {
            Io::Tcp(_) | Io::Unix(_) => Ok(()),
            _ => now(|cx| Pin::new(&mut *self).poll_flush(cx)),
        }
    }

    /// Ends the connection such that the peer can read what was sent last: a socket closed with unread bytes would be
    /// reset, and the peer might never see the reason. Takes at most two seconds.
    pub(crate) async fn close(mut self) {
        let shut = timeout(LINGER, self.shutdown());
        if !matches!(shut.await, Ok(Ok(()))) {
            return;
        }
        // What still comes is of no interest, so that it need not be decrypted or unmasked.
        match &mut self.io {
            Io::Tcp(stream) => linger(stream).await,
            Io::Unix(stream) => linger(stream).await,
            Io::Tls(stream) => linger(stream.get_mut().0).await,
            Io::Ws(stream) => linger(stream.get_mut()).await,
            Io::Wss(stream) => linger(stream.get_mut().get_mut().0).await,
        }
    }
}

/// Reads and forgets what a peer still sends after our last word, up to a bound of time and bytes.
pub(super) async fn linger<S: AsyncRead + Unpin>(stream: &mut S) {
    let read = async {
        let mut scratch = [0; 512];
        let mut left = LINGER_BYTES_MAX;
        while let Ok(count @ 1..) = stream.read(&mut scratch).await {
            left = left.saturating_sub(count);
            if left == 0 {
                return;
            }
        }
    };
    // A peer that neither reads nor closes has had its time.
    let _ = timeout(LINGER, read).await;
}

/// Does `call` once, without a wake-up: its `Pending` is answered by waiting for readiness. For that it must mean that
/// the socket is not ready, and not that the task has had its share of time.
fn now<T>(call: impl FnMut(&mut Context<'_>) -> Poll<io::Result<T>>) -> io::Result<T> {
    match pin!(unconstrained(poll_fn(call))).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

impl AsyncRead for Transport {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let poll = each!(&mut this.io, stream => Pin::new(stream).poll_read(cx, buf));
        this.drained = poll.is_pending();
        poll
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        each!(&mut self.get_mut().io, stream => Pin::new(stream).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(&mut self.get_mut().io, stream => Pin::new(stream).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(&mut self.get_mut().io, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut *this).poll_flush(cx))?;
        each!(&mut this.io, stream => Pin::new(stream).poll_shutdown(cx))
    }
}
