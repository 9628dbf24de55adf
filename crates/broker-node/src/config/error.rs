//! What can be wrong with a configuration, said so that the reader can repair it.
//! Printed by `main`, which then exits with code 2.

use std::{io, path::PathBuf};

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {}: {source}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not TOML.
    #[error("the configuration file {} is not valid TOML: {source}", path.display())]
    Syntax {
        /// Which file.
        path: PathBuf,
        /// Where, and what was expected there.
        source: Box<toml::de::Error>,
    },
    /// A key that does not exist.
    #[error("unknown configuration key {key:?}{origin}: {hint}")]
    UnknownKey {
        /// Its full path.
        key: String,
        /// Where it comes from, if not from the file.
        origin: String,
        /// The nearest key, or all keys there are at that place.
        hint: String,
    },
    /// A value that is not allowed.
    #[error("configuration key {key:?} has the value {value}: expected {expected}")]
    Value {
        /// The full path of the key.
        key: String,
        /// What was found.
        value: String,
        /// What is allowed.
        expected: String,
    },
    /// A value of the wrong kind.
    #[error("configuration key {key:?}: {message}")]
    Kind {
        /// The full path of the key.
        key: String,
        /// What was found and what is allowed.
        message: String,
    },
    /// A port for nodes that other machines reach, and nothing that says who is a node.
    #[error(
        "cluster.listen is {address:?}, which other machines reach, and nothing says which of them are nodes: set \
         cluster.secret_file (environment: QUELEA__CLUSTER__SECRET_FILE) to a file with a secret that all nodes share, made \
         with `openssl rand -base64 32`, or the environment variable QUELEA__CLUSTER__SECRET to the secret itself, or give \
         the nodes certificates by cluster.tls, or set cluster.listen to a loopback address such as \"localhost:7883\""
    )]
    ClusterNotSecured {
        /// The address.
        address: String,
    },
    /// Keys that differ from those that the node started with, and cannot change while it runs.
    #[error("{keys}: cannot change while the node runs, restart it for that")]
    NotLive {
        /// Which.
        keys: String,
    },
    /// A listener that other machines reach, and no authentication.
    #[error(
        "listener {name:?} has the address {address:?}, which other machines reach, and no authentication is \
         configured: set auth.password.file (environment: QUELEA__AUTH__PASSWORD__FILE) to a file made with \
         `quelea passwd`, configure tokens ([auth.jwt], [auth.introspection]) or a server that is asked ([auth.http]), set auth.allow_anonymous = true (environment: \
         QUELEA__AUTH__ALLOW_ANONYMOUS=true) to let anybody connect, or set listener.{name}.address to a loopback address such as \"localhost:1883\""
    )]
    AnonymousNotAllowed {
        /// The listener.
        name: String,
        /// Its address.
        address: String,
    },
}

impl ConfigError {
    /// A value that is not allowed, with what is.
    pub(super) fn value(key: impl Into<String>, value: &str, expected: impl Into<String>) -> Self {
        Self::Value { key: key.into(), value: value.to_owned(), expected: expected.into() }
    }
}
