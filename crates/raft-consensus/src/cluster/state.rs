//! The state of the cluster group: a command and a time go in, and it is as the command says, or the command is refused
//! by name. Owned by [`super::ClusterMachine`]; no clock, no randomness, no I/O, so that replicas are equal.

use std::collections::{BTreeMap, BTreeSet};

use mqtt_codec::QoS;
use session_store::{Host, Incarnation, Millis, NodeId};
use topic_index::Filter;

use super::ban::{Ban, Banned, Bans};
use super::command::{Begin, Command, Founding, Refusal, Standing};
use super::duties::Duty;
use super::owners::Owners;
use super::route::{Change, Fence, Owner, Routes};
use super::{ACCESS_LEVEL, ADDRESS_BYTES_MAX, FOUNDER, MEMBERS_MAX, NAME_BYTES_MAX};

/// What is known of a node that belongs to the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// What it is called; empty where it has no name.
    pub name: Box<str>,
    /// Where other nodes reach its last run, as `host:port`; empty where they do not.
    pub address: Box<str>,
    /// The last of its runs that has begun.
    pub begun: Incarnation,
    /// What that run drew.
    pub(super) token: u64,
    /// Its runs below this one are dead: all before [`Self::begun`], and that one too where it was said to be down.
    pub lowest_live: Incarnation,
    /// The highest level of `apply` that the binary of that run knows.
    pub knows_level: u32,
    /// What it is there for.
    pub duty: Duty,
}

