//! Which connections are fenced, and which runs are gone, as the log has it: what a host may not acknowledge for any more,
//! and whose frames count as empty. Owned by the view; small.

use std::collections::{BTreeMap, BTreeSet};

use raft_consensus::cluster::{Change, Cluster, Fence};
use session_store::{ClientId, Epoch, Host, Incarnation, NodeId};

/// The fences of a view.
#[derive(Debug, Default)]
pub(super) struct Fences {
    fenced: BTreeMap<Host, BTreeSet<(ClientId, Epoch)>>,
    /// Of each node the lowest run that is not known to be gone.
    lowest: BTreeMap<NodeId, Incarnation>,
}

impl Fences {
    /// The fences of a state.
    pub(super) fn of(state: &Cluster) -> Self {
        let fenced = |host: Host| -> BTreeSet<(ClientId, Epoch)> {
            state.fences(host).map(|(client, epoch)| (client.clone(), epoch)).collect()
        };
        let fenced = state.live().map(|host| (host, fenced(host)));
        Self {
            fenced: fenced.filter(|(_, fenced)| !fenced.is_empty()).collect(),
            lowest: state.lowest_live().collect(),
        }
    }

    /// Takes over what changed.
    pub(super) fn change(&mut self, change: &Change) {
        match change {
            Change::Fenced(Fence { client, epoch, host }) => {
                self.fenced.entry(*host).or_default().insert((client.clone(), *epoch));
            }
            Change::Unfenced(Fence { client, epoch, host }) => {
                if let Some(fenced) = self.fenced.get_mut(host) {
                    fenced.remove(&(client.clone(), *epoch));
                    if fenced.is_empty() {
                        self.fenced.remove(host);
                    }
                }
            }
            Change::Gone(host) => {
                self.fenced.remove(host);
                let lowest = self.lowest.entry(host.node).or_default();
                *lowest = host.incarnation.next().max(*lowest);
            }
            Change::Routes(_) | Change::Buried { .. } => {}
        }
    }

    pub(super) fn admits(&self, client: &ClientId, epoch: Epoch, host: Host) -> bool {
        let lives = self.lowest.get(&host.node).is_none_or(|lowest| host.incarnation >= *lowest);
        let fenced = self.fenced.get(&host);
        lives && fenced.is_none_or(|fenced| !fenced.contains(&(client.clone(), epoch)))
    }
}
