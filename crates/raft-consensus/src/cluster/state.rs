//! The state of the cluster group: a command and a time go in, and it is as the command says, or the command is refused
//! by name. Owned by [`super::ClusterMachine`]; no clock, no randomness, no I/O, so that replicas are equal.

use std::collections::{BTreeMap, BTreeSet};

use session_store::{Host, Incarnation, Millis, NodeId};

use super::command::{Begin, Command, Founding, Refusal, Standing};
use super::{MEMBERS_MAX, NAME_BYTES_MAX};

/// What is known of a node that belongs to the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// What it is called; empty where it has no name.
    pub name: Box<str>,
    /// The last of its runs that has begun.
    pub begun: Incarnation,
    /// What that run drew.
    pub(super) token: u64,
    /// Its runs below this one are dead: all before [`Self::begun`], and that one too where it was said to be down.
    pub lowest_live: Incarnation,
    /// The highest level of `apply` that the binary of that run knows.
    pub knows_level: u32,
}

/// The state of the cluster group.
#[derive(Clone, Debug)]
pub struct Cluster {
    pub(super) founding: Option<Founding>,
    pub(super) members: BTreeMap<NodeId, Member>,
    pub(super) now: Millis,
    pub(super) apply_level: u32,
    /// Members that changed since the last checkpoint.
    pub(super) touched: BTreeSet<NodeId>,
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            founding: None,
            members: BTreeMap::new(),
            now: Millis::default(),
            apply_level: 1,
            touched: BTreeSet::new(),
        }
    }
}

impl Cluster {
    /// Applies a command at the log's time `now`, which never goes back.
    ///
    /// # Errors
    /// Why the command has no effect; [`Self::standing`] says the same afterwards.
    pub fn apply(&mut self, now: Millis, command: &Command) -> Result<(), Refusal> {
        self.now = self.now.max(now);
        if !self.decide(command)? {
            self.change(command);
        }
        debug_assert_eq!(self.validate(), Ok(()));
        Ok(())
    }

    /// Whether it is as a command says, could become so, or not. Whoever proposed the command looks at this once what
    /// it proposed is applied, and proposes it again where it is still open: it was lost with a leader then.
    #[must_use]
    pub fn standing(&self, command: &Command) -> Standing {
        match self.decide(command) {
            Ok(true) => Standing::InForce,
            Ok(false) => Standing::Open,
            Err(refusal) => Standing::Refused(refusal),
        }
    }

    /// Whether it is so already, or would become so.
    fn decide(&self, command: &Command) -> Result<bool, Refusal> {
        match command {
            Command::Tick => Ok(true),
            Command::Found(founding) => self.decide_found(founding),
            Command::Begin(begin) => self.decide_begin(begin),
            Command::Down(host) => match self.members.get(&host.node) {
                Some(member) if host.incarnation <= member.begun => Ok(member.is_dead(host.incarnation)),
                _ => Err(Refusal::NotBegun),
            },
            Command::RaiseLevel(level) => {
                let ignorant = self.members.iter().find(|(_, member)| member.knows_level < *level);
                match ignorant {
                    Some((node, _)) => Err(Refusal::NotKnownTo(*node)),
                    None if self.members.is_empty() => Err(Refusal::NotFounded),
                    None => Ok(*level <= self.apply_level),
                }
            }
        }
    }

    fn decide_found(&self, founding: &Founding) -> Result<bool, Refusal> {
        match &self.founding {
            Some(known) if known == founding => Ok(true),
            Some(known) => Err(Refusal::Founded(*known)),
            None if founding.shards == 0 => Err(Refusal::NoShards),
            None => Ok(false),
        }
    }

    fn decide_begin(&self, begin: &Begin) -> Result<bool, Refusal> {
        let Begin { host, token, name, knows_level } = begin;
        let Host { node, incarnation } = *host;
        if self.founding.is_none() {
            return Err(Refusal::NotFounded);
        }
        if node.0 == 0 || incarnation.0 == 0 || incarnation.next() == incarnation {
            return Err(Refusal::NoRun(*host));
        }
        match self.members.get(&node) {
            Some(member) if member.begun == incarnation && member.token == *token => {
                if member.is_dead(incarnation) { Err(Refusal::Dead) } else { Ok(true) }
            }
            Some(member) if incarnation <= member.begun => Err(Refusal::NotNewer(member.begun)),
            None if self.members.len() >= MEMBERS_MAX => Err(Refusal::Full),
            _ if name.len() > NAME_BYTES_MAX => Err(Refusal::NameTooLong),
            _ if *knows_level < self.apply_level => Err(Refusal::TooOld(self.apply_level)),
            _ => Ok(false),
        }
    }

