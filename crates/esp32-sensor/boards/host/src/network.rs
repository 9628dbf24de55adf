//! This machine's network as the device's: TCP, and TLS where a certificate authority is given.
//! Used by `main`. It never trusts a broker that does not prove its name.

use std::sync::Arc;

use embedded_io_adapters::tokio_1::FromTokio;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use sensor_core::{Broker, DialError, Dialer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio_rustls::TlsConnector;

/// What a connection is made of, with or without TLS.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

/// Dials brokers.
pub(crate) struct Network {
    tls: Option<Arc<ClientConfig>>,
}

impl Network {
    /// Without `tls` no broker is reached over TLS.
    pub(crate) fn new(tls: Option<Arc<ClientConfig>>) -> Self {
        Self { tls }
    }
}

impl Dialer for Network {
    type Io<'a> = FromTokio<Box<dyn Stream>>;

    async fn dial(&mut self, broker: &Broker<'_>) -> Result<Self::Io<'_>, DialError> {
        let stream = connect(broker).await?;
        if !broker.tls {
            return Ok(FromTokio::new(Box::new(stream)));
        }
        let connector = TlsConnector::from(self.tls.clone().ok_or(DialError::Tls)?);
        let name = ServerName::try_from(broker.host.to_owned()).map_err(|_| DialError::Tls)?;
        let stream = connector.connect(name, stream).await.map_err(|_| DialError::Tls)?;
        Ok(FromTokio::new(Box::new(stream)))
    }
}

/// The first of the broker's addresses that answers.
async fn connect(broker: &Broker<'_>) -> Result<TcpStream, DialError> {
    let addresses = lookup_host((broker.host, broker.port)).await.map_err(|_| DialError::Name)?;
    for address in addresses {
        if let Ok(stream) = TcpStream::connect(address).await {
            // Packets are small, and each is to leave at once; without it they leave a little later.
            let _as_it_was = stream.set_nodelay(true);
            return Ok(stream);
        }
    }
    Err(DialError::Unreachable)
}

/// Trusts the authorities in a PEM file, and no others.
///
/// # Errors
/// In words, when there is no certificate in the file.
pub(crate) fn trust(file: &str) -> Result<Arc<ClientConfig>, String> {
    let named = |error: &dyn std::fmt::Display| format!("{file}: {error}");
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| named(&error))? {
        let certificate = certificate.map_err(|error| named(&error))?;
        roots.add(certificate).map_err(|error| named(&error))?;
    }
    if roots.is_empty() {
        return Err(named(&"no certificate in it"));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| named(&error))?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}
