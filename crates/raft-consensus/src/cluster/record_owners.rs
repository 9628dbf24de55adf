//! How routes and fences are written down, in entries and in checkpoints (`proto/cluster.proto`). Called by `record`.
//! Reading never panics, whatever the bytes.

use std::collections::BTreeMap;

use bytes::Bytes;
use mqtt_codec::QoS;
use prost::Message;
use session_store::record::RecordError;
use session_store::store::Changes;
use session_store::{ClientId, Epoch, Host, ShardId};
use topic_index::Filter;

use super::owners::{Fenced, Grave, Owned, Owners, Place};
use super::record::{VERSION, host, known, read, read_host, wire};
use super::route::{Fence, Owner, Route, Routes};

/// Keys of a checkpoint's records; see `record`.
const OWNER: u8 = b'O';
const ROUTES: u8 = b'R';
const FENCES: u8 = b'F';
/// The first byte of an owner in a key.
const HOST: u8 = b'h';
const SHARD: u8 = b's';

fn owner(owner: Owner) -> wire::Owner {
    use wire::owner::Kind;
    let kind = match owner {
        Owner::Host(run) => Kind::Host(host(run)),
        Owner::Shard(shard) => Kind::Shard(shard.0.into()),
    };
    wire::Owner { kind: Some(kind) }
}

fn read_owner(owner: Option<wire::Owner>) -> Result<Owner, RecordError> {
    use wire::owner::Kind;
    match owner.and_then(|owner| owner.kind).ok_or(RecordError::Missing { field: "owner" })? {
        Kind::Host(run) => Ok(Owner::Host(read_host(run))),
        Kind::Shard(shard) => {
            let shard = u16::try_from(shard).map_err(|_| RecordError::Invalid { field: "shard" })?;
            Ok(Owner::Shard(ShardId(shard)))
        }
    }
}

fn route((filter, qos): (&Filter, QoS)) -> wire::Route {
    wire::Route { filter: filter.to_string(), qos: u8::from(qos).into() }
}

fn read_filter(text: &str) -> Result<Filter, RecordError> {
    Filter::parse(text, u16::MAX).map_err(|_| RecordError::Invalid { field: "filter" })
}

fn read_route(route: &wire::Route) -> Result<Route, RecordError> {
    let qos = u8::try_from(route.qos).ok().and_then(|qos| QoS::try_from(qos).ok());
    let qos = qos.ok_or(RecordError::Invalid { field: "qos" })?;
    Ok(Route { filter: read_filter(&route.filter)?, qos })
}

pub(super) fn routes(routes: &Routes) -> wire::Routes {
    wire::Routes {
        owner: Some(owner(routes.owner)),
        number: routes.number,
        predecessor: routes.predecessor,
        removes: routes.removes.iter().map(Filter::to_string).collect(),
        adds: routes.adds.iter().map(|add| route((&add.filter, add.qos))).collect(),
    }
}

pub(super) fn read_routes(routes: wire::Routes) -> Result<Routes, RecordError> {
    Ok(Routes {
        owner: read_owner(routes.owner)?,
        number: routes.number,
        predecessor: routes.predecessor,
        removes: routes.removes.iter().map(|text| read_filter(text)).collect::<Result<_, _>>()?,
        adds: routes.adds.iter().map(read_route).collect::<Result<_, _>>()?,
    })
}

pub(super) fn fence(fence: &Fence) -> wire::Fence {
    wire::Fence {
        client: fence.client.as_str().to_owned(),
        epoch: fence.epoch.0,
        host: Some(host(fence.host)),
        connection: fence.connection,
    }
}

pub(super) fn read_fence(fence: wire::Fence) -> Result<Fence, RecordError> {
    Ok(Fence {
        client: ClientId::new(&fence.client),
        epoch: Epoch(fence.epoch),
        host: read_host(fence.host.ok_or(RecordError::Missing { field: "fence.host" })?),
        connection: fence.connection,
    })
}

fn key(place: Place) -> Vec<u8> {
    let (kind, owner, chunk) = match place {
        Place::Owner(owner) => (OWNER, owner, None),
        Place::Routes(owner, chunk) => (ROUTES, owner, Some(chunk)),
        Place::Fences(owner, chunk) => (FENCES, owner, Some(chunk)),
    };
    let mut key = vec![kind];
    match owner {
        Owner::Host(Host { node, incarnation }) => {
            key.push(HOST);
            key.extend(node.0.to_be_bytes());
            key.extend(incarnation.0.to_be_bytes());
        }
        Owner::Shard(shard) => {
            key.push(SHARD);
            key.extend(shard.0.to_be_bytes());
        }
    }
    key.extend(chunk.into_iter().flat_map(u32::to_be_bytes));
    key
}

fn number<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (number, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*number)
}

