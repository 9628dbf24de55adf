//! What `quelea ctl --json` prints: the answers of the admin API, with the names that `proto/admin.proto` has. Names and
//! meanings stay as they are; more may come. It chooses nothing to show.

use serde_json::{Value, json};

use crate::admin::proto::group::Which;
use crate::admin::proto::node::Heard;
use crate::admin::proto::{Cluster, Group, Lease, Node, NodeReport, Replica, Role, Standing, StatusReply};

/// The whole cluster.
pub(super) fn status(status: &StatusReply) -> String {
    let cluster = status.cluster.as_ref().map(|cluster| {
        json!({
            "id": cluster.id,
            "shards": cluster.shards,
            "apply_level": cluster.apply_level,
            "nodes": cluster.nodes.iter().map(node).collect::<Vec<_>>(),
            "groups": cluster.groups.iter().map(group).collect::<Vec<_>>(),
        })
    });
    print(&json!({ "answered_by": status.answered_by, "not_ready": status.not_ready, "cluster": cluster }))
}

/// Its nodes.
pub(super) fn nodes(status: &StatusReply) -> String {
    print(&list(status, |cluster| cluster.nodes.iter().map(node).collect()))
}

/// Its groups.
pub(super) fn groups(status: &StatusReply) -> String {
    print(&list(status, |cluster| cluster.groups.iter().map(group).collect()))
}

fn list(status: &StatusReply, of: impl FnOnce(&Cluster) -> Vec<Value>) -> Value {
    Value::Array(status.cluster.as_ref().map(of).unwrap_or_default())
}

fn print(value: &Value) -> String {
    format!("{value:#}\n")
}

fn node(node: &Node) -> Value {
    let (report, silent) = match &node.heard {
        Some(Heard::Report(of)) => (Some(report(of)), None),
        Some(Heard::Silent(why)) => (None, Some(why)),
        None => (None, None),
    };
    json!({
        "number": node.number,
        "name": node.name,
        "incarnation": node.incarnation,
        "lives": node.lives,
        "standing": standing(node.standing()),
        "cluster_address": node.cluster_address,
        "knows_level": node.knows_level,
        "report": report,
        "silent": silent,
    })
}

fn report(report: &NodeReport) -> Value {
    let listener = |of: &crate::admin::proto::Listener| json!({ "name": of.name, "address": of.address });
    json!({
        "version": report.version,
        "uptime_s": report.uptime_s,
        "not_ready": report.not_ready,
        "lease": lease(report.lease()),
        "clients": report.clients,
        "connections": report.connections,
        "received": report.received,
        "sent": report.sent,
        "dropped": report.dropped,
        "memory_bytes": report.memory_bytes,
        "listeners": report.listeners.iter().map(listener).collect::<Vec<_>>(),
    })
}

fn group(group: &Group) -> Value {
    let shard = match &group.which {
        Some(Which::Shard(shard)) => Some(*shard),
        Some(Which::ClusterGroup(_)) | None => None,
    };
    json!({
        "group": super::table::name(group),
        "shard": shard,
        "leader": group.leader,
        "term": group.term,
        "replicas": group.replicas.iter().map(replica).collect::<Vec<_>>(),
    })
}

fn replica(replica: &Replica) -> Value {
    let positions = replica.positions.map(|at| {
        json!({
            "last": at.last,
            "committed": at.committed,
            "applied": at.applied,
            "checkpoint": at.checkpoint,
            // As text: programs read numbers as doubles.
            "digest": at.digest.map(|digest| format!("{digest:016x}")),
            "digest_at": at.digest_at,
        })
    });
    json!({ "node": replica.node, "role": role(replica.role()), "positions": positions })
}

/// What is said of a standing.
pub(super) fn standing(standing: Standing) -> &'static str {
    match standing {
        Standing::Unspecified => "unknown",
        Standing::Serves => "serves",
        Standing::Drains => "drains",
        Standing::Leaves => "leaves",
    }
}

/// What is said of a lease.
pub(super) fn lease(lease: Lease) -> &'static str {
    match lease {
        Lease::Unspecified => "unknown",
        Lease::Held => "held",
        Lease::Lapsed => "lapsed",
        Lease::Over => "over",
    }
}

/// What is said of a role.
pub(super) fn role(role: Role) -> &'static str {
    match role {
        Role::Unspecified => "unknown",
        Role::Leader => "leader",
        Role::Voter => "voter",
        Role::Learner => "learner",
    }
}
