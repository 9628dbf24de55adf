//! The streams of publishes between hosts, both ends: what is on its way to a run of a node, and what came from each. Kept by
//! the broker, which says the frames and delivers what they have; nothing here says anything or knows a clock.
//!
//! A frame stays with its source until its target has said that it is in memory, or is known to be dead. Whatever may have
//! been lost is said again, and a target leaves out what it has; a frame before which one is missing it refuses, and
//! says which it has last. Entering a frame waits for nobody.

mod receiving;
mod sending;

pub use self::receiving::{Arrival, Receiving};
pub use self::sending::{Answered, BYTES_MAX, IN_FLIGHT_MAX, Sending};

#[cfg(test)]
mod tests;