fn read_key(key: &[u8]) -> Option<Place> {
    let [kind, of, left @ ..] = key else { return None };
    let mut left = left;
    let owner = match *of {
        HOST => {
            let node = session_store::NodeId(u32::from_be_bytes(number(&mut left)?));
            let incarnation = session_store::Incarnation(u32::from_be_bytes(number(&mut left)?));
            Owner::Host(Host { node, incarnation })
        }
        SHARD => Owner::Shard(ShardId(u16::from_be_bytes(number(&mut left)?))),
        _ => return None,
    };
    let place = match *kind {
        OWNER => Place::Owner(owner),
        ROUTES => Place::Routes(owner, u32::from_be_bytes(number(&mut left)?)),
        FENCES => Place::Fences(owner, u32::from_be_bytes(number(&mut left)?)),
        _ => return None,
    };
    left.is_empty().then_some(place)
}

impl Owners {
    /// The records that changed since the last call.
    pub(super) fn take_changes(&mut self, changes: &mut Changes) {
        for place in std::mem::take(&mut self.buried) {
            changes.remove(key(place));
        }
        for owner in std::mem::take(&mut self.touched) {
            match self.live.get_mut(&owner) {
                Some(owned) => write(owner, owned, changes),
                None => changes.put(key(Place::Owner(owner)), head(0, true)),
            }
        }
    }
}

fn head(last: u64, dead: bool) -> Bytes {
    wire::OwnerHead { version: VERSION, last, dead }.encode_to_vec().into()
}

fn write(owner: Owner, owned: &mut Owned, changes: &mut Changes) {
    changes.put(key(Place::Owner(owner)), head(owned.last, false));
    for (number, entries) in owned.routes.take_touched() {
        let routes = entries.iter().map(|(filter, qos)| route((filter, *qos))).collect();
        let chunk = wire::RouteChunk { version: VERSION, routes };
        put(changes, Place::Routes(owner, number), entries.is_empty(), chunk.encode_to_vec());
    }
    for (number, entries) in owned.fences.take_touched() {
        let fenced = |((client, epoch), connection): &(Fenced, u64)| wire::Fenced {
            client: client.as_str().to_owned(),
            epoch: epoch.0,
            connection: *connection,
        };
        let chunk = wire::FenceChunk { version: VERSION, fences: entries.iter().map(fenced).collect() };
        put(changes, Place::Fences(owner, number), entries.is_empty(), chunk.encode_to_vec());
    }
}

fn put(changes: &mut Changes, place: Place, is_empty: bool, record: Vec<u8>) {
    if is_empty { changes.remove(key(place)) } else { changes.put(key(place), record.into()) }
}

/// Owners as their records come in, in any order.
#[derive(Default)]
pub(super) struct Restored {
    heads: BTreeMap<Owner, wire::OwnerHead>,
    owned: BTreeMap<Owner, Owned>,
}

impl Restored {
    /// Takes over a record.
    ///
    /// # Errors
    /// It is none that this binary knows.
    pub(super) fn take(&mut self, key: &[u8], value: Bytes) -> Result<(), RecordError> {
        match read_key(key).ok_or(RecordError::Invalid { field: "key" })? {
            Place::Owner(owner) => {
                let head: wire::OwnerHead = read("owner of routes", value)?;
                known("owner of routes", head.version)?;
                self.heads.insert(owner, head);
            }
            Place::Routes(owner, number) => {
                let chunk: wire::RouteChunk = read("chunk of routes", value)?;
                known("chunk of routes", chunk.version)?;
                let owned = self.owned.entry(owner).or_default();
                for route in &chunk.routes {
                    let Route { filter, qos } = read_route(route)?;
                    once(owned.routes.restore(number, filter, qos))?;
                }
            }
            Place::Fences(owner, number) => {
                let chunk: wire::FenceChunk = read("chunk of fences", value)?;
                known("chunk of fences", chunk.version)?;
                let owned = self.owned.entry(owner).or_default();
                for fenced in &chunk.fences {
                    let connection = fenced.connection;
                    let fenced = (ClientId::new(&fenced.client), Epoch(fenced.epoch));
                    once(owned.fences.restore(number, fenced, connection))?;
                }
            }
        }
        Ok(())
    }

    /// All owners, once all records are there.
    ///
    /// # Errors
    /// Something is of nobody.
    pub(super) fn finish(mut self) -> Result<Owners, RecordError> {
        let mut owners = Owners::default();
        for (owner, head) in self.heads {
            let owned = Owned { last: head.last, ..self.owned.remove(&owner).unwrap_or_default() };
            match owner {
                Owner::Host(host) if head.dead => owners.graves.push_back(Grave { host, owned }),
                Owner::Shard(_) if head.dead => return Err(RecordError::Invalid { field: "dead" }),
                Owner::Host(_) | Owner::Shard(_) => drop(owners.live.insert(owner, owned)),
            }
        }
        if self.owned.is_empty() {
            Ok(owners)
        } else {
            Err(RecordError::Missing { field: "owner of routes" })
        }
    }
}

/// No filter and no connection is there twice.
fn once(new: bool) -> Result<(), RecordError> {
    if new { Ok(()) } else { Err(RecordError::Invalid { field: "chunk" }) }
}
