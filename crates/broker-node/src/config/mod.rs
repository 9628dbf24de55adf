//! The configuration of a node: one typed struct a section, from defaults, a TOML file, the environment and flags.
//! `cli` loads it once at start and hands it on as `Arc<Settings>`.
//! Nothing here is read again or changed while the node runs, and nothing here opens a socket.

mod access;
mod check;
mod check_cluster;
mod derived;
mod error;
mod keys;
mod listener;
mod load;
mod operating;
mod sections;
#[cfg(test)]
mod tests;
mod units;

pub(crate) use access::ClientIdPolicy;
pub(crate) use check_cluster::is_peer_address;
pub(crate) use error::ConfigError;
#[cfg(test)]
pub(crate) use listener::SniFiles;
pub(crate) use listener::{ListenAddress, ListenerSettings, Protocol, ProxyProtocol, TlsFiles};
pub(crate) use load::{Flags, load, to_toml};
use operating::AdminSettings;
pub(crate) use sections::{
    ClusterSettings, DurabilitySetting, HttpSettings, LogFormat, LogSettings, ProfileSetting, QueuePolicy,
    Settings, SharedStrategy,
};
