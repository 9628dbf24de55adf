//! A time of one node's clock, as a plain value. Made by whoever reads clocks; nothing here reads one.

use std::time::Duration;

/// A time of one node, counted from any beginning. It has to be read from a clock that goes on while the machine sleeps
/// (`CLOCK_BOOTTIME`), and means nothing to another node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(Duration);

impl Moment {
    /// The time so long after the beginning.
    #[must_use]
    pub const fn at(since_beginning: Duration) -> Self {
        Self(since_beginning)
    }

    /// The time so much later.
    #[must_use]
    pub const fn plus(self, later: Duration) -> Self {
        Self(self.0.saturating_add(later))
    }

    /// The time so much earlier; the beginning, where there was none.
    #[must_use]
    pub const fn minus(self, earlier: Duration) -> Self {
        Self(self.0.saturating_sub(earlier))
    }

    /// How long ago another time was; nothing, where it is to come.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}
