//! What the cluster group can be told, and what it answers. Made by nodes and by whoever leads the group; decides
//! nothing.

use std::fmt;
use std::str::FromStr;

use session_store::{Host, Incarnation, NodeId, ShardId};

use super::ban::{Ban, Banned};
use super::route::{Fence, Routes};

/// A cluster's id, drawn by who founded it. Written as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClusterId(pub [u8; 16]);

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Text that is no cluster's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a cluster's id has 32 hexadecimal digits, in lower case")]
pub struct NotAnId;

impl FromStr for ClusterId {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let number = u128::from_str_radix(text, 16).map_err(|_| NotAnId)?;
        let id = Self(number.to_be_bytes());
        // One way to write it, so that ids can be compared as text too.
        if id.to_string() == text { Ok(id) } else { Err(NotAnId) }
    }
}

/// What is fixed when a cluster is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Founding {
    /// Which cluster it is.
    pub cluster: ClusterId,
    /// How many shards it has, 1 at least.
    pub shards: u16,
}

/// A run of a node begins: all its earlier runs are dead. A node that is no member becomes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begin {
    /// The run. Neither its node nor its incarnation is 0, and it is not the last incarnation that there can be.
    pub host: Host,
    /// Drawn by the run, to tell its repeats from another process with the same incarnation.
    pub token: u64,
    /// What the node is called, [`super::NAME_BYTES_MAX`] bytes at most; empty where it has no name.
    pub name: Box<str>,
    /// Where other nodes reach it, as `host:port`, [`super::ADDRESS_BYTES_MAX`] bytes at most; empty where they do not.
    pub address: Box<str>,
    /// The highest level of `apply` that its binary knows.
    pub knows_level: u32,
}

/// What the cluster group can be told. Each says how something is to be, not that it changes: a repeat finds it so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Nothing but the time.
    Tick,
    /// The cluster is created.
    Found(Founding),
    /// A node that wants to belong to the cluster has drawn this, and gets a number that no node ever had. Whoever asks
    /// again finds it in [`super::Cluster::admitted`], as long as it is among the last [`super::ADMITTED_MAX`].
    Admit(u64),
    /// A run of a node begins.
    Begin(Begin),
    /// This run of a node, and all before it, are dead.
    Down(Host),
    /// A member gives its leaderships and its clients away, and takes none.
    Drain(NodeId),
    /// A member serves again; it does not leave any more, if it was about to.
    Undrain(NodeId),
    /// A member gives everything away, and leaves the cluster once it has nothing that others lack.
    Leave(NodeId),
    /// A member that leaves, or that another of its name has replaced, has left. Its run is dead.
    Left(NodeId),
    /// All members know this level of `apply`: it holds from here on.
    RaiseLevel(u32),
    /// An owner's routes change.
    Routes(Routes),
    /// A connection is taken for over. Nothing is kept of one whose run is dead.
    Fence(Fence),
    /// The fenced connection's host has reported its end.
    Unfence(Fence),
    /// Somebody is banned; what was said of the same one before counts no more. Nothing is kept of a ban that is over.
    Ban(Ban),
    /// Somebody is not banned any more.
    Unban(Banned),
}

/// Why a command has no effect. The same command gets the same word from every replica, and again for every repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Without a founding there is nothing to belong to.
    #[error("the cluster is not founded yet")]
    NotFounded,
    /// A cluster is founded once.
    #[error("the cluster is founded already, with id {} and {} shards", .0.cluster, .0.shards)]
    Founded(Founding),
    /// A cluster without shards has no home for anybody.
    #[error("a cluster has one shard at least")]
    NoShards,
    /// Numbers that no run has.
    #[error("no run of a node has the number {0}")]
    NoRun(Host),
    /// The incarnation has begun before, or is older than the last one that did.
    #[error("run {} of the node has begun already, and a later one must have a greater number", .0.0)]
    NotNewer(Incarnation),
    /// The run has begun, and was said to be dead since.
    #[error("the run was taken for dead: the node has to begin another one")]
    Dead,
    /// Nobody can be down who never was up.
    #[error("no such run of the node has begun")]
    NotBegun,
    /// Nobody has that number.
    #[error("the cluster has no node {}", .0.0)]
    NoMember(NodeId),
    /// The node does not belong to the cluster any more.
    #[error(
        "node {} has left the cluster: to belong to it again a node needs an empty data directory, and gets a new number",
        .0.0
    )]
    Left(NodeId),
    /// It leaves: to drain is less.
    #[error("node {} leaves the cluster already", .0.0)]
    Leaves(NodeId),
    /// Nobody has left who was not asked to leave.
    #[error("node {} was not asked to leave", .0.0)]
    NotLeaving(NodeId),
    /// Somebody has to keep what there is.
    #[error("a node cannot leave that no other is left behind")]
    LastNode,
    /// There is no room for another member.
    #[error("the cluster has {} members, and can have no more", super::MEMBERS_MAX)]
    Full,
    /// The name is too long.
    #[error("a node's name has {} bytes at most", super::NAME_BYTES_MAX)]
    NameTooLong,
    /// The address is too long.
    #[error("a node's address has {} bytes at most", super::ADDRESS_BYTES_MAX)]
    AddressTooLong,
    /// The binary is too old for what the cluster's logs say by now.
    #[error("the cluster is at apply level {0}, which this binary does not know: run a newer one")]
    TooOld(u32),
    /// A member does not know the level.
    #[error("node {} does not know that level", .0.0)]
    NotKnownTo(NodeId),
    /// The cluster has no such shard.
    #[error("the cluster has no shard {}", .0.0)]
    NoShard(ShardId),
    /// A change of routes is missing before this one.
    #[error("the last change of the owner's routes that was seen is number {0}: go on from there")]
    Gap(u64),
    /// More changes than one entry takes.
    #[error(
        "more than {} changes of routes, or {} bytes of filters, at once",
        super::CHANGES_MAX,
        super::CHANGES_BYTES_MAX
    )]
    TooManyChanges,
    /// There is no room for more routes of the owner.
    #[error(
        "more than {} routes of one owner, or {} bytes of filters",
        super::ROUTES_MAX,
        super::ROUTES_BYTES_MAX
    )]
    TooManyRoutes,
    /// There is no room for another fence.
    #[error(
        "more than {} fenced connections of one run, or {} bytes of their ids",
        super::FENCES_MAX,
        super::FENCES_BYTES_MAX
    )]
    TooManyFences,
    /// A member could not read it.
    #[error(
        "not all nodes know of this yet: the cluster has to be at apply level {0}, which it is once all run a newer binary"
    )]
    NotYet(u32),
    /// Nobody can be banned by that.
    #[error("a ban is by an address, a network or a name of 1 to {} bytes", super::BANNED_BYTES_MAX)]
    NotToBan,
    /// It says too much.
    #[error("why somebody is banned has {} bytes at most", super::WHY_BYTES_MAX)]
    WhyTooLong,
    /// There is no room for another ban.
    #[error(
        "more than {} bans, {} of them by networks, or {} bytes of names",
        super::BANS_MAX,
        super::BANNED_NETWORKS_MAX,
        super::BANS_BYTES_MAX
    )]
    TooManyBans,
}

/// How a command stands with a state: what whoever proposed it waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is as the command says.
    InForce,
    /// It is not so yet: the command was not applied, or was lost with a leader, and may be proposed.
    Open,
    /// It will not be so.
    Refused(Refusal),
}
