//! The certificates of one listener: loaded from files, chosen by name, and read again when the files change.
//! `handshake` takes the current configuration for each connection; connections that exist keep theirs, and ask by `trust`
//! whether their clients' certificates are still accepted.
//! There is no early data (0-RTT), no renegotiation and nothing older than TLS 1.2.

use crate::{
    config::TlsFiles,
    pem::{TlsError, certificates, certified_key, fingerprint, items},
    stop::Stop,
};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime},
    server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier, danger::ClientCertVerifier},
    sign::CertifiedKey,
};
use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    task::spawn_blocking,
    time::sleep,
};
use tokio_rustls::TlsAcceptor;
use tracing::{info, warn};

/// How often the files are looked at: who is revoked has to be gone within a second.
const WATCH_EVERY: Duration = Duration::from_millis(250);

/// The TLS of one listener.
pub(crate) struct Tls {
    files: TlsFiles,
    alpn: &'static [u8],
    /// The fingerprint of the files at the start.
    loaded: u64,
    current: RwLock<Current>,
    /// How often they were read again; grows behind that.
    version: AtomicU64,
}

/// What the files say now.
#[derive(Clone)]
struct Current {
    config: Arc<ServerConfig>,
    /// Which certificates of clients are accepted, where they have to show some.
    clients: Option<Arc<dyn ClientCertVerifier>>,
}

impl Tls {
    /// Reads all files. `alpn` is what is spoken inside.
    ///
    /// # Errors
    /// One of them cannot be used.
    pub(crate) fn load(files: TlsFiles, alpn: &'static [u8]) -> Result<Self, TlsError> {
        let loaded = all_of(&files);
        let current = RwLock::new(build(&files, alpn)?);
        Ok(Self { files, alpn, loaded, current, version: AtomicU64::new(0) })
    }

    /// Whether clients have to show a certificate.
    pub(super) fn asks_clients(&self) -> bool {
        self.files.client_ca.is_some()
    }

    /// Changes when other files are in force. To be read before what depends on them.
    pub(super) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Whether a client that shows these certificates, its own first, would be let in now.
    pub(super) fn accepts(&self, certificates: &[CertificateDer<'_>]) -> bool {
        let (Some(clients), Some((own, others))) = (self.current().clients, certificates.split_first())
        else {
            return !self.asks_clients();
        };
        clients.verify_client_cert(own, others, UnixTime::now()).is_ok()
    }

    fn current(&self) -> Current {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the next connection is accepted with.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        self.current().config.into()
    }

    /// Reads the files again, when their content has changed and on SIGHUP, until the node stops, and has `changed` wake who
    /// has to look again. What cannot be used leaves the old in force.
    pub(crate) async fn watch(self: Arc<Self>, listener: String, mut stop: Stop, changed: impl Fn()) {
        let Ok(mut hangup) = signal(SignalKind::hangup()) else {
            warn!(target: "quelea::listener", listener, "certificates are not reloaded: no signal handler");
            return;
        };
        let (mut seen, mut version) = (None, self.version());
        loop {
            let forced = tokio::select! {
                () = stop.requested() => return,
                _ = hangup.recv() => true,
                () = sleep(WATCH_EVERY) => false,
            };
            let (this, name) = (Arc::clone(&self), listener.clone());
            // Off the runtime's threads, as files may be slow.
            let looked = spawn_blocking(move || this.look(&name, seen, forced)).await;
            seen = looked.ok().or(seen);
            if std::mem::replace(&mut version, self.version()) != version {
                changed();
            }
        }
    }

    /// Reloads if `forced` or if the files are not those `seen` last, at first those of the start; gives what is seen.
    fn look(&self, listener: &str, seen: Option<u64>, forced: bool) -> u64 {
        let found = all_of(&self.files);
        if forced || found != seen.unwrap_or(self.loaded) {
            self.reload(listener);
        }
        found
    }

    fn reload(&self, listener: &str) {
        match build(&self.files, self.alpn) {
            Ok(current) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = current;
                self.version.fetch_add(1, Ordering::Release);
                info!(target: "quelea::listener", listener, "certificates reloaded");
            }
            Err(error) => {
                warn!(target: "quelea::listener", listener, %error, "certificates not reloaded, the old ones stay");
            }
        }
    }
}

/// What its files are like.
fn all_of(files: &TlsFiles) -> u64 {
    let pairs = files.sni.iter().flat_map(|one| [&one.certificate, &one.key]);
    let all =
        [&files.certificate, &files.key].into_iter().chain(&files.client_ca).chain(&files.crl).chain(pairs);
    fingerprint(all)
}

fn build(files: &TlsFiles, alpn: &[u8]) -> Result<Current, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let resolver = Arc::new(Resolver::load(files, &provider)?);
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?;
    let clients = client_verifier(files, provider)?;
    let builder = match &clients {
        Some(clients) => builder.with_client_cert_verifier(Arc::clone(clients)),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(resolver);
    config.ticketer = ring::Ticketer::new()?;
    // One is enough to resume, and each costs a connection that may stay idle for long its share of memory.
    config.send_tls13_tickets = 1;
    // Who names no protocol is let in; who names only others speaks to the wrong port.
    config.alpn_protocols = vec![alpn.to_vec()];
    Ok(Current { config: Arc::new(config), clients })
}

fn client_verifier(
    files: &TlsFiles,
    provider: Arc<CryptoProvider>,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
    let Some(path) = &files.client_ca else { return Ok(None) };
    let unusable = |why: String| TlsError::Content { path: path.clone(), what: "authority certificate", why };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
    }
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    if let Some(crl) = &files.crl {
        let lists: Vec<CertificateRevocationListDer<'static>> = items(crl, "revocation list")?;
        builder = builder.with_crls(lists).only_check_end_entity_revocation();
    }
    builder.build().map(Some).map_err(|error| unusable(error.to_string()))
}

/// Chooses the certificate for the name that a client asks for.
#[derive(Debug)]
struct Resolver {
    default: Arc<CertifiedKey>,
    /// By name in lower case; `*.example.org` is kept as it is written.
    named: HashMap<String, Arc<CertifiedKey>>,
}

impl Resolver {
    fn load(files: &TlsFiles, provider: &CryptoProvider) -> Result<Self, TlsError> {
        let default = Arc::new(certified_key(&files.certificate, &files.key, provider)?);
        let mut named = HashMap::new();
        for one in &files.sni {
            let key = Arc::new(certified_key(&one.certificate, &one.key, provider)?);
            named.extend(one.names.iter().map(|name| (name.to_ascii_lowercase(), Arc::clone(&key))));
        }
        Ok(Self { default, named })
    }

    fn find(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        let name = name.to_ascii_lowercase();
        let wildcard = || name.split_once('.').map(|(_, parent)| format!("*.{parent}"));
        self.named.get(&name).or_else(|| self.named.get(&wildcard()?))
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = hello.server_name().and_then(|name| self.find(name));
        Some(Arc::clone(named.unwrap_or(&self.default)))
    }
}
