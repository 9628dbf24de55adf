//! What of one message goes to which shard, and to which other host. Made by `Gathering`, so that connections and relays
//! send the same; never sends anything itself.

use session_store::command::{GroupPick, PublishItem};
use session_store::{Host, MessageRef};

/// Who passes a message on to its sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Destination {
    /// A shard, to persistent ones.
    Shard(u16),
    /// A run of another node, to transient ones.
    Host(Host),
}

/// What one destination gets of a message.
#[derive(Debug)]
pub(super) struct Part {
    /// Who gets it.
    pub(super) to: Destination,
    /// Whether its ordinary subscriptions are matched.
    pub(super) sessions: bool,
    /// Whether it stores the message as retained.
    pub(super) store_retained: bool,
    /// Groups of which a member there was picked.
    pub(super) groups: Vec<GroupPick>,
    /// Whether the message's acknowledgement waits for the answer.
    pub(super) awaited: bool,
}

impl Part {
    fn empty(to: Destination) -> Self {
        Self { to, sessions: false, store_retained: false, groups: Vec::new(), awaited: false }
    }

    /// What somebody gets of a message that one of the members there was picked for.
    pub(super) fn picked(to: Destination, pick: GroupPick) -> Self {
        Self { groups: vec![pick], awaited: true, ..Self::empty(to) }
    }

    /// The part as it is taken; `number` comes back with the answer.
    pub(super) fn into_item(self, number: u64, message: MessageRef) -> PublishItem {
        let Self { sessions, store_retained, groups, awaited, .. } = self;
        PublishItem { number: if awaited { number } else { 0 }, message, sessions, store_retained, groups }
    }
}

/// The parts of one message, at most one for each destination.
#[derive(Debug, Default)]
pub(super) struct Parts(pub(super) Vec<Part>);

impl Parts {
    /// Adds something to the part of a destination; `awaited` where the acknowledgement waits for it.
    pub(super) fn add(&mut self, to: Destination, awaited: bool, change: impl FnOnce(&mut Part)) {
        let index = self.0.iter().position(|part| part.to == to).unwrap_or_else(|| {
            self.0.push(Part::empty(to));
            self.0.len() - 1
        });
        if let Some(part) = self.0.get_mut(index) {
            part.awaited |= awaited;
            change(part);
        }
    }
}
