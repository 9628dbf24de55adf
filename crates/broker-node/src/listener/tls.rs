//! The certificates of one listener: loaded from files, chosen by name, and read again when the files change.
//! `handshake` takes the current configuration for each connection; connections that exist keep theirs.
//! There is no early data (0-RTT), no renegotiation and nothing older than TLS 1.2.

use crate::{
    config::{Protocol, TlsFiles},
    stop::Stop,
};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier, danger::ClientCertVerifier},
    sign::CertifiedKey,
};
use std::{
    collections::{HashMap, hash_map::DefaultHasher},
    fs,
    hash::{Hash, Hasher},
    io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    task::spawn_blocking,
    time::sleep,
};
use tokio_rustls::TlsAcceptor;
use tracing::{info, warn};

/// How often the files are looked at.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// Certificates that cannot be used, with the file to look at.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file does not hold what it should.
    #[error("{} holds no usable {what}: {why}", path.display())]
    Content {
        /// Which file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// A certificate and a key that are not a pair.
    #[error("the key in {} does not belong to the certificate in {}", key.display(), certificate.display())]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// The protocol versions or parameters do not go together.
    #[error("tls cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
}

/// The TLS of one listener.
pub(super) struct Tls {
    files: TlsFiles,
    protocol: Protocol,
    /// The fingerprint of the files at the start.
    loaded: u64,
    current: RwLock<Arc<ServerConfig>>,
}

impl Tls {
    /// Reads all files.
    pub(super) fn load(files: TlsFiles, protocol: Protocol) -> Result<Self, TlsError> {
        let loaded = fingerprint(&files);
        let current = RwLock::new(Arc::new(build(&files, protocol)?));
        Ok(Self { files, protocol, loaded, current })
    }

    /// What the next connection is accepted with.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner)).into()
    }

    /// Reads the files again, when their content has changed and on SIGHUP, until the node stops. What cannot be used
    /// leaves the old in force.
    pub(super) async fn watch(self: Arc<Self>, listener: String, mut stop: Stop) {
        let Ok(mut hangup) = signal(SignalKind::hangup()) else {
            warn!(target: "quelea::listener", listener, "certificates are not reloaded: no signal handler");
            return;
        };
        let mut seen = None;
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
        }
    }

    /// Reloads if `forced` or if the files are not those `seen` last, at first those of the start; gives what is seen.
    fn look(&self, listener: &str, seen: Option<u64>, forced: bool) -> u64 {
        let found = fingerprint(&self.files);
        if forced || found != seen.unwrap_or(self.loaded) {
            self.reload(listener);
        }
        found
    }

    fn reload(&self, listener: &str) {
        match build(&self.files, self.protocol) {
            Ok(config) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
                info!(target: "quelea::listener", listener, "certificates reloaded");
            }
            Err(error) => {
                warn!(target: "quelea::listener", listener, %error, "certificates not reloaded, the old ones stay");
            }
        }
    }
}

/// Changes with the content of any file, however it is replaced; a file that cannot be read counts as empty.
fn fingerprint(files: &TlsFiles) -> u64 {
    let mut hasher = DefaultHasher::new();
    let pairs = files.sni.iter().flat_map(|one| [&one.certificate, &one.key]);
    let all =
        [&files.certificate, &files.key].into_iter().chain(&files.client_ca).chain(&files.crl).chain(pairs);
    for path in all {
        fs::read(path).unwrap_or_default().hash(&mut hasher);
    }
    hasher.finish()
}

fn build(files: &TlsFiles, protocol: Protocol) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let resolver = Arc::new(Resolver::load(files, &provider)?);
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?;
    let builder = match client_verifier(files, provider)? {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(resolver);
    config.ticketer = ring::Ticketer::new()?;
    // One is enough to resume, and each costs a connection that may stay idle for long its share of memory.
    config.send_tls13_tickets = 1;
    // Who names no protocol is let in; who names only others speaks to the wrong port.
    let alpn: &[u8] = if protocol == Protocol::Wss { b"http/1.1" } else { b"mqtt" };
    config.alpn_protocols = vec![alpn.to_vec()];
    Ok(config)
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
        let lists: Vec<CertificateRevocationListDer<'static>> = pem_items(crl, "revocation list")?;
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

fn certified_key(
    certificate: &Path,
    key: &Path,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, TlsError> {
    let unusable = |why: String| TlsError::Content { path: key.into(), what: "private key", why };
    let chain = certificates(certificate)?;
    let der = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|error| unusable(error.to_string()))?;
    let signing = provider.key_provider.load_private_key(der).map_err(|error| unusable(error.to_string()))?;
    let certified = CertifiedKey::new(chain, signing);
    match certified.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => Ok(certified),
        Err(rustls::Error::InconsistentKeys(_)) => {
            Err(TlsError::Mismatch { certificate: certificate.into(), key: key.into() })
        }
        Err(error) => {
            let why = error.to_string();
            Err(TlsError::Content { path: certificate.into(), what: "certificate", why })
        }
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    pem_items(path, "certificate")
}

/// All items of one kind in a PEM file; at least one.
fn pem_items<T: PemObject>(path: &Path, what: &'static str) -> Result<Vec<T>, TlsError> {
    let unusable = |why: String| TlsError::Content { path: path.into(), what, why };
    let items: Result<Vec<T>, _> = T::pem_slice_iter(&read(path)?).collect();
    let items = items.map_err(|error| unusable(error.to_string()))?;
    if items.is_empty() {
        return Err(unusable("no PEM section of that kind".into()));
    }
    Ok(items)
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|source| TlsError::Read { path: path.into(), source })
}
