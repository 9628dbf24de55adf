//! What one address, user or client may take of a node, and what the node takes on at all: rates, counts, and what is told to whoever
//! is over them. Asked by listeners and connections. The arithmetic knows no clock: whoever asks says what time it is.

mod arrivals;
mod flapping;
mod memory;
mod overload;
mod places;
mod rate;
mod table;
mod throttle;

pub(crate) use arrivals::Arrivals;
pub(crate) use flapping::{Flapper, Flapping, Steadiness};
pub(crate) use overload::{Cause, Overload};
pub(crate) use places::{Full, Place, Places};
pub(crate) use throttle::Throttle;
