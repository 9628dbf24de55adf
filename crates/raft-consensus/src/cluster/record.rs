//! How the cluster group's entries and checkpoints are written down (`proto/cluster.proto`). Called by the machine.
//! Reading never panics, whatever the bytes, and skips nothing that it does not know.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message;
use session_store::record::RecordError;
use session_store::store::Changes;
use session_store::{Host, Incarnation, Millis, NodeId};

use super::ban::Bans;
use super::command::{Begin, ClusterId, Command, Founding, Standing};
use super::duties::Duty;
use super::state::{Cluster, Member};
use super::{APPLY_LEVEL_MAX, FOUNDER};
use super::{record_bans, record_owners};

/// What `build.rs` makes of `proto/cluster.proto`.
#[allow(clippy::all, missing_docs, unreachable_pub, reason = "generated")]
pub(super) mod wire {
    include!(concat!(env!("OUT_DIR"), "/quelea.cluster.v1.rs"));
}

/// The version of what this binary writes, and the newest that it reads.
pub(super) const VERSION: u32 = 1;
/// The version of a member that does not just serve, and of the head where such members were forgotten.
const WITH_DUTY: u32 = 2;

/// Keys of a checkpoint's records: one byte that says what it is, then which one. What a byte means never changes.
const HEAD: u8 = b'H';
pub(super) const BANS: u8 = b'B';
const MEMBER: u8 = b'M';

pub(super) fn read<M: Message + Default>(kind: &'static str, bytes: Bytes) -> Result<M, RecordError> {
    M::decode(bytes).map_err(|error| RecordError::Malformed { kind, reason: error.to_string() })
}

pub(super) fn known(kind: &'static str, found: u32) -> Result<(), RecordError> {
    if found == VERSION { Ok(()) } else { Err(RecordError::Version { kind, known: VERSION, found }) }
}

pub(super) fn host(host: Host) -> wire::Host {
    wire::Host { node: host.node.0, incarnation: host.incarnation.0 }
}

pub(super) fn read_host(host: wire::Host) -> Host {
    Host { node: NodeId(host.node), incarnation: Incarnation(host.incarnation) }
}

fn founding(founding: &Founding) -> wire::Founding {
    let cluster = Bytes::copy_from_slice(&founding.cluster.0);
    wire::Founding { cluster, shards: u32::from(founding.shards) }
}

fn read_founding(wire: &wire::Founding) -> Result<Founding, RecordError> {
    let cluster = wire.cluster.as_ref().try_into().map_err(|_| RecordError::Invalid { field: "cluster" })?;
    let shards = u16::try_from(wire.shards).map_err(|_| RecordError::Invalid { field: "shards" })?;
    Ok(Founding { cluster: ClusterId(cluster), shards })
}

fn command(command: &Command) -> wire::Command {
    use wire::command::Kind;
    let kind = match command {
        Command::Tick => Kind::Tick(wire::Nothing {}),
        Command::Found(new) => Kind::Found(founding(new)),
        Command::Admit(token) => Kind::Admit(*token),
        Command::Begin(begin) => Kind::Begin(wire::Begin {
            host: Some(host(begin.host)),
            token: begin.token,
            name: begin.name.to_string(),
            address: begin.address.to_string(),
            knows_level: begin.knows_level,
        }),
        Command::Down(dead) => Kind::Down(host(*dead)),
        Command::RaiseLevel(level) => Kind::RaiseLevel(*level),
        Command::Drain(node) => Kind::Drain(node.0),
        Command::Undrain(node) => Kind::Undrain(node.0),
        Command::Leave(node) => Kind::Leave(node.0),
        Command::Left(node) => Kind::Left(node.0),
        Command::Routes(routes) => Kind::Routes(record_owners::routes(routes)),
        Command::Fence(fence) => Kind::Fence(record_owners::fence(fence)),
        Command::Unfence(fence) => Kind::Unfence(record_owners::fence(fence)),
        Command::Ban(ban) => Kind::Ban(record_bans::ban(ban)),
        Command::Unban(whom) => Kind::Unban(record_bans::banned(whom)),
    };
    wire::Command { kind: Some(kind) }
}

