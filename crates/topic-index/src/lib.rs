//! Topic filters and what is found by them: filters matched by a topic, topics matched by a filter.
//! Used by the session store and the broker's routing and retained messages; pure data.
//! It never does I/O, never waits, and never recurses by the depth of a topic.

mod filter;
mod filter_index;
mod shared_index;
mod topic_index;

pub use filter::{Filter, FilterError, PlainFilter, matches, topic_levels_within};
pub use filter_index::{FilterIndex, Slot};
pub use shared_index::SharedIndex;
pub use topic_index::{Cursor, PageBounds, PageEnd, TopicIndex};
