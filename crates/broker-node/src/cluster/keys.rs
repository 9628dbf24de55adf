//! By what this node and others know each other: secrets or certificates from files, read again when these change. Opened with
//! the port for nodes; what cannot be used leaves what was in force, and connections that are there stay.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use node_routing::security::{BadKeys, BadSecret, Certificates, Guarded, Keys, Secret, Security};
use rustls::crypto::ring;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tracing::{info, warn};
use zeroize::Zeroizing;

use crate::config::{ClusterTls, SecretText, Settings};
use crate::pem::{TlsError, certificates, certified_key, fingerprint, items};

/// How often the files are looked at.
const WATCH_EVERY: Duration = Duration::from_secs(1);
/// Bytes of a file of secrets at most.
const SECRETS_BYTES_MAX: u64 = 64 << 10;

/// Why nodes could not know this one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeysError {
    /// A file of secrets cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file holds no secrets.
    #[error("{} is no file of secrets: {why}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        why: BadSecret,
    },
    /// What is configured is no secret.
    #[error("cluster.secret (environment: QUELEA__CLUSTER__SECRET) is no secret: {0}")]
    Secret(BadSecret),
    /// A file of certificates cannot be used.
    #[error("cluster.tls: {0}")]
    Files(#[from] TlsError),
    /// What is in the files cannot be used.
    #[error("cluster.tls: {0}")]
    Keys(#[from] BadKeys),
}

/// Where keys come from.
#[derive(Clone)]
enum Source {
    Secret(SecretText),
    SecretFile(PathBuf),
    Certificates { tls: Box<ClusterTls>, node: String },
}

/// By what nodes know each other.
#[derive(Clone)]
pub(crate) struct ClusterKeys {
    source: Source,
    guarded: Arc<Guarded>,
    /// What the files were like that were read at first.
    loaded: u64,
}

impl ClusterKeys {
    /// Reads what the configuration names; `None` where nodes are known by nothing, since only this machine reaches them.
    ///
    /// # Errors
    /// It cannot be used.
    pub(crate) fn open(settings: &Settings) -> Result<Option<Self>, KeysError> {
        let cluster = &settings.cluster;
        let source = match (&cluster.tls, &cluster.secret_file) {
            (Some(tls), _) => {
                Source::Certificates { tls: Box::new(tls.clone()), node: settings.node.name.clone() }
            }
            (None, Some(path)) => Source::SecretFile(path.clone()),
            (None, None) if cluster.secret.is_empty() => return Ok(None),
            (None, None) => Source::Secret(cluster.secret.clone()),
        };
        let loaded = fingerprint(source.files());
        let guarded = Arc::new(Guarded::new(&source.read()?)?);
        Ok(Some(Self { source, guarded, loaded }))
    }

    /// What is put around connections.
    pub(crate) fn security(&self) -> Arc<dyn Security> {
        Arc::clone(&self.guarded) as _
    }

    /// Reads the files again, when their content has changed and on SIGHUP, for as long as it is polled.
    pub(crate) async fn watch(self) {
        let Ok(mut hangup) = signal(SignalKind::hangup()) else {
            warn!(target: "quelea", "what nodes are known by is not reloaded: no signal handler");
            return;
        };
        let mut seen = self.loaded;
        while !self.source.files().is_empty() {
            let forced = tokio::select! {
                _ = hangup.recv() => true,
                () = sleep(WATCH_EVERY) => false,
            };
            let this = self.clone();
            // Off the runtime's threads, as files may be slow.
            let looked = spawn_blocking(move || this.look(seen, forced)).await;
            seen = looked.unwrap_or(seen);
        }
    }

    /// Reloads if `forced` or if the files are not those `seen` last; gives what is seen.
    fn look(&self, seen: u64, forced: bool) -> u64 {
        let found = fingerprint(self.source.files());
        if forced || found != seen {
            let replaced = self.source.read().and_then(|keys| Ok(self.guarded.replace(&keys)?));
            match replaced {
                Ok(()) => info!(target: "quelea", "what nodes are known by was reloaded"),
                Err(error) => {
                    warn!(target: "quelea", %error, "what nodes are known by was not reloaded, and stays as it was");
                }
            }
        }
        found
    }
}

impl Source {
    fn files(&self) -> Vec<&PathBuf> {
        match self {
            Self::Secret(_) => Vec::new(),
            Self::SecretFile(path) => vec![path],
            Self::Certificates { tls, .. } => {
                [&tls.certificate, &tls.key, &tls.ca].into_iter().chain(&tls.crl).collect()
            }
        }
    }

    fn read(&self) -> Result<Keys, KeysError> {
        match self {
            Self::Secret(text) => {
                Secret::parse_all(text.expose()).map(Keys::Secrets).map_err(KeysError::Secret)
            }
            Self::SecretFile(path) => {
                let text = read(path).map_err(|source| KeysError::Read { path: path.clone(), source })?;
                let secrets = Secret::parse_all(&text);
                secrets.map(Keys::Secrets).map_err(|why| KeysError::File { path: path.clone(), why })
            }
            Self::Certificates { tls, node } => {
                let provider = ring::default_provider();
                let own = Arc::new(certified_key(&tls.certificate, &tls.key, &provider)?);
                let authorities = certificates(&tls.ca)?;
                let revocations = tls.crl.as_ref().map(|path| items(path, "revocation list")).transpose()?;
                let (revocations, domain, node) =
                    (revocations.unwrap_or_default(), tls.domain.clone(), node.clone());
                Ok(Keys::Certificates(Certificates { own, authorities, revocations, domain, node }))
            }
        }
    }
}

fn read(path: &PathBuf) -> io::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    File::open(path)?.take(SECRETS_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}
