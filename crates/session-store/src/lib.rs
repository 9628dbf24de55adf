//! Sessions, queues, in-flight state, wills and retained messages as pure transitions: a command and a
//! time go in, effects come out. Used by the broker, which runs them. No clock, no randomness, no I/O, no
//! order of a hash map that could be seen, so that every replica that applies the same commands is equal.
//!
//! - [`Shard`]: the home of clients: connections, persistent sessions, wills, retained messages.
//! - [`Outbound`] and [`Inbound`]: the two halves of a session's delivery state. A transient session's live
//!   with its connection, a persistent one's in its shard; the transitions are the same.

pub mod authentication;
pub mod command;
pub mod counters;
pub mod effect;
pub mod failpoint;
pub mod histogram;
pub mod ids;
pub mod inbound;
mod kept;
pub mod limits;
pub mod matching;
pub mod message;
pub mod outbound;
pub mod outbox;
mod outgoing;
pub mod picks;
pub mod record;
pub mod retained;
pub mod scan;
pub mod session;
pub mod shard;
pub mod store;
pub mod stream;
mod tracked;
pub mod word;

pub use effect::Effect;
pub use ids::{ClientId, ConnectionId, Epoch, Host, Incarnation, Millis, NodeId, SessionKey, ShardId};
pub use inbound::Inbound;
pub use message::{Message, MessageRef};
pub use outbound::{Outbound, Outgoing};
pub use outbox::Outbox;
pub use shard::{
    APPLY_LEVEL_MAX, Found, SessionSubscriptions, SessionSummary, Shard, ShardNumber, ShardSizes, StoredAt,
    StoredPage, digest_of,
};
pub use stream::{Answer, Request, Source};
