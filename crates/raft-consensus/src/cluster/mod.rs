//! The cluster group: who belongs to the cluster, which runs of its nodes may live, all routes, which connections are fenced,
//! and who is banned. A pure state and the machine that puts it under a log. Every node applies it; it holds no client's session.

mod ask;
mod ban;
mod checks;
mod chunked;
mod command;
mod duties;
mod follow;
mod machine;
mod numbers;
mod owners;
mod record;
mod record_bans;
mod record_owners;
mod route;
mod state;

pub use self::ask::AskError;
pub use self::ban::{
    BANNED_BYTES_MAX, BANNED_NETWORKS_MAX, BANS_BYTES_MAX, BANS_MAX, Ban, Banned, WHY_BYTES_MAX,
};
pub use self::command::{Begin, ClusterId, Command, Founding, NotAnId, Refusal, Standing};
pub use self::duties::Duty;
pub use self::follow::Follow;
pub use self::machine::{ClusterMachine, Live, LowestLive, Roster};
pub use self::record::{Asked, decode_asking, encode_asking};
pub use self::route::{
    CHANGES_BYTES_MAX, CHANGES_MAX, Change, FENCES_BYTES_MAX, FENCES_MAX, Fence, Owner, ROUTES_BYTES_MAX,
    ROUTES_MAX, Route, Routes, filter_bytes,
};
pub use self::state::{Cluster, Member};

use session_store::NodeId;

use crate::wal::GroupId;

/// The cluster group's number; a shard's is greater.
pub const GROUP: GroupId = GroupId(0);

/// The number of the node that founds a cluster; nobody else ever gets it.
pub const FOUNDER: NodeId = NodeId(1);

/// Members at most; one more is refused.
pub const MEMBERS_MAX: usize = 1_024;

/// Members that have left and are remembered at most; then the one with the lowest number is forgotten.
pub const LEFT_MAX: usize = 64;

/// Bytes of a member's name at most; a longer one is refused.
pub const NAME_BYTES_MAX: usize = 64;

/// Bytes of a member's address at most; a longer one is refused.
pub const ADDRESS_BYTES_MAX: usize = 300;

/// Numbers that were given to nodes at last and are known by what these have drawn; older ones are forgotten, and never
/// given again.
pub const ADMITTED_MAX: usize = 64;

/// From this level of `apply` on the cluster group takes bans. To shards it means what the one before does.
pub const ACCESS_LEVEL: u32 = 4;
const _: () = assert!(ACCESS_LEVEL <= APPLY_LEVEL_MAX, "the binary knows what it takes");

/// The highest level of `apply` that this binary knows, of the cluster group and of the shards: one number for all of
/// its state machines. A member says it when a run of it begins.
pub const APPLY_LEVEL_MAX: u32 = session_store::APPLY_LEVEL_MAX;

#[cfg(test)]
mod tests;
