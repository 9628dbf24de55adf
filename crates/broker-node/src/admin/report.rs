//! What this node says of itself: whether it serves, and where its replicas are. Made on each request; it asks nobody else.

use node_routing::lease::Hold;
use raft_consensus::group::{Gone, Group};
use raft_consensus::machine::Machine;
use raft_consensus::types::TokioTypes;

use super::node_proto::{AboutMe, OwnReplica};
use super::proto::{Lease, Listener, NodeReport, Positions};
use super::subject::{Belongs, Running, Subject};

impl Subject {
    /// All that this node says of itself, with a digest of the state of each replica where that is wanted.
    pub(super) async fn about_me(&self, digests: bool) -> AboutMe {
        let mut replicas = Vec::new();
        if let (Some(belongs), Some(running)) = (self.belongs(), self.running()) {
            // A group that has ended has nothing to tell, and its node stops.
            let _stops = add_replicas(&mut replicas, (belongs, running), digests).await;
        }
        AboutMe { report: Some(self.report()), replicas }
    }

    fn report(&self) -> NodeReport {
        let running = self.running();
        let snapshot = self.snapshot();
        let lease = running.map_or(Lease::Unspecified, |running| match running.node.lease.hold() {
            Hold::Holds => Lease::Held,
            Hold::Silent => Lease::Lapsed,
            Hold::Over => Lease::Over,
        });
        let listener =
            |(name, address): &(String, String)| Listener { name: name.clone(), address: address.clone() };
        NodeReport {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_s: self.uptime_s(),
            not_ready: self.readiness().now().err().unwrap_or_default(),
            lease: lease.into(),
            clients: snapshot.clients_connected(),
            connections: snapshot.sockets,
            listeners: running.iter().flat_map(|running| &running.listeners).map(listener).collect(),
            received: snapshot.node.publish_received,
            sent: snapshot.node.publish_sent,
            dropped: snapshot.dropped(),
            memory_bytes: snapshot.usage.resident,
        }
    }
}

async fn add_replicas(
    replicas: &mut Vec<OwnReplica>,
    (belongs, running): (&Belongs, &Running),
    digests: bool,
) -> Result<(), Gone> {
    let digest =
        digests.then_some(|machine: &raft_consensus::cluster::ClusterMachine| machine.state().digest());
    replicas.push(replica(&belongs.group, digest).await?);
    for group in running.node.shards.groups() {
        let digest = digests.then_some(|machine: &crate::shard::ShardMachine| machine.digest());
        replicas.push(replica(&group, digest).await?);
    }
    Ok(())
}

async fn replica<M: Machine>(
    group: &Group<TokioTypes, M>,
    digest: Option<impl FnOnce(&M) -> u64 + Send + 'static>,
) -> Result<OwnReplica, Gone> {
    let (leadership, members) = (group.leadership().now(), group.members().await?);
    let at = group.positions().await?;
    let (digest, digest_at) = match digest {
        None => (None, 0),
        Some(digest) => {
            let of_state = move |state: &mut raft_consensus::state_machine::StateMachine<M>| {
                let at = state.applied().last_log_id.map_or(0, |id| id.index);
                (Some(digest(state.machine())), at)
            };
            group.look_now(of_state).await?
        }
    };
    let positions = Positions {
        last: at.last,
        committed: at.committed,
        applied: at.applied,
        checkpoint: at.checkpoint,
        digest,
        digest_at,
    };
    Ok(OwnReplica {
        group: group.id().0,
        leader: leadership.leader.unwrap_or_default(),
        term: leadership.term,
        voters: members.voters.into_iter().collect(),
        learners: members.learners.into_iter().collect(),
        positions: Some(positions),
    })
}
