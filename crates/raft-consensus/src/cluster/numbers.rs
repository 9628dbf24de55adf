//! The numbers of nodes: each is given once, to whoever has drawn something for it, and never again. A part of the cluster
//! group's state, called by that.

use session_store::NodeId;

use super::command::Refusal;
use super::state::Cluster;
use super::{ADMITTED_MAX, MEMBERS_MAX};

impl Cluster {
    /// Whether a number was given for this already.
    pub(super) fn decide_admit(&self, token: u64) -> Result<bool, Refusal> {
        if self.founding.is_none() {
            return Err(Refusal::NotFounded);
        }
        let known = self.admitted(token).is_some();
        // The last number stays unused: no next one could be given behind it.
        let full = self.members.len() >= MEMBERS_MAX || self.last_node.0 >= u32::MAX - 1;
        if !known && full { Err(Refusal::Full) } else { Ok(known) }
    }

    /// Gives the next number.
    pub(super) fn admit(&mut self, token: u64) {
        self.last_node = NodeId(self.last_node.0 + 1);
        self.admitted.insert(self.last_node, token);
        if self.admitted.len() > ADMITTED_MAX {
            self.admitted.pop_first();
        }
    }

    /// The number that was given to whoever has drawn this.
    #[must_use]
    pub fn admitted(&self, token: u64) -> Option<NodeId> {
        self.admitted.iter().find(|(_, drawn)| **drawn == token).map(|(node, _)| *node)
    }

    /// Checks what must always hold of the numbers.
    pub(super) fn validate_numbers(&self) -> Result<(), &'static str> {
        if self.members.keys().chain(self.admitted.keys()).any(|node| *node > self.last_node) {
            return Err("a node has a number that may be given again");
        }
        if self.admitted.len() > ADMITTED_MAX {
            return Err("more numbers are known to have been given than may be");
        }
        Ok(())
    }
}
