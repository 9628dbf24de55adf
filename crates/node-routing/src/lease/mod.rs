//! Leases: how long a node may act on its route view, what is in force, and who may be taken for dead. Plain values and
//! plain times on both sides; the broker brings clocks, messages and the log.
//!
//! How it goes together:
//!
//! - The node that leads the cluster group has [`Leases`] from its election on, and drops them when it leads no more. It
//!   tells them of each round of heartbeats that a quorum acknowledged ([`Leases::acknowledged`], with the time at which the
//!   round was sent), of each advance of the commit index and of its own state, and of what it hears of other runs. It tells
//!   [`Leases::in_force`] to everybody whenever it grows, and proposes `Command::Down` for each of [`Leases::downs`].
//! - Each node, the leader too, has a [`Holding`]. It asks every third of a lease with an [`Ask`], and at once reports each
//!   entry that its view has applied. Whatever acknowledges a publish does three things in this order: it reads the bytes,
//!   it loads the view and matches, and it reads the clock for [`Holding::allows`], with the index of the view *that it
//!   matched*. Where that says no it matches again; where it still says no the publish is parked.
//! - Each owner of routes has an [`Announcer`](crate::view::Announcer), which numbers the changes, and a [`Barrier`], which
//!   says up to which number they are in force. SUBACK waits for the number *as of its SUBSCRIBE*, whether that changed a
//!   route or not.
//!
//! Every [`Moment`] of a node has to come from one clock that goes on while the machine sleeps. Raft dates its heartbeats by
//! a clock that does not: such a time is carried over with two readings, one of each clock, that were taken *before* the
//! round was sent, so that a sleep between can only make the round look older than it is.
//!
//! Why an acknowledgement is never wrong: an entry is in force once each run that may hold a lease has applied it. A lease
//! rests on heartbeats that a quorum acknowledged, so that it has run out before a leader that does not know of it says
//! that anything is in force; and it names what is committed when it is granted, so that whoever gets one later acts only
//! on views that have what was in force before.

mod barrier;
mod complaints;
mod grants;
mod holding;
mod moment;
mod profile;

pub use self::barrier::{Applied, Barrier};
pub use self::grants::{Ask, Denied, Grant, Leases};
pub use self::holding::{Hold, Holding, Lease};
pub use self::moment::Moment;
pub use self::profile::{BadProfile, Profile, SILENT_MAX, UNHEARD_MAX, UNREACHED_MAX};

#[cfg(test)]
mod tests;
