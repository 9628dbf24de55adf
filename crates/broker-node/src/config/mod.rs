//! The configuration of a node: one typed struct a section, from defaults, a TOML file, the environment and flags.
//! `cli` loads it at start and hands it on as `Arc<Settings>`; `live` reads it again on SIGHUP, for the keys in `reload`.
//! Nothing here opens a socket.

mod access;
mod check;
mod check_cluster;
mod cluster_keys;
mod derived;
mod error;
#[cfg(test)]
mod extremes;
mod hook;
mod import;
mod introspection;
mod jwt;
mod keys;
mod limits;
mod listener;
mod load;
mod operating;
#[cfg(test)]
mod page;
mod reload;
mod sections;
#[cfg(test)]
mod tests;
mod units;

pub(crate) use access::{AuthSource, ClientIdPolicy};
pub(crate) use check_cluster::{SeedForm, is_peer_address, seed_form};
pub(crate) use cluster_keys::{ClusterTls, SecretText};
pub(crate) use error::ConfigError;
pub(crate) use hook::HookSettings;
pub(crate) use import::{ImportError, import};
pub(crate) use introspection::IntrospectionSettings;
pub(crate) use jwt::{JwtSettings, is_this_machine};
pub(crate) use limits::{FlappingBy, FlappingSettings, LimitSettings};
#[cfg(test)]
pub(crate) use listener::SniFiles;
pub(crate) use listener::{
    CertificateName, ListenAddress, ListenerSettings, Protocol, ProxyProtocol, TlsFiles,
};
#[cfg(test)]
use load::load;
pub(crate) use load::{Flags, to_toml};
pub(crate) use operating::AdminSettings;
pub(crate) use reload::{Source, changes};
pub(crate) use sections::{
    ClusterSettings, DurabilitySetting, HttpSettings, LogFormat, LogSettings, ProfileSetting, QueuePolicy,
    Settings, SharedStrategy,
};
