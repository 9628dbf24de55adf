//! What `quelea ctl` prints for people: tables whose columns are as wide as they need to be. It asks nobody.

use std::fmt::Write as _;

use super::json::{lease, role, standing};
use crate::admin::proto::group::Which;
use crate::admin::proto::node::Heard;
use crate::admin::proto::{Cluster, Group, Node, Replica, StatusReply};

/// Between two columns.
const GAP: usize = 2;

/// The whole cluster.
pub(super) fn status(status: &StatusReply) -> String {
    let Some(cluster) = &status.cluster else {
        return format!("node {} belongs to no cluster yet: {}\n", status.answered_by, status.not_ready);
    };
    let live = cluster.nodes.iter().filter(|node| is_well(node)).count();
    let led = cluster.groups.iter().filter(|group| group.leader != 0).count();
    let mut text = format!("cluster {}, apply level {}\n", cluster.id, cluster.apply_level);
    let (nodes, groups) = (cluster.nodes.len(), cluster.groups.len());
    let _never_fails =
        writeln!(text, "{live} of {nodes} nodes serve, {led} of {groups} groups have a leader\n");
    text + &nodes_of(cluster) + "\n" + &groups_of(cluster)
}

fn is_well(node: &Node) -> bool {
    matches!(&node.heard, Some(Heard::Report(report)) if report.not_ready.is_empty())
}

/// Its nodes.
pub(super) fn nodes(status: &StatusReply) -> String {
    status.cluster.as_ref().map(nodes_of).unwrap_or_default()
}

/// Its groups.
pub(super) fn groups(status: &StatusReply) -> String {
    status.cluster.as_ref().map(groups_of).unwrap_or_default()
}

fn nodes_of(cluster: &Cluster) -> String {
    let head =
        ["NODE", "NUMBER", "RUN", "STANDING", "LIVES", "LEASE", "CLIENTS", "VERSION", "ADDRESS", "SAYS"];
    let leads = |number: u32| cluster.groups.iter().filter(|group| group.leader == number).count();
    let row = |node: &Node| {
        let (held, clients, version, says) = match &node.heard {
            Some(Heard::Report(report)) => {
                let leads = format!("ready, leads {}", leads(node.number));
                let says = if report.not_ready.is_empty() { leads } else { report.not_ready.clone() };
                (lease(report.lease()), report.clients.to_string(), report.version.clone(), says)
            }
            Some(Heard::Silent(why)) => ("-", "-".to_owned(), "-".to_owned(), format!("silent: {why}")),
            None => ("-", "-".to_owned(), "-".to_owned(), "-".to_owned()),
        };
        let lives = if node.lives { "yes" } else { "no" };
        let address = if node.cluster_address.is_empty() { "-" } else { &node.cluster_address };
        let (number, run) = (node.number.to_string(), node.incarnation.to_string());
        let standing = standing(node.standing());
        [&node.name, &number, &run, standing, lives, held, &clients, &version, address, &says]
            .map(str::to_owned)
    };
    render(head.map(str::to_owned), cluster.nodes.iter().map(row))
}

/// What a group is called.
pub(super) fn name(group: &Group) -> String {
    match &group.which {
        Some(Which::Shard(shard)) => format!("shard {shard}"),
        Some(Which::ClusterGroup(_)) | None => "cluster".to_owned(),
    }
}

fn groups_of(cluster: &Cluster) -> String {
    let head = ["GROUP", "TERM", "NODE", "ROLE", "APPLIED", "COMMITTED", "LAST", "CHECKPOINT", "DIGEST"];
    let rows = cluster.groups.iter().flat_map(|group| {
        group.replicas.iter().enumerate().map(move |(at, of)| row_of(cluster, group, (at, of)))
    });
    render(head.map(str::to_owned), rows)
}

fn row_of(cluster: &Cluster, group: &Group, (at, replica): (usize, &Replica)) -> [String; 9] {
    // Once a group, on its first line.
    let (name, term) = match at {
        0 => (name(group), group.term.to_string()),
        _ => (String::new(), String::new()),
    };
    let node = cluster.nodes.iter().find(|node| node.number == replica.node);
    let node = node.map_or_else(|| replica.node.to_string(), |node| node.name.clone());
    let of = replica.positions;
    let position = |at: Option<u64>| at.map_or_else(|| "-".to_owned(), |at| at.to_string());
    let digest = of.and_then(|of| of.digest.map(|digest| format!("{digest:016x} at {}", of.digest_at)));
    [
        name,
        term,
        node,
        role(replica.role()).to_owned(),
        position(of.map(|of| of.applied)),
        position(of.map(|of| of.committed)),
        position(of.map(|of| of.last)),
        position(of.map(|of| of.checkpoint)),
        digest.unwrap_or_else(|| "-".to_owned()),
    ]
}

/// Rows below a head that has as many cells.
pub(super) fn render<R: AsRef<[String]>>(head: R, rows: impl Iterator<Item = R>) -> String {
    let columns = head.as_ref().len();
    let rows: Vec<R> = std::iter::once(head).chain(rows).collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.as_ref().get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0) + GAP
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let line: String =
            row.as_ref().iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text += line.trim_end();
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["quelea-1".to_owned(), "1".to_owned()], ["q".to_owned(), String::new()]];
        let text = render(["NODE".to_owned(), "NUMBER".to_owned()], rows.into_iter());
        assert_eq!(text, "NODE      NUMBER\nquelea-1  1\nq\n");
    }
}
