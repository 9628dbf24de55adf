//! What happens between accepting a socket and the first byte of MQTT: PROXY header, TLS, WebSocket, in this order.
//! Runs on the worker thread, all of it under the one deadline that also covers CONNECT, whatever trickles in.

use super::{
    Accepted, Listener, Peer, Transport,
    proxy::{self, ProxyError},
    transport::{Stream, linger},
    trust::Trust,
    websocket::{self, RequestError},
    worker::{Incoming, RawStream},
};
use crate::{
    config::{ListenerSettings, Protocol, ProxyProtocol},
    limits::Arrivals,
};
use std::{io, net::SocketAddr};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpStream, UnixStream},
    time::timeout_at,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// Why a connection ended before MQTT.
#[derive(Debug, thiserror::Error)]
pub(super) enum HandshakeError {
    #[error("not done within the connect timeout")]
    Deadline,
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    #[error("its address connects more often than limits.connects_per_second_per_address_max allows")]
    TooOften,
    #[error("tls: {0}")]
    Tls(io::Error),
    #[error(transparent)]
    WebSocket(#[from] RequestError),
}

/// What a failed handshake is counted as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HandshakeFailure {
    /// No PROXY header, a bad one, or one from a peer that may not send any.
    Proxy,
    /// The address that a load balancer told connects more often than allowed.
    TooOften,
    /// TLS could not be agreed on, or a certificate was not accepted.
    Tls,
    /// The WebSocket request was refused.
    WebSocket,
    /// Not done in time.
    Deadline,
    /// The peer went away in the middle.
    Lost,
}

impl HandshakeError {
    /// What it is counted as.
    pub(super) fn failure(&self) -> HandshakeFailure {
        match self {
            Self::Deadline => HandshakeFailure::Deadline,
            Self::Io(_) | Self::Proxy(ProxyError::Truncated) | Self::WebSocket(RequestError::Io(_)) => {
                HandshakeFailure::Lost
            }
            Self::Proxy(_) => HandshakeFailure::Proxy,
            Self::TooOften => HandshakeFailure::TooOften,
            // What is wrong with the bytes is said so; all else is the socket's.
            Self::Tls(error) if error.kind() != io::ErrorKind::InvalidData => HandshakeFailure::Lost,
            Self::Tls(_) => HandshakeFailure::Tls,
            Self::WebSocket(RequestError::Refused(_)) => HandshakeFailure::WebSocket,
        }
    }
}

/// Does all handshakes that the listener asks for.
pub(super) async fn handshake(incoming: Incoming) -> Result<Accepted, HandshakeError> {
    let Incoming { stream, peer, listener, deadline, permit, arrivals } = incoming;
    let settings = listener.settings.clone();
    let trust = listener.tls.as_ref().and_then(Trust::new);
    let (stream, peer) = match (stream, peer) {
        (RawStream::Unix(stream), peer) => (UnixStream::from_std(stream)?.into(), peer),
        (RawStream::Tcp(stream), peer) => {
            let stream = TcpStream::from_std(stream)?;
            // Boxed: no connection need carry the room for this beyond the handshakes.
            let steps = Box::pin(steps(stream, peer, (&listener, &arrivals)));
            timeout_at(deadline, steps).await.map_err(|_| HandshakeError::Deadline)??
        }
    };
    let certificate = stream.certificate();
    let transport = Transport::new(stream, trust, permit);
    Ok(Accepted { transport, peer, certificate, listener: settings, deadline })
}

async fn steps(
    mut stream: TcpStream,
    peer: Peer,
    (listener, arrivals): (&Listener, &Arrivals),
) -> Result<(Stream, Peer), HandshakeError> {
    let settings = &*listener.settings;
    let peer = match (settings.proxy_protocol, peer) {
        (ProxyProtocol::Accept, Peer::Ip(address)) => {
            let peer = real_peer(&mut stream, address, settings).await?;
            // Before it costs a handshake. Whoever comes without a load balancer was looked at when it was accepted.
            if !arrivals.admits(peer) {
                return Err(HandshakeError::TooOften);
            }
            peer
        }
        _ => peer,
    };
    let stream = match (settings.protocol, &listener.tls) {
        (Protocol::Tls, Some(tls)) => tls_accept(stream, tls.acceptor()).await?.into(),
        (Protocol::Wss, Some(tls)) => {
            let stream = tls_accept(stream, tls.acceptor()).await?;
            websocket::accept(stream, settings).await?.into()
        }
        (Protocol::Ws, _) => websocket::accept(stream, settings).await?.into(),
        // The check of the configuration sees to it that there is one; plain text is no answer either way.
        (Protocol::Tls | Protocol::Wss, None) => {
            return Err(HandshakeError::Tls(io::ErrorKind::Unsupported.into()));
        }
        (Protocol::Tcp | Protocol::Unix, _) => stream.into(),
    };
    Ok((stream, peer))
}

/// The client that a trusted load balancer speaks for. A LOCAL or UNKNOWN header stands for the load balancer itself.
async fn real_peer(
    stream: &mut TcpStream,
    address: SocketAddr,
    settings: &ListenerSettings,
) -> Result<Peer, HandshakeError> {
    if !settings.proxy_trusted.iter().any(|network| network.contains(address.ip())) {
        return Err(ProxyError::Untrusted.into());
    }
    Ok(proxy::read(stream).await?.unwrap_or(Peer::Ip(address)))
}

async fn tls_accept(
    stream: TcpStream,
    acceptor: TlsAcceptor,
) -> Result<TlsStream<TcpStream>, HandshakeError> {
    match acceptor.accept(stream).into_fallible().await {
        Ok(stream) => Ok(stream),
        Err((error, mut stream)) => {
            // The alert is on its way; it must not be overtaken by a reset.
            if stream.shutdown().await.is_ok() {
                linger(&mut stream).await;
            }
            Err(HandshakeError::Tls(error))
        }
    }
}
