//! Which connections are fenced, and which runs are gone, as the log has it: what a host may not acknowledge for any more,
//! and whose frames count as empty. Owned by the view; small.

use std::collections::{BTreeMap, BTreeSet};

use raft_consensus::cluster::{Change, Cluster, Fence};
use session_store::{ClientId, ConnectionId, Epoch, Host, Incarnation, NodeId};

/// The fenced connections of one host.
#[derive(Debug, Default)]
struct Fenced {
    /// Their numbers there.
    numbers: BTreeSet<u64>,
    by_client: BTreeMap<(ClientId, Epoch), u64>,
}

/// The fences of a view.
#[derive(Debug, Default)]
pub(super) struct Fences {
    fenced: BTreeMap<Host, Fenced>,
    /// Of each node the lowest run that is not known to be gone.
    lowest: BTreeMap<NodeId, Incarnation>,
}

impl Fences {
    /// The fences of a state.
    pub(super) fn of(state: &Cluster) -> Self {
        let mut fences = Self { fenced: BTreeMap::new(), lowest: state.lowest_live().collect() };
        state.live().flat_map(|host| state.fences(host)).for_each(|fence| fences.add(&fence));
        fences
    }

    /// Takes over what changed.
    pub(super) fn change(&mut self, change: &Change) {
        match change {
            Change::Fenced(fence) => self.add(fence),
            Change::Unfenced(fence) => self.remove(fence),
            Change::Gone(host) => {
                self.fenced.remove(host);
                let lowest = self.lowest.entry(host.node).or_default();
                *lowest = host.incarnation.next().max(*lowest);
            }
            Change::Routes(_) | Change::Buried { .. } | Change::Banned(_) | Change::Unbanned(_) => {}
        }
    }

    fn add(&mut self, fence: &Fence) {
        let of_host = self.fenced.entry(fence.host).or_default();
        of_host.numbers.insert(fence.connection);
        of_host.by_client.insert((fence.client.clone(), fence.epoch), fence.connection);
    }

    fn remove(&mut self, fence: &Fence) {
        let Some(of_host) = self.fenced.get_mut(&fence.host) else { return };
        if let Some(number) = of_host.by_client.remove(&(fence.client.clone(), fence.epoch)) {
            of_host.numbers.remove(&number);
        }
        if of_host.by_client.is_empty() {
            self.fenced.remove(&fence.host);
        }
    }

    pub(super) fn of_host(&self, host: Host) -> Vec<Fence> {
        let fenced = self.fenced.get(&host).into_iter().flat_map(|fenced| &fenced.by_client);
        let fence = |((client, epoch), connection): (&(ClientId, Epoch), &u64)| {
            let (client, epoch, connection) = (client.clone(), *epoch, *connection);
            Fence { client, epoch, host, connection }
        };
        fenced.map(fence).collect()
    }

    fn lives(&self, host: Host) -> bool {
        self.lowest.get(&host.node).is_none_or(|lowest| host.incarnation >= *lowest)
    }

    pub(super) fn admits(&self, client: &ClientId, epoch: Epoch, host: Host) -> bool {
        let fenced = self.fenced.get(&host);
        self.lives(host)
            && fenced.is_none_or(|fenced| !fenced.by_client.contains_key(&(client.clone(), epoch)))
    }

    pub(super) fn admits_connection(&self, connection: ConnectionId) -> bool {
        let fenced = self.fenced.get(&connection.host);
        self.lives(connection.host)
            && fenced.is_none_or(|fenced| !fenced.numbers.contains(&connection.number))
    }
}
