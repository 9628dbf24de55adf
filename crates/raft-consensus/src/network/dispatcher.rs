//! Where requests of other nodes arrive: finds the group that is meant and lets it answer. Held by whoever implements
//! the transport's receiving end. It trusts no byte, and answers for no node but its own.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{BoxStream, StreamExt};
use parking_lot::RwLock;

use super::replica::{Receives, Replica};
use super::snapshots::{Place, SnapshotFiles};
use super::{Refusal, Requests};
use crate::disk::Disk;
use crate::group::Group;
use crate::machine::Machine;
use crate::types::{NodeId, Types};
use crate::wal::GroupId;
use crate::wire;

/// The receiving end of a node's groups; clones are the same.
#[derive(Clone)]
pub struct Dispatcher {
    node: NodeId,
    disk: Arc<dyn Disk>,
    files: Arc<dyn SnapshotFiles>,
    groups: Arc<RwLock<BTreeMap<GroupId, Arc<dyn Receives>>>>,
}

impl Dispatcher {
    /// Of a node without groups yet. Snapshots that arrive are put on `disk`.
    #[must_use]
    pub fn new(node: NodeId, disk: Arc<dyn Disk>, files: Arc<dyn SnapshotFiles>) -> Self {
        Self { node, disk, files, groups: Arc::default() }
    }

    /// Lets a group be reached from now on. Files that an earlier life left of its snapshots are removed: to be called
    /// before the group sends any. Blocks for that.
    ///
    /// # Errors
    /// What the disk says.
    pub fn add<C: Types, M: Machine>(&self, group: &Group<C, M>) -> io::Result<()> {
        let place = Place { group: group.id(), disk: Arc::clone(&self.disk), files: Arc::clone(&self.files) };
        place.clear()?;
        self.groups.write().insert(group.id(), Arc::new(Replica::new(group.raft().clone(), place)));
        Ok(())
    }

    /// Refuses for a group from now on. Streams that are open end with the group.
    pub fn remove(&self, group: GroupId) {
        self.groups.write().remove(&group);
    }

    /// Does what one request asks.
    ///
    /// # Errors
    /// A [`Refusal`], to be told to whoever asked.
    pub async fn call(&self, request: Bytes) -> Result<Bytes, Refusal> {
        let group = self.find(&request)?;
        group.call(request).await
    }

    /// Does what the requests of a stream ask; its group is that of the first. The first refusal is the last item.
    pub fn open(&self, mut requests: Requests) -> BoxStream<'static, Result<Bytes, Refusal>> {
        let this = self.clone();
        let opening = async move {
            let Some(first) = requests.next().await else { return futures_util::stream::empty().boxed() };
            match this.find(&first) {
                Ok(group) => {
                    group.open(futures_util::stream::once(std::future::ready(first)).chain(requests).boxed())
                }
                Err(refusal) => futures_util::stream::once(std::future::ready(Err(refusal))).boxed(),
            }
        };
        futures_util::stream::once(opening).flatten().boxed()
    }

    fn find(&self, request: &Bytes) -> Result<Arc<dyn Receives>, Refusal> {
        let (group, to) = wire::address(request).map_err(|bad| Refusal::Malformed(bad.to_string()))?;
        if to != self.node {
            return Err(Refusal::WrongNode { expected: to, found: self.node });
        }
        self.groups.read().get(&group).cloned().ok_or(Refusal::UnknownGroup(group.0))
    }
}
