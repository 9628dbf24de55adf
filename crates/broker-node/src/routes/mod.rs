//! How this node's routes get into the cluster group's log, and how a SUBSCRIBE hears that they are in force. A host
//! announces its transient subscribers, the leader of a shard the shard's persistent ones. Nothing here matches a topic.

mod barriers;
mod host;
mod shard;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;

use mqtt_codec::QoS;
use raft_consensus::cluster::{AskError, Cluster, Command, Owner};
use raft_consensus::group::Gone;
use topic_index::Filter;

pub(crate) use self::barriers::Barriers;
pub(crate) use self::host::HostRoutes;
pub(crate) use self::shard::{ShardRoutes, as_of_entry, commands};
use crate::cluster::Asks;

/// Something that will be known.
pub(crate) type Later<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The routes of one owner, as the cluster group has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Known {
    /// The number of its last change.
    pub(crate) last: u64,
    /// Its routes, with the highest QoS granted.
    pub(crate) routes: BTreeMap<Filter, QoS>,
}

/// The cluster group, for whoever has routes: on every node, whichever leads it.
pub(crate) trait AsksCluster: Send + Sync {
    /// Waits until it is as a command says.
    fn ask(&self, command: Command) -> Later<Result<(), AskError>>;

    /// The routes of an owner, as this node has applied the group's log by now.
    fn known(&self, owner: Owner) -> Later<Result<Known, Gone>>;
}

impl AsksCluster for Asks {
    fn ask(&self, command: Command) -> Later<Result<(), AskError>> {
        let asks = self.clone();
        Box::pin(async move { Self::ask(&asks, &command).await })
    }

    fn known(&self, owner: Owner) -> Later<Result<Known, Gone>> {
        let asks = self.clone();
        Box::pin(async move {
            let routes_of = move |state: &Cluster| {
                let routes = state.routes(owner).map(|(filter, qos)| (filter.clone(), qos)).collect();
                Known { last: state.last_routes(owner), routes }
            };
            asks.look(routes_of).await
        })
    }
}
