//! What nodes say to each other over the network, by gRPC: it implements the transport that `raft-consensus` asks for,
//! and answers for a node. Used by the broker. It reads no message that it carries, and knows nothing of clients.

pub mod counters;
pub mod identity;
pub mod limits;
mod line;
mod opaque;
pub mod peers;
mod proto;
mod refusal;
pub mod security;
pub mod server;
pub mod transport;
