//! What is to be done after an input was applied. Made by a shard, carried out by the leader that proposed
//! the input and by nobody else; whatever must not be lost with it is in the shard's state as well.

use crate::command::{Push, Reply, RouteChange};
use crate::ids::{ClientId, ConnectionId};
use crate::scan::Ask;
use crate::stream::{Answer, Source};

/// What is to be done after an input.
#[derive(Debug)]
pub enum Effect {
    /// Answer a numbered request.
    Answer(Answer),
    /// A request is refused, and nothing was changed: requests before it are missing, or too many are
    /// unanswered. The source goes on behind `last`.
    Gap {
        /// Whose request it was.
        source: Source,
        /// The number of its last request that was applied.
        last: u64,
    },
    /// Tell a connection something that is no answer to its last request.
    Reply(ConnectionId, Reply),
    /// Send to a connection's client.
    Push(ConnectionId, Vec<Push>),
    /// Announce a route. To be carried out before the answers that follow it.
    Route(RouteChange),
    /// The outbox has items up to this position.
    Outbox(u64),
    /// Fetch a page of retained messages for the session of this client and answer with
    /// [`crate::command::Scanned`].
    Scan(ClientId, Ask),
}
