//! A server that is asked by HTTP/1.1, over TLS or not: for the keys of tokens by `jwt::remote`, about logins by `asker`. Each request
//! has a connection of its own; follows no redirection, and bounds what comes back. How long that may take its caller says.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, ensure};
use bytes::Bytes;
use http::header::{HOST, HeaderValue, USER_AGENT};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use node_routing::security::BoxIo;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::task::{JoinSet, spawn_blocking};
use tokio_rustls::TlsConnector;

use super::file::BadFile;
use crate::config::is_this_machine;
use crate::pem::certificates;

/// Where Debian and its relatives keep the certificates that they trust, and where others do.
const SYSTEM_AUTHORITIES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// A server, and where it is asked.
#[derive(Debug)]
pub(super) struct Server {
    /// Where it is.
    pub(super) url: Uri,
    /// Read for each request: authorities may be replaced.
    authorities: Option<PathBuf>,
    /// Bytes of an answer at most.
    bytes_max: usize,
}

impl Server {
    /// One that is asked nothing yet.
    ///
    /// # Errors
    /// The file with the authorities cannot be used.
    pub(super) fn open(url: Uri, authorities: Option<&Path>, bytes_max: usize) -> Result<Self, BadFile> {
        if let Some(path) = authorities {
            let opened = connector(Some(path));
            opened.map_err(|why| BadFile::Content { path: path.into(), why: format!("{why:#}") })?;
        }
        Ok(Self { url, authorities: authorities.map(Into::into), bytes_max })
    }

    /// The same at another place, with the same authorities and bounds.
    pub(super) fn at(&self, url: Uri) -> Self {
        Self { url, authorities: self.authorities.clone(), bytes_max: self.bytes_max }
    }

    /// Whether what is said to it, and what it says, can be read on the way from this machine.
    pub(super) fn is_in_the_clear(&self) -> bool {
        !self.is_secure() && !self.url.host().is_some_and(is_this_machine)
    }

    /// Whether it has to show who it is.
    pub(super) fn is_secure(&self) -> bool {
        self.url.scheme_str() == Some("https")
    }

    /// What it answers to a request, whose URL and host are put in here.
    ///
    /// # Errors
    /// It does not, or with anything but 200, or with more than may be.
    pub(super) async fn ask(&self, mut request: Request<Full<Bytes>>) -> anyhow::Result<Bytes> {
        let host = self.url.authority().context("the URL names no host")?.as_str();
        *request.uri_mut() = self.url.path_and_query().map_or("/", |path| path.as_str()).parse()?;
        let headers = request.headers_mut();
        headers.insert(HOST, HeaderValue::from_str(host)?);
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("quelea/", env!("CARGO_PKG_VERSION"))));
        let stream = self.connect().await?;
        let (mut requests, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // Ends with this function.
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        let response = requests.send_request(request).await?;
        // Nor is any other place gone to that it might name.
        ensure!(response.status() == StatusCode::OK, "the answer is {}, expected 200 OK", response.status());
        let body = Limited::new(response.into_body(), self.bytes_max).collect().await;
        let most = self.bytes_max >> 10;
        let broke = |error| anyhow::anyhow!("the answer broke off, or has more than {most} KiB: {error}");
        Ok(body.map_err(broke)?.to_bytes())
    }

    async fn connect(&self) -> anyhow::Result<BoxIo> {
        let secure = self.is_secure();
        let host = self.url.host().context("the URL names no host")?.trim_matches(['[', ']']);
        let port = self.url.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let stream = TcpStream::connect((host, port)).await.context("cannot connect")?;
        if !secure {
            return Ok(Box::new(stream));
        }
        let authorities = self.authorities.clone();
        let tls = spawn_blocking(move || connector(authorities.as_deref())).await??;
        let name = ServerName::try_from(host.to_owned())?;
        Ok(Box::new(tls.connect(name, stream).await.context("cannot agree on TLS")?))
    }
}

/// TLS that trusts the authorities of a file, or those that the system does.
fn connector(authorities: Option<&Path>) -> anyhow::Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    if let Some(file) = authorities {
        for certificate in certificates(file)? {
            roots.add(certificate).context("one of them is no authority's certificate")?;
        }
    } else {
        let found = SYSTEM_AUTHORITIES.iter().map(Path::new).find(|path| path.exists());
        let found = found
            .context("the system has no authorities that it trusts: set auth.jwt.jwks_ca, auth.introspection.ca or auth.http.ca")?;
        // Some of what systems trust may be too old to be read.
        roots.add_parsable_certificates(certificates(found)?);
    }
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config).into())
}
