//! TLS 1.3 between nodes, each of which shows the other that it is one: what is put around connections of a node that other
//! machines reach. Its keys can be replaced at any time; connections that exist keep theirs. Nothing is resumed: each
//! connection is held against the keys of its time.

use std::io;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use parking_lot::RwLock;
use rustls::client::{AlwaysResolvesClientRawPublicKeys, ResolvesClientCert, Resumption};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer};
use rustls::server::{AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::TLS13;
use rustls::{CertificateError, ClientConfig, Error, OtherError, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::verifier::{Authorities, Trust, Verifier};
use super::{BadKeys, Certificates, Secret, Secured, Security, Who};

/// What is spoken inside, so that no other server of the same certificate is taken for a node.
const ALPN: &[u8] = b"quelea-nodes";

/// What a node shows to others, and wants to be shown.
pub enum Keys {
    /// That it has a secret: the first of these; of others any.
    Secrets(Vec<Secret>),
    /// A certificate.
    Certificates(Certificates),
}

/// What connections are made with.
struct Ends {
    connector: TlsConnector,
    acceptor: TlsAcceptor,
    verifier: Arc<Verifier>,
}

/// Mutually authenticated TLS.
pub struct Guarded(RwLock<Arc<Ends>>);

impl Guarded {
    /// With these keys.
    ///
    /// # Errors
    /// They cannot be used.
    pub fn new(keys: &Keys) -> Result<Self, BadKeys> {
        Ok(Self(RwLock::new(Arc::new(Ends::new(keys)?))))
    }

    /// Takes other keys for connections that are made from now on.
    ///
    /// # Errors
    /// They cannot be used; those before stay.
    pub fn replace(&self, keys: &Keys) -> Result<(), BadKeys> {
        *self.0.write() = Arc::new(Ends::new(keys)?);
        Ok(())
    }

    fn ends(&self) -> Arc<Ends> {
        Arc::clone(&self.0.read())
    }
}

impl Ends {
    fn new(keys: &Keys) -> Result<Self, BadKeys> {
        let (trust, own) = match keys {
            Keys::Secrets(secrets) => {
                let keys = secrets.iter().map(Secret::key).collect::<Result<Vec<_>, _>>()?;
                let public =
                    |key: &Arc<CertifiedKey>| key.key.public_key().map(SubjectPublicKeyInfoDer::into_owned);
                let own = keys.first().cloned().ok_or(BadKeys::NoPublicHalf)?;
                (Trust::Keys(keys.iter().filter_map(public).collect()), own)
            }
            Keys::Certificates(certificates) => {
                (Trust::Authorities(Authorities::of(certificates)?), Arc::clone(&certificates.own))
            }
        };
        let raw = matches!(trust, Trust::Keys(_));
        let verifier = Arc::new(Verifier(trust));
        let client = client(&verifier, &own, raw)?;
        let server = server(&verifier, own, raw)?;
        Ok(Self { connector: client.into(), acceptor: server.into(), verifier })
    }
}

fn client(verifier: &Arc<Verifier>, own: &Arc<CertifiedKey>, raw: bool) -> Result<Arc<ClientConfig>, Error> {
    let shows: Arc<dyn ResolvesClientCert> = match raw {
        true => Arc::new(AlwaysResolvesClientRawPublicKeys::new(Arc::clone(own))),
        false => Arc::new(SingleCertAndKey::from(Arc::clone(own))),
    };
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(verifier) as _)
        .with_client_cert_resolver(shows);
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.enable_sni = false;
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

fn server(verifier: &Arc<Verifier>, own: Arc<CertifiedKey>, raw: bool) -> Result<Arc<ServerConfig>, Error> {
    let shows: Arc<dyn ResolvesServerCert> = match raw {
        true => Arc::new(AlwaysResolvesServerRawPublicKeys::new(own)),
        false => Arc::new(SingleCertAndKey::from(own)),
    };
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(Arc::clone(verifier) as _)
        .with_cert_resolver(shows);
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// Who is at the other end, once both have agreed on what is spoken.
fn met(ends: &Ends, (spoken, shown): (Option<&[u8]>, Option<&[CertificateDer<'_>]>)) -> io::Result<Who> {
    match spoken {
        Some(ALPN) => Ok(ends.verifier.who(shown)),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "it speaks TLS, but not as nodes do")),
    }
}

/// What went wrong, in words for whoever administers the nodes.
fn explain(error: io::Error) -> io::Error {
    let kind = error.kind();
    let words = match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(Error::InvalidCertificate(CertificateError::Other(OtherError(why)))) => why.to_string(),
        Some(Error::InvalidMessage(_)) => "it does not speak TLS".to_owned(),
        Some(Error::AlertReceived(alert)) => format!("it refused what this node shows ({alert:?})"),
        Some(other) => other.to_string(),
        None => return error,
    };
    io::Error::new(kind, words)
}

impl Security for Guarded {
    fn dialed(&self, stream: TcpStream) -> BoxFuture<'static, io::Result<Secured>> {
        let ends = self.ends();
        Box::pin(async move {
            // No name is asked for: who is meant is found out from what the other end shows.
            let nobody = ServerName::IpAddress(std::net::Ipv4Addr::UNSPECIFIED.into());
            let io = ends.connector.connect(nobody, stream).await.map_err(explain)?;
            let of = io.get_ref().1;
            let who = met(&ends, (of.alpn_protocol(), of.peer_certificates()))?;
            Ok(Secured { io: Box::new(io), who })
        })
    }

    fn accepted(&self, stream: TcpStream) -> BoxFuture<'static, io::Result<Secured>> {
        let ends = self.ends();
        Box::pin(async move {
            let io = ends.acceptor.accept(stream).await.map_err(explain)?;
            let of = io.get_ref().1;
            let who = met(&ends, (of.alpn_protocol(), of.peer_certificates()))?;
            Ok(Secured { io: Box::new(io), who })
        })
    }
}
