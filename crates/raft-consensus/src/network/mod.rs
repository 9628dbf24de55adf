//! The way to the other members of a group: openraft's network on one side, a [`PeerTransport`] on the other. The
//! broker gives each group a [`Network`] and hands what arrives to the [`Dispatcher`]; a node alone in its cluster has
//! nobody to speak to: [`Alone`].

mod alone;
mod client;
mod dispatcher;
mod fetch;
mod memory;
mod networks;
mod pipeline;
mod receive;
mod replica;
mod send;
mod snapshots;
mod transport;
mod window;

pub use alone::Alone;
pub use client::{Client, Network};
pub use dispatcher::Dispatcher;
pub(crate) use fetch::Fetched;
pub use memory::{Faults, MemoryNetwork, MemoryTransport};
pub use networks::{Joined, Networks};
pub use snapshots::{SnapshotFiles, StoreSnapshots};
pub use transport::{Answers, Channel, PeerTransport, Refusal, Requests, TransportError};