fn read_command(wire: wire::Command) -> Result<Command, RecordError> {
    use wire::command::Kind;
    Ok(match wire.kind.ok_or(RecordError::Missing { field: "command" })? {
        Kind::Tick(_) => Command::Tick,
        Kind::Found(new) => Command::Found(read_founding(&new)?),
        Kind::Admit(token) => Command::Admit(token),
        Kind::Begin(begin) => Command::Begin(Begin {
            host: read_host(begin.host.ok_or(RecordError::Missing { field: "begin.host" })?),
            token: begin.token,
            name: begin.name.into(),
            address: begin.address.into(),
            knows_level: begin.knows_level,
        }),
        Kind::Down(dead) => Command::Down(read_host(dead)),
        Kind::RaiseLevel(level) => Command::RaiseLevel(level),
        Kind::Drain(node) => Command::Drain(NodeId(node)),
        Kind::Undrain(node) => Command::Undrain(NodeId(node)),
        Kind::Leave(node) => Command::Leave(NodeId(node)),
        Kind::Left(node) => Command::Left(NodeId(node)),
        Kind::Routes(routes) => Command::Routes(record_owners::read_routes(routes)?),
        Kind::Fence(fence) => Command::Fence(record_owners::read_fence(fence)?),
        Kind::Unfence(fence) => Command::Unfence(record_owners::read_fence(fence)?),
        Kind::Ban(ban) => Command::Ban(record_bans::read_ban(ban)?),
        Kind::Unban(whom) => Command::Unban(record_bans::read_banned(whom)?),
    })
}

/// The body of an entry: these commands, to be applied at the log's time `now`.
pub(super) fn encode_entry(now: Millis, commands: &[Command]) -> Bytes {
    let commands = commands.iter().map(command).collect();
    wire::Entry { version: VERSION, now_ms: now.0, commands }.encode_to_vec().into()
}

/// Reads the body of an entry.
///
/// # Errors
/// It is none, or of a version or with a command that this binary does not know.
pub(super) fn decode_entry(bytes: Bytes) -> Result<(Millis, Vec<Command>), RecordError> {
    let entry: wire::Entry = read("entry of the cluster group", bytes)?;
    known("entry of the cluster group", entry.version)?;
    let commands: Result<_, _> = entry.commands.into_iter().map(read_command).collect();
    Ok((Millis(entry.now_ms), commands?))
}

/// A command as bytes, for whoever leads the group.
#[must_use]
pub fn encode_asking(asked: &Command) -> Bytes {
    wire::Asking { version: VERSION, command: Some(command(asked)) }.encode_to_vec().into()
}

/// Reads a command of another node.
///
/// # Errors
/// It is none, or of a version or a kind that this binary does not know.
pub fn decode_asking(bytes: Bytes) -> Result<Command, RecordError> {
    let asking: wire::Asking = read("command", bytes)?;
    known("command", asking.version)?;
    read_command(asking.command.ok_or(RecordError::Missing { field: "command" })?)
}

/// What came of a command, for whoever asked another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// It can be seen in the state as of this entry.
    Decided(u64),
    /// Whoever was asked does not lead the group.
    NotLeading,
}

impl Asked {
    /// As bytes.
    #[must_use]
    pub fn encode(self) -> Bytes {
        let outcome = match self {
            Self::Decided(index) => wire::asked::Outcome::Decided(index),
            Self::NotLeading => wire::asked::Outcome::NotLeading(wire::Nothing {}),
        };
        wire::Asked { outcome: Some(outcome) }.encode_to_vec().into()
    }

    /// Reads it.
    ///
    /// # Errors
    /// It is none.
    pub fn decode(bytes: Bytes) -> Result<Self, RecordError> {
        let asked: wire::Asked = read("answer to a command", bytes)?;
        match asked.outcome.ok_or(RecordError::Missing { field: "outcome" })? {
            wire::asked::Outcome::Decided(index) => Ok(Self::Decided(index)),
            wire::asked::Outcome::NotLeading(_) => Ok(Self::NotLeading),
        }
    }
}

fn member_key(node: NodeId) -> Vec<u8> {
    [&[MEMBER][..], &node.0.to_be_bytes()].concat()
}

fn duty(duty: Duty) -> wire::Duty {
    match duty {
        Duty::Serves => wire::Duty::Serves,
        Duty::Drains => wire::Duty::Drains,
        Duty::Leaves => wire::Duty::Leaves,
        Duty::Left => wire::Duty::Left,
    }
}

fn read_duty(duty: wire::Duty) -> Duty {
    match duty {
        wire::Duty::Serves => Duty::Serves,
        wire::Duty::Drains => Duty::Drains,
        wire::Duty::Leaves => Duty::Leaves,
        wire::Duty::Left => Duty::Left,
    }
}

fn member(member: &Member) -> Bytes {
    let duty = duty(member.duty);
    // Whoever serves is what an older binary takes each member for.
    let version = if duty == wire::Duty::Serves { VERSION } else { WITH_DUTY };
    let wire = wire::Member {
        version,
        duty: duty.into(),
        name: member.name.to_string(),
        address: member.address.to_string(),
        begun: member.begun.0,
        token: member.token,
        lowest_live: member.lowest_live.0,
        knows_level: member.knows_level,
    };
    wire.encode_to_vec().into()
}