    /// Makes it as a command says that was not refused.
    fn change(&mut self, command: &Command) {
        match command {
            Command::Tick => {}
            Command::Found(founding) => self.founding = Some(*founding),
            Command::Begin(begin) => {
                let member = Member {
                    name: begin.name.clone(),
                    begun: begin.host.incarnation,
                    token: begin.token,
                    lowest_live: begin.host.incarnation,
                    knows_level: begin.knows_level,
                };
                self.members.insert(begin.host.node, member);
                self.touched.insert(begin.host.node);
            }
            Command::Down(host) => {
                if let Some(member) = self.members.get_mut(&host.node) {
                    // It was not dead before: this is higher.
                    member.lowest_live = host.incarnation.next();
                    self.touched.insert(host.node);
                }
            }
            Command::RaiseLevel(level) => self.apply_level = *level,
        }
    }

    /// What was fixed when the cluster was created; `None` before.
    #[must_use]
    pub fn founding(&self) -> Option<Founding> {
        self.founding
    }

    /// The nodes that belong to the cluster, in the order of their numbers.
    pub fn members(&self) -> impl ExactSizeIterator<Item = (NodeId, &Member)> {
        self.members.iter().map(|(node, member)| (*node, member))
    }

    /// A member.
    #[must_use]
    pub fn member(&self, node: NodeId) -> Option<&Member> {
        self.members.get(&node)
    }

    /// Of each member the lowest run that is not dead.
    pub fn lowest_live(&self) -> impl Iterator<Item = (NodeId, Incarnation)> {
        self.members.iter().map(|(node, member)| (*node, member.lowest_live))
    }

    /// The log's time, as of the last command.
    #[must_use]
    pub fn now(&self) -> Millis {
        self.now
    }

    /// The level of `apply` that holds in the cluster.
    #[must_use]
    pub fn apply_level(&self) -> u32 {
        self.apply_level
    }

    /// The level to which the cluster can be raised: the highest that all members know, where that is above the one
    /// that holds. Shards follow the cluster's level, so that no log has one that a member does not know.
    #[must_use]
    pub fn level_to_raise(&self) -> Option<u32> {
        let known = self.members.values().map(|member| member.knows_level).min()?;
        (known > self.apply_level).then_some(known)
    }

    /// A digest of everything that replicas share: equal for equal states of the same binary, whatever led to them.
    #[must_use]
    pub fn digest(&self) -> u64 {
        session_store::digest_of(&(self.founding, &self.members, self.now, self.apply_level))
    }

    /// Checks what must always hold.
    ///
    /// # Errors
    /// Names the rule that does not hold.
    pub fn validate(&self) -> Result<(), &'static str> {
        if self.founding.is_none() && !self.members.is_empty() {
            return Err("a cluster that is not founded has members");
        }
        if self.founding.is_some_and(|founding| founding.shards == 0) {
            return Err("a cluster has no shards");
        }
        if self.members.len() > MEMBERS_MAX {
            return Err("there are more members than there may be");
        }
        self.members.iter().try_for_each(|(node, member)| self.validate_member(*node, member))
    }

    fn validate_member(&self, node: NodeId, member: &Member) -> Result<(), &'static str> {
        let Member { name, begun, lowest_live, knows_level, .. } = member;
        if node.0 == 0 || begun.0 == 0 || begun.next() == *begun {
            return Err("a member has a number that no run has");
        }
        if lowest_live != begun && *lowest_live != begun.next() {
            return Err("a member's lowest live run is neither its last one nor the next");
        }
        if name.len() > NAME_BYTES_MAX {
            return Err("a member's name is too long");
        }
        if *knows_level < self.apply_level {
            return Err("a member does not know the level that holds");
        }
        Ok(())
    }
}

impl Member {
    fn is_dead(&self, incarnation: Incarnation) -> bool {
        incarnation < self.lowest_live
    }
}