/// The state of the cluster group.
#[derive(Clone, Debug)]
pub struct Cluster {
    pub(super) founding: Option<Founding>,
    pub(super) members: BTreeMap<NodeId, Member>,
    /// Numbers that were given at last, and what whoever got them has drawn.
    pub(super) admitted: BTreeMap<NodeId, u64>,
    /// The highest number that a node has, or was given.
    pub(super) last_node: NodeId,
    /// The highest number of those that have left and are forgotten.
    pub(super) last_forgotten: NodeId,
    pub(super) now: Millis,
    pub(super) apply_level: u32,
    /// Routes and fences.
    pub(super) owners: Owners,
    pub(super) bans: Bans,
    /// Members that changed since the last checkpoint.
    pub(super) touched: BTreeSet<NodeId>,
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            founding: None,
            members: BTreeMap::new(),
            admitted: BTreeMap::new(),
            last_node: NodeId::default(),
            last_forgotten: NodeId::default(),
            now: Millis::default(),
            apply_level: 1,
            owners: Owners::default(),
            bans: Bans::default(),
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
        self.apply_telling(now, command, &mut |_| ())
    }

    /// The same, and says what it changed in routes, fences and bans.
    ///
    /// # Errors
    /// As for [`Self::apply`].
    pub fn apply_telling(
        &mut self,
        now: Millis,
        command: &Command,
        tell: &mut dyn FnMut(Change),
    ) -> Result<(), Refusal> {
        self.now = self.now.max(now);
        if !self.decide(command)? {
            self.change(command, tell);
        }
        debug_assert_eq!(self.check(false), Ok(()));
        Ok(())
    }

    /// Lets go of some of what dead runs had, `chunks` pieces of it. That no owner has it is a matter of
    /// [`Self::apply`]; this only takes time and memory, and no two replicas need to be as far with it.
    pub fn clean_up(&mut self, chunks: usize, tell: &mut dyn FnMut(Change)) {
        (0..chunks).map_while(|_| self.owners.bury()).for_each(tell);
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
            Command::Admit(token) => self.decide_admit(*token),
            Command::Begin(begin) => self.decide_begin(begin),
            Command::Down(host) => self.is_dead(*host),
            Command::Routes(routes) => self.decide_routes(routes),
            Command::Fence(fence) => Ok(self.is_dead(fence.host)? || self.owners.decide_fence(fence)?),
            Command::Unfence(fence) => Ok(!self.owners.has_fence(fence)),
            Command::Drain(_) | Command::Undrain(_) | Command::Leave(_) | Command::Left(_) => {
                self.decide_duty(command)
            }
            Command::Ban(_) | Command::Unban(_) => self.decide_access(command),
            Command::RaiseLevel(level) => {
                let ignorant = self.belonging().find(|(_, member)| member.knows_level < *level);
                match ignorant {
                    Some((node, _)) => Err(Refusal::NotKnownTo(node)),
                    None if self.members.is_empty() => Err(Refusal::NotFounded),
                    None => Ok(*level <= self.apply_level),
                }
            }
        }
    }

    /// Members that do not know the level could not read what is decided here.
    fn decide_access(&self, command: &Command) -> Result<bool, Refusal> {
        if self.apply_level < ACCESS_LEVEL {
            return Err(Refusal::NotYet(ACCESS_LEVEL));
        }
        match command {
            Command::Ban(ban) => self.bans.decide_ban(ban, self.now),
            Command::Unban(whom) => Ok(self.bans.table.get(whom).is_none()),
            _ => Ok(true),
        }
    }

    /// Whether a run that has begun is dead.
    pub(super) fn is_dead(&self, host: Host) -> Result<bool, Refusal> {
        match self.members.get(&host.node) {
            Some(member) if host.incarnation <= member.begun => Ok(member.is_dead(host.incarnation)),
            None if self.has_left(host.node) => Ok(true),
            _ => Err(Refusal::NotBegun),
        }
    }

    fn decide_routes(&self, routes: &Routes) -> Result<bool, Refusal> {
        match routes.owner {
            Owner::Host(host) if self.is_dead(host)? => return Err(Refusal::Dead),
            Owner::Shard(shard) if self.founding.is_none_or(|founding| shard.0 >= founding.shards) => {
                return Err(Refusal::NoShard(shard));
            }
            Owner::Host(_) | Owner::Shard(_) => {}
        }
        self.owners.decide_routes(routes)
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
        let Begin { host, token, name, address, knows_level } = begin;
        let Host { node, incarnation } = *host;
        if self.founding.is_none() {
            return Err(Refusal::NotFounded);
        }
        if node.0 == 0 || incarnation.0 == 0 || incarnation.next() == incarnation {
            return Err(Refusal::NoRun(*host));
        }
        if self.has_left(node) {
            return Err(Refusal::Left(node));
        }
        match self.members.get(&node) {
            Some(member) if member.begun == incarnation && member.token == *token => {
                if member.is_dead(incarnation) { Err(Refusal::Dead) } else { Ok(true) }
            }
            Some(member) if incarnation <= member.begun => Err(Refusal::NotNewer(member.begun)),
            None if self.members.len() >= MEMBERS_MAX => Err(Refusal::Full),
            _ if name.len() > NAME_BYTES_MAX => Err(Refusal::NameTooLong),
            _ if address.len() > ADDRESS_BYTES_MAX => Err(Refusal::AddressTooLong),
            _ if *knows_level < self.apply_level => Err(Refusal::TooOld(self.apply_level)),
            _ => Ok(false),
        }
    }

    /// Makes it as a command says that was not refused.
    fn change(&mut self, command: &Command, tell: &mut dyn FnMut(Change)) {
        match command {
            Command::Tick => {}
            Command::Found(founding) => {
                self.founding = Some(*founding);
                self.last_node = self.last_node.max(FOUNDER);
            }
            Command::Admit(token) => self.admit(*token),
            Command::Begin(begin) => self.begin(begin, tell),
            Command::Down(host) => {
                if let Some(member) = self.members.get_mut(&host.node) {
                    // It was not dead before: this is higher, and so is the last run, which alone has anything.
                    member.lowest_live = host.incarnation.next();
                    self.touched.insert(host.node);
                    tell(self.owners.drop_run(*host));
                }
            }
            Command::RaiseLevel(level) => self.apply_level = *level,
            Command::Routes(routes) => tell(self.owners.change_routes(routes)),
            Command::Fence(fence) => tell(self.owners.fence(fence)),
            Command::Unfence(fence) => tell(self.owners.unfence(fence)),
            Command::Drain(_) | Command::Undrain(_) | Command::Leave(_) | Command::Left(_) => {
                self.change_duty(command, tell);
            }
            Command::Ban(ban) => self.bans.ban(ban, self.now, tell),
            Command::Unban(whom) => tell(self.bans.unban(whom)),
        }
    }

    fn begin(&mut self, begin: &Begin, tell: &mut dyn FnMut(Change)) {
        let Host { node, incarnation } = begin.host;
        let member = Member {
            name: begin.name.clone(),
            address: begin.address.clone(),
            begun: incarnation,
            token: begin.token,
            lowest_live: incarnation,
            knows_level: begin.knows_level,
            duty: self.members.get(&node).map_or(Duty::Serves, |before| before.duty),
        };
        let before = self.members.insert(node, member);
        self.last_node = self.last_node.max(node);
        self.touched.insert(node);
        if let Some(before) = before.filter(|before| !before.is_dead(before.begun)) {
            tell(self.owners.drop_run(Host { node, incarnation: before.begun }));
        }
    }

    /// The owners that have, or had, routes or fences and live.
    pub fn owners(&self) -> impl Iterator<Item = Owner> {
        self.owners.live.keys().copied()
    }

    /// The number of an owner's last change of routes that was applied; 0 where there was none.
    #[must_use]
    pub fn last_routes(&self, owner: Owner) -> u64 {
        self.owners.last(owner)
    }

    /// The routes of an owner, in the order of their filters.
    pub fn routes(&self, owner: Owner) -> impl Iterator<Item = (&Filter, QoS)> {
        let owned = self.owners.live.get(&owner).into_iter();
        owned.flat_map(|owned| owned.routes.iter().map(|(filter, qos)| (filter, *qos)))
    }

    /// The fenced connections of a run, in the order of their clients.
    pub fn fences(&self, host: Host) -> impl Iterator<Item = Fence> {
        let owned = self.owners.live.get(&Owner::Host(host)).into_iter();
        owned.flat_map(move |owned| {
            owned.fences.iter().map(move |((client, epoch), connection)| Fence {
                client: client.clone(),
                epoch: *epoch,
                host,
                connection: *connection,
            })
        })
    }

    /// Who is banned, those included whose bans are over; in the order of what they are banned by.
    pub fn bans(&self) -> impl Iterator<Item = Ban> {
        self.bans.behind(None)
    }

    /// Those of them that come behind one.
    pub fn bans_behind(&self, last: &Banned) -> impl Iterator<Item = Ban> {
        self.bans.behind(Some(last))
    }

    /// Whether somebody is in the list of the banned.
    #[must_use]
    pub fn has_ban(&self, whom: &Banned) -> bool {
        self.bans.table.get(whom).is_some()
    }

    /// What was fixed when the cluster was created; `None` before.
    #[must_use]
    pub fn founding(&self) -> Option<Founding> {
        self.founding
    }

    /// Those that have not left.
    fn belonging(&self) -> impl Iterator<Item = (NodeId, &Member)> {
        self.members().filter(|(_, member)| member.duty != Duty::Left)
    }

    /// The nodes that belong to the cluster, and those that have left of late, in the order of their numbers.
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

    /// The runs that live, in the order of their nodes.
    pub fn live(&self) -> impl Iterator<Item = Host> {
        let live = self.members.iter().filter(|(_, member)| !member.is_dead(member.begun));
        live.map(|(node, member)| Host { node: *node, incarnation: member.begun })
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
        let known = self.belonging().map(|(_, member)| member.knows_level).min()?;
        (known > self.apply_level).then_some(known)
    }

    /// A digest of everything that replicas share: equal for equal states of the same binary, whatever led to them.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let numbers = (&self.admitted, self.last_node, self.last_forgotten);
        session_store::digest_of(&(
            self.founding,
            &self.members,
            numbers,
            self.now,
            self.apply_level,
            (&self.owners, &self.bans),
        ))
    }
}

impl Member {
    /// Whether its last run is not dead.
    #[must_use]
    pub fn lives(&self) -> bool {
        !self.is_dead(self.begun)
    }

    pub(super) fn is_dead(&self, incarnation: Incarnation) -> bool {
        incarnation < self.lowest_live
    }
}
