//! The state machine of a group, as this crate sees it. Implemented by whoever owns the state: the broker around a
//! shard, a simulation around the same shard. Called by the group's adapter, in the order of the log.

use bytes::Bytes;
use session_store::store::Changes;

use crate::snapshot::SnapshotData;

/// An entry that this binary cannot apply. Fatal: a state that skipped an entry is no state.
#[derive(Debug, thiserror::Error)]
#[error("an entry of the log cannot be applied: {0}")]
pub struct BadEntry(pub String);

/// How much of an entry's room a command takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weight {
    /// Publishes, or one for anything else.
    pub items: usize,
    /// Bytes that it takes in an entry, at most.
    pub bytes: usize,
}

/// The state of a group. Decides by nothing but its state and the entries: no clock, no randomness, no I/O.
pub trait Machine: Send + Sync + 'static {
    /// What it can be told.
    type Command: Send + 'static;

    /// How much room a command takes in an entry.
    fn weight(command: &Self::Command) -> Weight;

    /// The command that does what is due.
    fn tick() -> Self::Command;

    /// Commands and the log's time in milliseconds since 1970 as the body of an entry.
    fn encode(now_ms: u64, commands: &[Self::Command]) -> Bytes;

    /// Applies a committed entry. With `leads` this node proposed it in the present term: what follows from it (answers,
    /// packets) is done by this node, and by no other.
    ///
    /// # Errors
    /// The entry is none that this binary knows.
    fn apply(&mut self, body: &Bytes, leads: bool) -> Result<(), BadEntry>;

    /// It is as of this entry of the log now: comes after each entry, also after those that say nothing to it, and after a
    /// snapshot.
    fn applied(&mut self, _index: u64) {}

    /// Becomes what a snapshot has, whatever it was before, and has the snapshot in its store, synced, when this
    /// returns. It may block.
    ///
    /// # Errors
    /// The snapshot is damaged, or none that this binary knows.
    fn install(&mut self, snapshot: SnapshotData) -> Result<(), BadEntry>;

    /// The records that changed since the last call, as they are now.
    fn take_changes(&mut self) -> Changes;

    /// The records that were last taken are in the store, and synced: what need not be in memory beside them can go.
    /// Comes again as long as nothing is applied.
    fn checkpointed(&mut self) {}

    /// When the next tick has something to do, in milliseconds since 1970.
    fn next_due_ms(&self) -> Option<u64>;

    /// The log's time as of the last entry applied, in milliseconds since 1970.
    fn now_ms(&self) -> u64;
}
