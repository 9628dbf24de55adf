//! The simulated disk's part that stands for the files of the store: sled opens its own by their paths, from threads of its
//! own, so that neither can be simulated. The records of each shard are one file of the simulated disk, written whole, synced
//! and renamed; what goes into them and comes out of them is the shard's, as in the broker.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes};
use parking_lot::Mutex;
use raft_consensus::disk::{Disk, SimDisk, read_whole};
use raft_consensus::network::SnapshotFiles;
use raft_consensus::record;
use raft_consensus::types::SnapshotMeta;
use raft_consensus::wal::GroupId;
use session_store::store::Changes;

pub(crate) type Records = BTreeMap<Bytes, Bytes>;

/// The store's files of a simulated node. They are atomic as the store's writes are, and lose with the power what was not
/// synced.
#[derive(Clone, Debug)]
pub(crate) struct StoreFiles {
    disk: SimDisk,
    states: Arc<Mutex<BTreeMap<GroupId, (SnapshotMeta, Records)>>>,
}

fn name(group: GroupId) -> String {
    format!("checkpoint-{}", group.0)
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.put_u32(u32::try_from(bytes.len()).unwrap());
    out.put_slice(bytes);
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the checkpoint is damaged")
}

fn block(bytes: &mut Bytes) -> io::Result<Bytes> {
    let len = bytes.try_get_u32().map_err(|_| damaged())? as usize;
    if len > bytes.len() { Err(damaged()) } else { Ok(bytes.split_to(len)) }
}

fn encode(meta: &SnapshotMeta, records: &Records) -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out, &record::encode_applied(meta));
    for (key, value) in records {
        put(&mut out, key);
        put(&mut out, value);
    }
    let checksum = crc32fast::hash(&out);
    out.put_u32(checksum);
    out
}

pub(crate) fn read(disk: &SimDisk, name: &str) -> io::Result<(SnapshotMeta, Records)> {
    let mut bytes = Bytes::from(read_whole(disk.open(name)?.as_ref())?);
    let mut checksum = bytes.split_off(bytes.len().checked_sub(4).ok_or_else(damaged)?);
    if checksum.get_u32() != crc32fast::hash(&bytes) {
        return Err(damaged());
    }
    let meta = record::decode_applied(&block(&mut bytes)?)?;
    let mut records = Records::new();
    while !bytes.is_empty() {
        let key = block(&mut bytes)?;
        records.insert(key, block(&mut bytes)?);
    }
    Ok((meta, records))
}

impl StoreFiles {
    /// What the disk has, or nothing yet.
    pub(crate) fn open(disk: &SimDisk, groups: impl IntoIterator<Item = GroupId>) -> io::Result<Self> {
        let mut states = BTreeMap::new();
        for group in groups {
            match read(disk, &name(group)) {
                Ok(state) => drop(states.insert(group, state)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Self { disk: disk.clone(), states: Arc::new(Mutex::new(states)) })
    }

    /// The checkpoints of a node that does not run are gone from its disk.
    pub(crate) fn lose(disk: &SimDisk, groups: impl IntoIterator<Item = GroupId>) {
        for group in groups {
            let _there_was_none = disk.remove(&name(group));
        }
        disk.sync_dir("").unwrap();
    }

    pub(crate) fn disk(&self) -> &SimDisk {
        &self.disk
    }

    pub(crate) fn state(&self, group: GroupId) -> (SnapshotMeta, Records) {
        self.states.lock().get(&group).cloned().unwrap_or_default()
    }

    pub(crate) fn write(&self, group: GroupId, meta: SnapshotMeta, changes: &Changes) -> io::Result<()> {
        let mut records = self.state(group).1;
        for (key, value) in changes.iter() {
            match value {
                Some(value) => drop(records.insert(key.to_vec().into(), value.clone())),
                None => drop(records.remove(key)),
            }
        }
        self.replace(group, meta, records)
    }

    pub(crate) fn replace(&self, group: GroupId, meta: SnapshotMeta, records: Records) -> io::Result<()> {
        let (name, unfinished) = (name(group), format!("{}.unfinished", name(group)));
        self.put_file(&unfinished, &encode(&meta, &records))?;
        self.disk.rename(&unfinished, &name)?;
        self.disk.sync_dir("")?;
        self.states.lock().insert(group, (meta, records));
        Ok(())
    }

    fn put_file(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        if self.disk.open(name).is_ok() {
            self.disk.remove(name)?;
        }
        let file = self.disk.create(name)?;
        file.write_at(bytes, 0)?;
        file.fdatasync()?;
        Ok(())
    }
}

impl SnapshotFiles for StoreFiles {
    fn export(&self, group: GroupId, name: &str) -> io::Result<SnapshotMeta> {
        let (meta, records) = self.state(group);
        if meta.last_log_id.is_none() {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.put_file(name, &encode(&meta, &records))?;
        Ok(meta)
    }

    fn verify(&self, name: &str) -> io::Result<SnapshotMeta> {
        Ok(read(&self.disk, name)?.0)
    }

    fn path(&self, name: &str) -> PathBuf {
        name.into()
    }
}
