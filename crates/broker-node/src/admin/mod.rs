//! The admin API: what `proto/admin.proto` declares, served to whoever administers the cluster. Started by `front`, before the
//! node belongs to a cluster. It decides nothing: what is to be goes into the cluster group's log, or to whoever leads a group.

mod access;
mod bounds;
mod clients;
mod guard;
mod inside;
mod last;
mod pages;
mod publish;
mod reload;
mod report;
mod retained;
mod server;
mod service;
mod sessions;
mod subject;
mod subscriptions;
mod tokens;
mod trace;
mod whole;
mod why;

pub(crate) use self::last::ordinal;
pub(crate) use self::publish::PAYLOAD_BYTES_MAX;
pub(crate) use self::server::{CONNECTIONS_MAX, Doors, start};
pub(crate) use self::subject::{Belongs, Running, Subject};
pub(crate) use self::tokens::{TokenArgs, token};

/// What `build.rs` makes of `proto/admin.proto`.
#[allow(clippy::all, clippy::pedantic, missing_docs, unreachable_pub, dead_code, reason = "generated")]
pub(crate) mod proto {
    include!(concat!(env!("OUT_DIR"), "/quelea.admin.v1.rs"));

    /// The same for the service of reflection.
    pub(super) const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/admin.descriptors"));
}

/// What `build.rs` makes of `proto/node.proto`.
#[allow(clippy::all, clippy::pedantic, missing_docs, unreachable_pub, reason = "generated")]
mod node_proto {
    include!(concat!(env!("OUT_DIR"), "/quelea.node.v1.rs"));
}
