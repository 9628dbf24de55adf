//! What must always hold of the cluster group's state. A part of it, called after each step where debug assertions are on,
//! and for what was read from a checkpoint.

use session_store::NodeId;

use super::duties::Duty;
use super::route::Owner;
use super::state::{Cluster, Member};
use super::{ADDRESS_BYTES_MAX, MEMBERS_MAX, NAME_BYTES_MAX};

impl Cluster {
    /// Checks what must always hold.
    ///
    /// # Errors
    /// Names the rule that does not hold.
    pub fn validate(&self) -> Result<(), &'static str> {
        self.check(true)
    }

    /// The same; large tables only with `all`.
    pub(super) fn check(&self, all: bool) -> Result<(), &'static str> {
        if self.founding.is_none() && !self.members.is_empty() {
            return Err("a cluster that is not founded has members");
        }
        if self.founding.is_some_and(|founding| founding.shards == 0) {
            return Err("a cluster has no shards");
        }
        if self.members.len() > MEMBERS_MAX {
            return Err("there are more members than there may be");
        }
        self.validate_numbers()?;
        self.members.iter().try_for_each(|(node, member)| self.validate_member(*node, member))?;
        self.owners.live.keys().try_for_each(|owner| self.validate_owner(*owner))?;
        self.owners.validate(all)?;
        self.bans.validate(all)
    }

    fn validate_owner(&self, owner: Owner) -> Result<(), &'static str> {
        match owner {
            Owner::Host(host) if self.is_dead(host) != Ok(false) => {
                Err("a run that does not live has routes or fences")
            }
            Owner::Shard(shard) if self.founding.is_none_or(|founding| shard.0 >= founding.shards) => {
                Err("there are routes of a shard that is none")
            }
            Owner::Host(_) | Owner::Shard(_) => Ok(()),
        }
    }

    fn validate_member(&self, node: NodeId, member: &Member) -> Result<(), &'static str> {
        let Member { name, address, begun, lowest_live, knows_level, duty, .. } = member;
        if node.0 == 0 || begun.0 == 0 || begun.next() == *begun {
            return Err("a member has a number that no run has");
        }
        if lowest_live != begun && *lowest_live != begun.next() {
            return Err("a member's lowest live run is neither its last one nor the next");
        }
        if *duty == Duty::Left && lowest_live == begun {
            return Err("a run of a member that has left lives");
        }
        if name.len() > NAME_BYTES_MAX {
            return Err("a member's name is too long");
        }
        if address.len() > ADDRESS_BYTES_MAX {
            return Err("a member's address is too long");
        }
        if *knows_level < self.apply_level && *duty != Duty::Left {
            return Err("a member does not know the level that holds");
        }
        Ok(())
    }
}
