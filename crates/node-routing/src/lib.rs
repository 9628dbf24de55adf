//! What is between nodes: what they say to each other by gRPC, with the transport that `raft-consensus` asks for; which of
//! them a topic stands for; how long each may rely on that; and the streams of publishes between them. Used by the broker. The
//! network reads no message that it carries, streams, routes and leases know no network, and nothing here knows of clients.

pub mod asking;
pub mod counters;
pub mod frames;
pub mod identity;
pub mod join;
pub mod lease;
pub mod limits;
mod line;
pub mod links;
mod opaque;
pub mod peers;
pub mod presence;
mod proto;
pub mod reach;
mod refusal;
pub mod security;
pub mod server;
pub mod transport;
pub mod view;
