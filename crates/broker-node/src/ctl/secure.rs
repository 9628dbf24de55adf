//! What `quelea ctl` shows to a node, and what it wants to be shown: a token, and certificates. Read once, at its start; used for
//! each connection. A token never goes over a network that somebody may read along.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, ensure};
use clap::Args;
use http::HeaderValue;
use node_routing::security::{BoxIo, Security};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use crate::cluster::ClusterKeys;
use crate::config::{Flags, Source};
use crate::pem::{certificates, certified_key};

#[derive(Debug, Args)]
pub(super) struct SecureArgs {
    /// A file with the token to show, as quelea token prints it
    #[arg(long, value_name = "FILE", env = "QUELEA_TOKEN_FILE", global = true)]
    token_file: Option<PathBuf>,
    /// The authority of the node's certificate (PEM): speak TLS
    #[arg(long, value_name = "FILE", env = "QUELEA_CA", global = true)]
    ca: Option<PathBuf>,
    /// The name in the node's certificate, where that is not the host that is connected to
    #[arg(long, value_name = "NAME", requires = "ca", global = true)]
    server_name: Option<String>,
    /// A certificate to show (PEM), where the node wants one
    #[arg(long, value_name = "FILE", requires = "ca", requires = "key", global = true)]
    certificate: Option<PathBuf>,
    /// Its key
    #[arg(long, value_name = "FILE", requires = "certificate", global = true)]
    key: Option<PathBuf>,
    /// The configuration of a node (TOML): show what nodes with it know each other by (admin.cluster_listen)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["ca", "token_file"], global = true)]
    as_node: Option<PathBuf>,
}

/// What is shown to nodes.
#[derive(Clone)]
pub(super) struct Secure {
    /// What each request carries.
    pub(super) authorization: Option<HeaderValue>,
    tls: Option<TlsConnector>,
    server_name: Option<String>,
    /// What is around connections of nodes.
    as_node: Option<Arc<dyn Security>>,
}

impl SecureArgs {
    /// Reads the files.
    ///
    /// # Errors
    /// One of them cannot be used.
    pub(super) fn open(&self) -> anyhow::Result<Secure> {
        let tls = self.ca.as_deref().map(|ca| self.tls(ca)).transpose()?;
        let authorization = self.token_file.as_deref().map(authorization).transpose()?;
        let as_node = self.as_node.clone().map(security).transpose()?;
        Ok(Secure { authorization, tls, server_name: self.server_name.clone(), as_node })
    }

    fn tls(&self, ca: &Path) -> anyhow::Result<TlsConnector> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(ca)? {
            let added = roots.add(certificate);
            added.with_context(|| format!("{} is no authority's certificate", ca.display()))?;
        }
        let provider = default_provider();
        let own = match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => Some(certified_key(certificate, key, &provider)?),
            _ => None,
        };
        let builder = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&TLS13, &TLS12])?
            .with_root_certificates(roots);
        let mut config = match own {
            Some(own) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(own))),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Arc::new(config).into())
    }
}

/// What is around connections between nodes with this configuration.
fn security(file: PathBuf) -> anyhow::Result<Arc<dyn Security>> {
    let settings = Source::new(Some(file), Flags::default()).load()?;
    let keys = ClusterKeys::open(&settings)?;
    let keys =
        keys.context("nodes with this configuration know each other by nothing: set cluster.secret_file")?;
    Ok(keys.security())
}

fn authorization(file: &Path) -> anyhow::Result<HeaderValue> {
    let failed = || format!("cannot read {}", file.display());
    let text = Zeroizing::new(fs::read_to_string(file).with_context(failed)?);
    ensure!(!text.trim().is_empty(), "{} holds no token", file.display());
    let header = Zeroizing::new(format!("Bearer {}", text.trim()));
    let header = HeaderValue::from_str(&header).ok();
    let mut header = header.with_context(|| format!("{} holds no token", file.display()))?;
    header.set_sensitive(true);
    Ok(header)
}

impl Secure {
    /// What is put around a connection to a node, `host:port`.
    ///
    /// # Errors
    /// It is not who was meant, or would be shown a token that others can read.
    pub(super) async fn around(&self, stream: TcpStream, node: &str) -> io::Result<BoxIo> {
        if let Some(security) = &self.as_node {
            return Ok(security.dialed(stream).await?.io);
        }
        let Some(tls) = &self.tls else {
            let is_local = stream.peer_addr()?.ip().to_canonical().is_loopback();
            if self.authorization.is_some() && !is_local {
                return Err(io::Error::other("a token is sent over TLS only: --ca FILE"));
            }
            return Ok(Box::new(stream));
        };
        let host = node.rsplit_once(':').map_or(node, |(host, _)| host);
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let name = self.server_name.as_deref().unwrap_or(host).to_owned();
        let name = ServerName::try_from(name).map_err(io::Error::other)?;
        Ok(Box::new(tls.connect(name, stream).await?))
    }
}
