//! What `build.rs` makes of `proto/`. Used by whoever speaks or answers one of the services; nothing is written by hand.

/// The service of `proto/cluster.proto`.
#[allow(clippy::all, clippy::pedantic, missing_docs, unreachable_pub, reason = "generated")]
pub(crate) mod cluster {
    include!(concat!(env!("OUT_DIR"), "/quelea.cluster.v1.rs"));
}

/// The service of `proto/node.proto`.
#[allow(clippy::all, clippy::pedantic, missing_docs, unreachable_pub, reason = "generated")]
pub(crate) mod node {
    include!(concat!(env!("OUT_DIR"), "/quelea.node.v1.rs"));
}

/// The service of `proto/raft.proto`.
#[allow(clippy::all, clippy::pedantic, missing_docs, unreachable_pub, reason = "generated")]
pub(crate) mod raft {
    include!(concat!(env!("OUT_DIR"), "/quelea.raft.v1.rs"));
}

/// The service of `proto/session.proto`.
#[allow(clippy::all, clippy::pedantic, missing_docs, unreachable_pub, reason = "generated")]
pub(crate) mod session {
    include!(concat!(env!("OUT_DIR"), "/quelea.session.v1.rs"));
}

/// The service and the messages of `proto/routing.proto`.
#[allow(clippy::all, clippy::pedantic, missing_docs, unreachable_pub, reason = "generated")]
pub(crate) mod routing {
    include!(concat!(env!("OUT_DIR"), "/quelea.routing.v1.rs"));
}