fn read_member(bytes: Bytes) -> Result<Member, RecordError> {
    let wire: wire::Member = read("member", bytes)?;
    if wire.version != WITH_DUTY {
        known("member", wire.version)?;
    }
    let duty = wire::Duty::try_from(wire.duty).map_err(|_| RecordError::Invalid { field: "duty" })?;
    Ok(Member {
        name: wire.name.into(),
        address: wire.address.into(),
        begun: Incarnation(wire.begun),
        token: wire.token,
        lowest_live: Incarnation(wire.lowest_live),
        knows_level: wire.knows_level,
        duty: read_duty(duty),
    })
}

impl Cluster {
    /// The records that changed since the last call, or since the state was restored; all of them for one that is new.
    /// They count as written from now on.
    pub fn take_changes(&mut self) -> Changes {
        let mut changes = Changes::default();
        for node in std::mem::take(&mut self.touched) {
            match self.members.get(&node) {
                Some(known) => changes.put(member_key(node), member(known)),
                None => changes.remove(member_key(node)),
            }
        }
        // Whoever is not forgotten is known by its record.
        let version = if self.last_forgotten.0 == 0 { VERSION } else { WITH_DUTY };
        let head = wire::Head {
            version,
            last_forgotten: self.last_forgotten.0,
            founding: self.founding.as_ref().map(founding),
            now_ms: self.now.0,
            apply_level: self.apply_level,
            last_node: self.last_node.0,
            admitted: self
                .admitted
                .iter()
                .map(|(node, token)| wire::Admitted { node: node.0, token: *token })
                .collect(),
        };
        changes.put(vec![HEAD], head.encode_to_vec().into());
        self.owners.take_changes(&mut changes);
        record_bans::take_changes(&mut self.bans, &mut changes);
        changes
    }

    /// The state whose records these are, in any order.
    ///
    /// # Errors
    /// The first error of `records`; [`RecordError`] for records that are not all those of a cluster group, or of a
    /// version or apply level that this binary does not know.
    pub fn restore<E: From<RecordError>>(
        records: impl IntoIterator<Item = Result<(Bytes, Bytes), E>>,
    ) -> Result<Self, E> {
        let mut head = None;
        let mut members = BTreeMap::new();
        let mut owners = record_owners::Restored::default();
        let mut bans = Bans::default();
        for record in records {
            let (key, value) = record?;
            match key.split_first() {
                Some((&HEAD, [])) => head = Some(read::<wire::Head>("head of the cluster group", value)?),
                Some((&MEMBER, node)) => {
                    let node = node.try_into().map_err(|_| RecordError::Invalid { field: "key" })?;
                    members.insert(NodeId(u32::from_be_bytes(node)), read_member(value)?);
                }
                Some((&BANS, chunk)) => record_bans::restore(&mut bans, chunk, value)?,
                _ => owners.take(&key, value)?,
            }
        }
        let head = head.ok_or(RecordError::Missing { field: "head of the cluster group" })?;
        Ok(Self::put_together(&head, members, (owners, bans))?)
    }

    fn put_together(
        head: &wire::Head,
        members: BTreeMap<NodeId, Member>,
        (owners, bans): (record_owners::Restored, Bans),
    ) -> Result<Self, RecordError> {
        if head.version != WITH_DUTY {
            known("head of the cluster group", head.version)?;
        }
        let found = head.apply_level;
        if found > APPLY_LEVEL_MAX {
            return Err(RecordError::Version { kind: "apply level", known: APPLY_LEVEL_MAX, found });
        }
        // Nobody was given a number by those who did not write it down.
        let last_member = members.last_key_value().map_or(FOUNDER, |(node, _)| *node);
        let admitted = head.admitted.iter().map(|given| (NodeId(given.node), given.token));
        let cluster = Self {
            admitted: admitted.collect(),
            last_node: if head.founding.is_some() {
                last_member.max(NodeId(head.last_node))
            } else {
                NodeId::default()
            },
            last_forgotten: NodeId(head.last_forgotten),
            founding: head.founding.as_ref().map(read_founding).transpose()?,
            members,
            now: Millis(head.now_ms),
            apply_level: found,
            owners: owners.finish()?,
            bans,
            ..Self::default()
        };
        let buried = |host: &Host| cluster.standing(&Command::Down(*host)) == Standing::InForce;
        if !cluster.owners.graves.iter().all(|grave| buried(&grave.host)) {
            return Err(RecordError::Invalid { field: "dead" });
        }
        cluster.validate().map_err(|_| RecordError::Invalid { field: "cluster group" })?;
        Ok(cluster)
    }
}
