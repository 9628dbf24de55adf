//! Where the connections go: names resolved once, plain TCP or TLS on top of it.
//! Made by `coordinator`, used for each connection by `wire`. It knows nothing of MQTT.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use anyhow::Context as _;
use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::args::ClientArgs;

/// Where Debian and its relatives keep the certificates that they trust.
const SYSTEM_AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// The brokers of a run.
pub(super) struct Endpoints {
    brokers: Vec<Broker>,
    tls: Option<TlsConnector>,
}

struct Broker {
    addresses: Vec<SocketAddr>,
    name: Option<ServerName<'static>>,
}

impl Endpoints {
    /// Resolves all names and reads all certificates.
    ///
    /// # Errors
    /// The name or the file that is at fault.
    pub(super) async fn open(args: &ClientArgs) -> anyhow::Result<Self> {
        let tls = if args.tls { Some(connector(args)?) } else { None };
        let mut brokers = Vec::new();
        for text in &args.host {
            let (host, port) = split(text, if args.tls { 8883 } else { 1883 })?;
            let addresses = tokio::net::lookup_host((host, port))
                .await
                .with_context(|| format!("cannot resolve {host}"))?
                .collect();
            let name = args.server_name.as_deref().unwrap_or(host).to_owned();
            let name = args.tls.then(|| ServerName::try_from(name)).transpose();
            brokers
                .push(Broker { addresses, name: name.with_context(|| format!("{host} is no server name"))? });
        }
        Ok(Self { brokers, tls })
    }

    /// Connects connection `number`; its broker is the next in turn.
    pub(super) async fn connect(&self, number: usize) -> io::Result<Stream> {
        let broker = self.brokers.get(number % self.brokers.len().max(1));
        let broker = broker.ok_or_else(|| io::Error::other("no broker was given"))?;
        let stream = TcpStream::connect(broker.addresses.as_slice()).await?;
        stream.set_nodelay(true)?;
        match (&self.tls, &broker.name) {
            (Some(tls), Some(name)) => Ok(Stream::Tls(Box::new(tls.connect(name.clone(), stream).await?))),
            _ => Ok(Stream::Plain(stream)),
        }
    }
}

/// A connected socket.
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// Appends what has arrived to `buffer`; 0 bytes is the end.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut BytesMut,
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(stream) => read(stream, cx, buffer),
            Self::Tls(stream) => read(stream.as_mut(), cx, buffer),
        }
    }

    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_write(cx, bytes),
        }
    }

    /// Sends what TLS still holds.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        }
    }

    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
        }
    }
}

fn read<S: AsyncRead + Unpin>(
    stream: &mut S,
    cx: &mut Context<'_>,
    buffer: &mut BytesMut,
) -> Poll<io::Result<usize>> {
    pin!(stream.read_buf(buffer)).poll(cx)
}

/// Host and port of `HOST`, `HOST:PORT`, `[IPV6]:PORT` or a bare IPv6 address.
///
/// # Errors
/// What was expected, where it is none of these.
pub(super) fn split(text: &str, port_default: u16) -> anyhow::Result<(&str, u16)> {
    let expected = || format!("--host: expected HOST or HOST:PORT, found {text:?}");
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').with_context(expected)?;
            (host, if rest.is_empty() { None } else { Some(rest.strip_prefix(':').with_context(expected)?) })
        }
        None if text.matches(':').count() > 1 => (text, None),
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let port = port.map_or(Ok(port_default), str::parse).with_context(expected)?;
    anyhow::ensure!(!host.is_empty() && port != 0, expected());
    Ok((host, port))
}

fn connector(args: &ClientArgs) -> anyhow::Result<TlsConnector> {
    let file = args.ca.as_deref().unwrap_or(Path::new(SYSTEM_AUTHORITIES));
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        roots
            .add(certificate)
            .with_context(|| format!("a certificate in {} is no authority", file.display()))?;
    }
    anyhow::ensure!(!roots.is_empty(), "expected certificates in PEM in {}, found none", file.display());
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let mut config = match (&args.cert, &args.key) {
        (Some(chain), Some(key)) => {
            let key = PrivateKeyDer::from_pem_file(key)
                .with_context(|| format!("cannot read a private key in PEM from {}", key.display()))?;
            config.with_client_auth_cert(certificates(chain)?, key)?
        }
        _ => config.with_no_client_auth(),
    };
    // Each connection pays its whole handshake, as those of separate devices do.
    config.resumption = Resumption::disabled();
    Ok(TlsConnector::from(Arc::new(config)))
}

fn certificates(file: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect)
        .with_context(|| format!("cannot read certificates in PEM from {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_hosts_and_ports() {
        let ok = |text| split(text, 1883).expect("a good host");
        assert_eq!(ok("localhost"), ("localhost", 1883));
        assert_eq!(ok("broker:1884"), ("broker", 1884));
        assert_eq!(ok("::1"), ("::1", 1883));
        assert_eq!(ok("[::1]"), ("::1", 1883));
        assert_eq!(ok("[::1]:8883"), ("::1", 8883));
        for bad in ["", ":1883", "host:", "host:x", "host:0", "host:99999", "[::1", "[::1]1883"] {
            assert!(split(bad, 1883).is_err(), "{bad}");
        }
    }
}
