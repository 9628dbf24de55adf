//! The keys of `[cluster]` by which nodes know each other: a secret that all of them share, or certificates. Read by
//! `cluster::keys`, which opens the files. What is a secret is never printed.

use super::{ClusterSettings, ConfigError};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{fmt, path::PathBuf};
use zeroize::Zeroizing;

/// What stands for a secret wherever settings are shown.
const HIDDEN: &str = "(hidden)";

/// A text that is never shown.
#[derive(Clone, Default, PartialEq)]
pub(crate) struct SecretText(Zeroizing<String>);

impl SecretText {
    /// The secret.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() { "none" } else { HIDDEN })
    }
}

impl Serialize for SecretText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(if self.is_empty() { "" } else { HIDDEN })
    }
}

impl<'d> Deserialize<'d> for SecretText {
    fn deserialize<D: Deserializer<'d>>(deserializer: D) -> Result<Self, D::Error> {
        // What serde would say quotes what it has found.
        let text = Zeroizing::new(
            String::deserialize(deserializer).map_err(|_| de::Error::custom("expected text"))?,
        );
        match text.as_str() {
            HIDDEN => Err(de::Error::custom(
                "this is what stands for a secret where settings are shown, expected the secret",
            )),
            _ => Ok(Self(text)),
        }
    }
}

/// `[cluster.tls]`: where a node's certificate for other nodes is, as PEM files. They are read again when they change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClusterTls {
    /// The certificate chain, the node's own first. `NODE.DOMAIN` is among its DNS names; it is for servers and clients.
    pub(crate) certificate: PathBuf,
    /// Its private key (PKCS #8, PKCS #1 or SEC 1).
    pub(crate) key: PathBuf,
    /// The authorities of all nodes' certificates; several while they are replaced.
    pub(crate) ca: PathBuf,
    /// Revocation lists of those authorities. If given, each node's certificate must be covered by one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) crl: Option<PathBuf>,
    /// What is behind a node's name in its certificate: the name of the cluster, such as `quelea.example.org`.
    pub(crate) domain: String,
}

impl ClusterTls {
    /// One in which every optional key has a value.
    pub(super) fn sample() -> Self {
        let path = PathBuf::new;
        Self { certificate: path(), key: path(), ca: path(), crl: Some(path()), domain: String::new() }
    }
}

/// Refuses keys that do not go together, or none where the port is open to other machines.
pub(super) fn check(cluster: &ClusterSettings, is_local: bool) -> Result<(), ConfigError> {
    let set = [
        ("cluster.tls", cluster.tls.is_some()),
        ("cluster.secret_file", cluster.secret_file.is_some()),
        ("cluster.secret", !cluster.secret.is_empty()),
    ];
    let mut given = set.iter().filter(|(_, set)| *set).map(|(key, _)| *key);
    match (given.next(), given.next()) {
        (Some(first), Some(second)) => {
            let expected = format!("nothing, as {first} is set: nodes know each other by one of them");
            return Err(ConfigError::value(second, "(hidden)", expected));
        }
        (None, _) if !is_local => {
            return Err(ConfigError::ClusterNotSecured { address: cluster.listen.clone() });
        }
        _ => {}
    }
    let Some(tls) = &cluster.tls else { return Ok(()) };
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if tls.domain.is_empty() || !tls.domain.chars().all(allowed) || tls.domain.starts_with('.') {
        let expected = "what is behind the node's name in its certificate, such as \"quelea.example.org\"";
        return Err(ConfigError::value("cluster.tls.domain", &format!("{:?}", tls.domain), expected));
    }
    Ok(())
}

/// Which of the keys is set, for a node that stays alone.
pub(super) fn first_set(cluster: &ClusterSettings) -> Option<&'static str> {
    let secret = (!cluster.secret.is_empty()).then_some("cluster.secret");
    let file = cluster.secret_file.is_some().then_some("cluster.secret_file");
    secret.or(file).or(cluster.tls.is_some().then_some("cluster.tls"))
}
