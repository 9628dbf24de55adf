//! Keys that are fetched: a JWKS by HTTP, again from time to time, and soon where a token names a key that is not there. What cannot
//! be fetched leaves what was there. One task a node; logins ask it and wait a while.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use http::header::{ACCEPT, HOST, USER_AGENT};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use node_routing::security::BoxIo;
use parking_lot::RwLock;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tracing::{info, warn};

use super::keys::Keys;
use crate::access::file::BadFile;
use crate::config::JwtSettings;
use crate::pem::certificates;

/// How long all of a fetch may take, and how long a login waits for one.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// How long nothing is fetched after a fetch, whatever tokens name.
const REST: Duration = Duration::from_secs(5);
/// When it is tried again at the latest if it failed.
const RETRY_MAX: Duration = Duration::from_secs(30);
/// Bytes of a JWKS at most.
const BYTES_MAX: usize = 256 << 10;
/// Where Debian and its relatives keep the certificates that they trust, and where others do.
const SYSTEM_AUTHORITIES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// A JWKS somewhere else.
#[derive(Debug)]
pub(crate) struct Remote {
    url: Uri,
    /// Read for each fetch: authorities may be replaced.
    authorities: Option<PathBuf>,
    refresh: Duration,
    current: RwLock<Arc<Keys>>,
    stale: AtomicBool,
    /// Whether nothing is fetched for a while.
    rests: AtomicBool,
    asked: Notify,
    /// Counts the fetches that are over.
    fetches: watch::Sender<u64>,
}

impl Remote {
    /// One that has fetched nothing yet; `None` where nothing is to be fetched.
    ///
    /// # Errors
    /// The file with the authorities cannot be used.
    pub(super) fn open(settings: &JwtSettings) -> Result<Option<Self>, BadFile> {
        // The check of the settings has read it before.
        let Some(url) = settings.jwks_url.as_ref().and_then(|url| url.parse().ok()) else { return Ok(None) };
        if let Some(path) = &settings.jwks_ca {
            let opened = connector(Some(path));
            opened.map_err(|why| BadFile::Content { path: path.clone(), why: format!("{why:#}") })?;
        }
        Ok(Some(Self {
            url,
            authorities: settings.jwks_ca.clone(),
            refresh: settings.jwks_refresh,
            current: RwLock::default(),
            stale: AtomicBool::new(false),
            rests: AtomicBool::new(false),
            asked: Notify::new(),
            fetches: watch::Sender::new(0),
        }))
    }

    /// The keys that were fetched last.
    pub(super) fn current(&self) -> Arc<Keys> {
        Arc::clone(&self.current.read())
    }

    /// Whether the last fetch failed.
    pub(super) fn is_stale(&self) -> bool {
        self.stale.load(Ordering::Relaxed)
    }

    /// Has the keys fetched and waits for them, unless that was done just now.
    pub(super) async fn look_again(&self) {
        // First: what is fetched from here on counts.
        let mut fetches = self.fetches.subscribe();
        if !self.rests.load(Ordering::Acquire) {
            self.asked.notify_one();
            // Whatever came of it: the keys are looked at again.
            let _over = timeout(FETCH_TIMEOUT, fetches.changed()).await;
        }
    }

    /// Fetches keys until it is dropped; `changed` wakes whoever has to look again.
    pub(in crate::access) async fn run(&self, changed: impl Fn()) {
        loop {
            if self.fetch_once().await {
                changed();
            }
            self.rests.store(true, Ordering::Release);
            self.fetches.send_modify(|count| *count = count.wrapping_add(1));
            let next = if self.is_stale() { self.refresh.min(RETRY_MAX) } else { self.refresh };
            sleep(REST.min(next)).await;
            self.rests.store(false, Ordering::Release);
            tokio::select! {
                () = self.asked.notified() => {}
                () = sleep(next.saturating_sub(REST)) => {}
            }
        }
    }

    /// Says whether other keys are in force now.
    async fn fetch_once(&self) -> bool {
        let fetched = timeout(FETCH_TIMEOUT, self.fetch()).await;
        let fetched = fetched.unwrap_or_else(|_elapsed| Err(anyhow::anyhow!("nothing came in time")));
        let was_stale = self.stale.swap(fetched.is_err(), Ordering::Relaxed);
        match fetched {
            Ok(keys) => {
                let other = *self.current() != keys;
                if other || was_stale {
                    info!(target: "quelea::access", url = %self.url, keys = keys.len(), "keys of tokens fetched");
                }
                *self.current.write() = Arc::new(keys);
                other
            }
            Err(error) => {
                let error = format!("{error:#}");
                warn!(target: "quelea::access", url = %self.url, error, "keys of tokens not fetched, what was fetched before stays in force");
                false
            }
        }
    }

    async fn fetch(&self) -> anyhow::Result<Keys> {
        let stream = self.connect().await?;
        let (mut requests, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // Ends with this function.
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        let host = self.url.authority().context("the URL names no host")?.as_str();
        let path = self.url.path_and_query().map_or("/", |path| path.as_str());
        let request = Request::get(path)
            .header(HOST, host)
            .header(ACCEPT, "application/jwk-set+json, application/json")
            .header(USER_AGENT, concat!("quelea/", env!("CARGO_PKG_VERSION")))
            .body(Empty::<Bytes>::new())?;
        let response = requests.send_request(request).await?;
        // Nor is any other place gone to that it might name.
        ensure!(response.status() == StatusCode::OK, "the answer is {}, expected 200 OK", response.status());
        let body = Limited::new(response.into_body(), BYTES_MAX).collect().await;
        let body =
            body.map_err(|error| anyhow::anyhow!("the answer broke off, or has more than 256 KiB: {error}"))?;
        Keys::parse_set(&body.to_bytes()).map_err(anyhow::Error::msg)
    }

    async fn connect(&self) -> anyhow::Result<BoxIo> {
        let secure = self.url.scheme_str() == Some("https");
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
        let found = found.context("the system has no authorities that it trusts: set auth.jwt.jwks_ca")?;
        // Some of what systems trust may be too old to be read.
        roots.add_parsable_certificates(certificates(found)?);
    }
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config).into())
}
