//! What follows from the settings.
//! Used when a node starts; checks nothing, `check` has done that.

use super::Settings;
use std::{num::NonZeroUsize, thread};

impl Settings {
    /// Threads that serve connections.
    pub(crate) fn worker_threads(&self) -> usize {
        match self.node.worker_threads {
            0 => thread::available_parallelism().map_or(1, NonZeroUsize::get),
            count => count.into(),
        }
    }
}
