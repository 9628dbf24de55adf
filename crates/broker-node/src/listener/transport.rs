//! The bytes of one connection, whatever carries them: TCP, TLS, WebSocket, both, or a unix socket.
//! Made by `handshake`, used by the connection that the handler serves, in one task.
//! Knows no MQTT, and holds no buffer of its own for an idle plain connection.

use super::{permit::Permit, trust::Trust, websocket::WebSocket};
use crate::config::Protocol;
use rustls::pki_types::CertificateDer;
use std::{
    convert::identity,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::{TcpStream, UnixStream},
    time::timeout,
};
use tokio_rustls::server::TlsStream;

/// How long a closing connection may take to read what was sent to it last.
const LINGER: Duration = Duration::from_secs(1);
/// What it may still send meanwhile.
const LINGER_BYTES_MAX: usize = 1 << 20;

/// One connection as a stream of bytes. A write is done only with the flush behind it.
#[derive(Debug)]
pub(crate) struct Transport {
    io: Io,
    /// What is asked about its client's certificate, where that has to show one.
    trust: Option<Trust>,
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

impl Stream {
    /// The certificate of the peer itself, where it has shown one.
    pub(super) fn certificate(&self) -> Option<CertificateDer<'static>> {
        self.0.certificates()?.first().map(|certificate| certificate.clone().into_owned())
    }
}

impl Io {
    /// What the peer has shown, its own certificate first.
    fn certificates(&self) -> Option<&[CertificateDer<'static>]> {
        match self {
            Self::Tls(stream) => stream.get_ref().1.peer_certificates(),
            Self::Wss(stream) => stream.get_ref().get_ref().1.peer_certificates(),
            Self::Tcp(_) | Self::Unix(_) | Self::Ws(_) => None,
        }
    }
}

impl Transport {
    /// The connection over `stream`, which has this place.
    pub(super) fn new(stream: Stream, trust: Option<Trust>, permit: Permit) -> Self {
        Self { io: stream.0, trust, _permit: permit }
    }

    /// Whether its client's certificate would still be accepted, where it has to show one.
    pub(crate) fn is_trusted(&mut self) -> bool {
        let Self { io, trust, .. } = self;
        trust.as_mut().is_none_or(|trust| trust.holds(io.certificates().unwrap_or_default()))
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

impl AsyncRead for Transport {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(&mut self.get_mut().io, stream => Pin::new(stream).poll_read(cx, buf))
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
