//! How bans are written down, in entries and in checkpoints (`proto/cluster.proto`). Called by `record`. Reading never panics,
//! whatever the bytes.

use std::net::IpAddr;

use bytes::Bytes;
use prost::Message;
use session_store::Millis;
use session_store::record::RecordError;
use session_store::store::Changes;

use super::ban::{Ban, Banned, Bans, Terms};
use super::record::{BANS, VERSION, known, read, wire};

const INVALID: RecordError = RecordError::Invalid { field: "banned" };

fn address(address: IpAddr) -> Bytes {
    match address {
        IpAddr::V4(address) => Bytes::copy_from_slice(&address.octets()),
        IpAddr::V6(address) => Bytes::copy_from_slice(&address.octets()),
    }
}

fn read_address(bytes: &[u8]) -> Result<IpAddr, RecordError> {
    let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    four.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).map_err(|_| INVALID)
}

pub(super) fn banned(whom: &Banned) -> wire::Banned {
    use wire::banned::Kind;
    let kind = match whom {
        Banned::Address(of) => Kind::Address(address(*of)),
        Banned::Network(of, bits) => {
            Kind::Network(wire::Network { address: address(*of), bits: (*bits).into() })
        }
        Banned::User(name) => Kind::User(name.to_string()),
        Banned::Client(id) => Kind::Client(id.to_string()),
    };
    wire::Banned { kind: Some(kind) }
}

pub(super) fn read_banned(whom: wire::Banned) -> Result<Banned, RecordError> {
    use wire::banned::Kind;
    Ok(match whom.kind.ok_or(RecordError::Missing { field: "banned" })? {
        Kind::Address(of) => Banned::Address(read_address(&of)?),
        Kind::Network(of) => {
            Banned::Network(read_address(&of.address)?, u8::try_from(of.bits).map_err(|_| INVALID)?)
        }
        Kind::User(name) => Banned::User(name.into()),
        Kind::Client(id) => Banned::Client(id.into()),
    })
}

pub(super) fn ban(ban: &Ban) -> wire::Ban {
    written(&ban.whom, &Terms { until: ban.until, why: ban.why.clone() })
}

fn written(whom: &Banned, terms: &Terms) -> wire::Ban {
    wire::Ban {
        whom: Some(banned(whom)),
        until_ms: terms.until.map(|until| until.0),
        why: terms.why.to_string(),
    }
}

pub(super) fn read_ban(ban: wire::Ban) -> Result<Ban, RecordError> {
    Ok(Ban {
        whom: read_banned(ban.whom.ok_or(RecordError::Missing { field: "ban.whom" })?)?,
        until: ban.until_ms.map(Millis),
        why: ban.why.into(),
    })
}

/// The records that changed since the last call.
pub(super) fn take_changes(bans: &mut Bans, changes: &mut Changes) {
    for (number, entries) in bans.table.take_touched() {
        let key = [&[BANS][..], &number.to_be_bytes()].concat();
        if entries.is_empty() {
            changes.remove(key);
            continue;
        }
        let bans = entries.iter().map(|(whom, terms)| written(whom, terms)).collect();
        changes.put(key, wire::BanChunk { version: VERSION, bans }.encode_to_vec().into());
    }
}

/// Takes over a record.
///
/// # Errors
/// It is none that this binary knows.
pub(super) fn restore(bans: &mut Bans, chunk: &[u8], value: Bytes) -> Result<(), RecordError> {
    let number = chunk.try_into().map_err(|_| RecordError::Invalid { field: "key" })?;
    let chunk: wire::BanChunk = read("chunk of bans", value)?;
    known("chunk of bans", chunk.version)?;
    for ban in chunk.bans {
        if !bans.restore(u32::from_be_bytes(number), read_ban(ban)?) {
            return Err(RecordError::Invalid { field: "chunk" });
        }
    }
    Ok(())
}
