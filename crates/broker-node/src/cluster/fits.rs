//! Whether what the cluster group knows and what `node.json` says are of one cluster and of one time. Called at start; it
//! never mends what does not fit.

use raft_consensus::cluster::{Cluster, ClusterId, Founding};

use crate::identity::Identity;

/// The parts of the data directory do not belong together.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Misfit {
    /// They are of two clusters.
    #[error(
        "node.json belongs to cluster {ours}, but wal/ and sessions/ to cluster {theirs}; restore the whole data directory \
         from one backup"
    )]
    OtherCluster {
        /// What `node.json` says.
        ours: ClusterId,
        /// What the cluster group was founded as.
        theirs: ClusterId,
    },
    /// The number of shards decides where each client's home is.
    #[error(
        "node.json says that the cluster has {ours} shards, but it was created with {theirs}, which never changes; restore \
         node.json from a backup of the data directory"
    )]
    OtherShards {
        /// What `node.json` says.
        ours: u16,
        /// What the cluster group was founded with.
        theirs: u16,
    },
    /// The identity is an older copy.
    #[error(
        "node.json is older than wal/ and sessions/: it would begin run {next}, but the cluster group knows of run {last}; \
         restore the whole data directory from one backup"
    )]
    OldIdentity {
        /// The run that would begin.
        next: u32,
        /// The last one that did.
        last: u32,
    },
    /// Log and checkpoints are older copies.
    #[error(
        "wal/ and sessions/ are older than node.json: the cluster group knows of run {last} of this node, but run {logged} \
         was written down there; restore the whole data directory from one backup"
    )]
    OldData {
        /// The last run that the cluster group knows of.
        last: u32,
        /// The last one that `node.json` knows to be written down.
        logged: u32,
    },
}

/// Holds the state of the cluster group against who the node is. One that is not founded yet fits to everybody: what else
/// there is in the log is held against `node.json` by each shard.
///
/// # Errors
/// What does not fit.
pub(super) fn check(cluster: &Cluster, identity: &Identity) -> Result<(), Misfit> {
    let Some(founding) = cluster.founding() else { return Ok(()) };
    check_founding(Some(founding), identity)?;
    let host = identity.host();
    let (next, logged) = (host.incarnation.0, identity.logged().0);
    let last = cluster.member(host.node).map_or(0, |member| member.begun.0);
    if last >= next {
        return Err(Misfit::OldIdentity { next, last });
    }
    if last < logged {
        return Err(Misfit::OldData { last, logged });
    }
    Ok(())
}

/// The same of the cluster alone. Whether the run is the next one is for whoever leads the group to say, on a node that may
/// lag behind.
///
/// # Errors
/// What does not fit.
pub(super) fn check_founding(founding: Option<Founding>, identity: &Identity) -> Result<(), Misfit> {
    let Some(founding) = founding else { return Ok(()) };
    let ours = identity.founding();
    if founding.cluster != ours.cluster {
        return Err(Misfit::OtherCluster { ours: ours.cluster, theirs: founding.cluster });
    }
    if founding.shards != ours.shards {
        return Err(Misfit::OtherShards { ours: ours.shards, theirs: founding.shards });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use raft_consensus::cluster::{Begin, Command};
    use session_store::{Host, Incarnation, Millis};

    use super::*;

    /// A cluster that was founded as this, in which run `last` of the node has begun.
    fn cluster(founding: Founding, host: Host, last: u32) -> Cluster {
        let mut cluster = Cluster::default();
        cluster.apply(Millis(1), &Command::Found(founding)).unwrap();
        let host = Host { incarnation: Incarnation(last), ..host };
        let begin = Begin { host, token: 1, name: "".into(), address: "".into(), knows_level: 1 };
        cluster.apply(Millis(1), &Command::Begin(begin)).unwrap();
        cluster
    }

    #[test]
    fn what_is_of_two_clusters_or_of_two_times_is_named() {
        let directory = tempfile::tempdir().unwrap();
        Identity::begin_run(directory.path(), 6).unwrap();
        let second = Identity::begin_run(directory.path(), 6).unwrap();
        second.note_logged(directory.path()).unwrap();
        let third = Identity::begin_run(directory.path(), 6).unwrap();
        let (founding, host) = (third.founding(), third.host());
        assert_eq!(check(&Cluster::default(), &third), Ok(()), "it is not founded");
        assert_eq!(check(&cluster(founding, host, 2), &third), Ok(()));
        let theirs = ClusterId([9; 16]);
        let other = cluster(Founding { cluster: theirs, ..founding }, host, 2);
        assert_eq!(check(&other, &third), Err(Misfit::OtherCluster { ours: founding.cluster, theirs }));
        let other = cluster(Founding { shards: 9, ..founding }, host, 2);
        assert_eq!(check(&other, &third), Err(Misfit::OtherShards { ours: 6, theirs: 9 }));
        for last in [3, 4] {
            let newer = cluster(founding, host, last);
            assert_eq!(check(&newer, &third), Err(Misfit::OldIdentity { next: 3, last }));
        }
        let older = cluster(founding, host, 1);
        assert_eq!(check(&older, &third), Err(Misfit::OldData { last: 1, logged: 2 }));
    }
}
