//! `quelea ctl top`: what the nodes do, looked at again and again. Called by `act`; prints by itself, since it may never end.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::connection::{Api, Failed};
use super::joined;
use super::json::lease;
use super::rows::printable;
use super::table::render;
use crate::admin::proto::node::Heard;
use crate::admin::proto::{Cluster, Node, NodeReport, StatusRequest};

/// The least time between two looks.
const EVERY_MIN: Duration = Duration::from_millis(100);
/// Has a terminal begin again at its first line.
const CLEAR: &str = "\x1b[H\x1b[2J";

#[derive(Debug, Args)]
pub(super) struct TopArgs {
    /// Time between two looks, 100ms at least
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = every)]
    every: Duration,
    /// Show so many tables and end; 0 goes on until it is interrupted
    #[arg(long, value_name = "N", default_value_t = 0)]
    count: u64,
    /// Show one table and end
    #[arg(long, conflicts_with = "count")]
    once: bool,
}

fn every(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).ok().filter(|time| *time >= EVERY_MIN);
    time.ok_or_else(|| "expected a time of 100ms or more, as 2s".to_owned())
}

/// A cluster at a moment.
struct Look {
    at: Instant,
    cluster: Cluster,
}

/// What a node does a second, as far as that is known.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Rates {
    received: Option<f64>,
    sent: Option<f64>,
    dropped: Option<f64>,
}

/// Shows tables for as long as is asked for, or until nobody reads them.
///
/// # Errors
/// No node answers, or the one that does belongs to no cluster.
pub(super) async fn run(api: &mut Api, args: TopArgs, as_json: bool) -> Result<String, Failed> {
    let tables = if args.once { 1 } else { args.count };
    let mut before = look(api).await?;
    let mut shown = 0;
    // Whoever counts tables wants rates in each.
    if tables == 0 && show(&before, None, as_json).is_err() {
        return Ok(String::new());
    }
    loop {
        sleep(args.every).await;
        api.again().await?;
        let now = look(api).await?;
        shown += 1;
        if show(&now, Some(&before), as_json).is_err() || shown == tables {
            return Ok(String::new());
        }
        before = now;
    }
}

async fn look(api: &mut Api) -> Result<Look, Failed> {
    let status = joined(api.client.status(StatusRequest::default()).await?.into_inner())?;
    Ok(Look { at: Instant::now(), cluster: status.cluster.unwrap_or_default() })
}

fn show(now: &Look, before: Option<&Look>, as_json: bool) -> io::Result<()> {
    let rates = rates(now, before);
    let text = if as_json {
        json(&now.cluster, &rates)
    } else {
        let clear = if io::stdout().is_terminal() { CLEAR } else { "" };
        format!("{clear}{}", table(&now.cluster, &rates))
    };
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

fn report(node: &Node) -> Option<&NodeReport> {
    match &node.heard {
        Some(Heard::Report(report)) => Some(report),
        Some(Heard::Silent(_)) | None => None,
    }
}

/// What each node did a second since the look before.
fn rates(now: &Look, before: Option<&Look>) -> BTreeMap<u32, Rates> {
    let Some(before) = before else { return BTreeMap::new() };
    let seconds = now.at.duration_since(before.at).as_secs_f64().max(f64::MIN_POSITIVE);
    let earlier: BTreeMap<u32, &NodeReport> =
        before.cluster.nodes.iter().filter_map(|node| Some((node.number, report(node)?))).collect();
    let of = |node: &Node| {
        let (now, then) = (report(node)?, earlier.get(&node.number)?);
        // A node that has begun another run counts from 0 again.
        let rate = |now: u64, then: u64| now.checked_sub(then).map(|more| more as f64 / seconds);
        let rates = Rates {
            received: rate(now.received, then.received),
            sent: rate(now.sent, then.sent),
            dropped: rate(now.dropped, then.dropped),
        };
        Some((node.number, rates))
    };
    now.cluster.nodes.iter().filter_map(of).collect()
}

fn leads(cluster: &Cluster, node: u32) -> usize {
    cluster.groups.iter().filter(|group| group.leader == node).count()
}

fn table(cluster: &Cluster, rates: &BTreeMap<u32, Rates>) -> String {
    let head = ["NODE", "CLIENTS", "IN/S", "OUT/S", "DROPPED/S", "MEMORY", "LEASE", "LEADS", "SAYS"];
    let shown = |rate: Option<f64>| rate.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.1}"));
    let row = |node: &Node| {
        let name = printable(&node.name);
        let Some(report) = report(node) else {
            let why = match &node.heard {
                Some(Heard::Silent(why)) => format!("silent: {}", printable(why)),
                _ => "-".to_owned(),
            };
            let [a, b, c, d, e, f, g] = ["-"; 7].map(str::to_owned);
            return [name, a, b, c, d, e, f, g, why];
        };
        let Rates { received, sent, dropped } = rates.get(&node.number).copied().unwrap_or_default();
        let says =
            if report.not_ready.is_empty() { "ready".to_owned() } else { printable(&report.not_ready) };
        [
            name,
            report.clients.to_string(),
            shown(received),
            shown(sent),
            shown(dropped),
            format!("{} MiB", report.memory_bytes >> 20),
            lease(report.lease()).to_owned(),
            leads(cluster, node.number).to_string(),
            says,
        ]
    };
    let reports = || cluster.nodes.iter().filter_map(report);
    let serve = reports().filter(|report| report.not_ready.is_empty()).count();
    let led = cluster.groups.iter().filter(|group| group.leader != 0).count();
    let clients: u64 = reports().map(|report| report.clients).sum();
    let (nodes, groups) = (cluster.nodes.len(), cluster.groups.len());
    let first = format!(
        "{serve} of {nodes} nodes serve {clients} clients, {led} of {groups} groups have a leader\n\n"
    );
    first + &render(head.map(str::to_owned), cluster.nodes.iter().map(row))
}

/// One line for each look.
fn json(cluster: &Cluster, rates: &BTreeMap<u32, Rates>) -> String {
    let node = |node: &Node| -> Value {
        let Rates { received, sent, dropped } = rates.get(&node.number).copied().unwrap_or_default();
        let report = report(node);
        json!({
            "name": node.name,
            "ready": report.is_some_and(|report| report.not_ready.is_empty()),
            "clients": report.map(|report| report.clients),
            "received_per_second": received,
            "sent_per_second": sent,
            "dropped_per_second": dropped,
            "memory_bytes": report.map(|report| report.memory_bytes),
            "leads": leads(cluster, node.number),
        })
    };
    format!("{}\n", json!({ "nodes": cluster.nodes.iter().map(node).collect::<Vec<_>>() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, number: u32, heard: Option<Heard>) -> Node {
        Node { name: name.into(), number, heard, ..Node::default() }
    }

    fn said(received: u64, sent: u64) -> Option<Heard> {
        let report =
            NodeReport { clients: 3, received, sent, memory_bytes: 5 << 20, ..NodeReport::default() };
        Some(Heard::Report(report))
    }

    fn look(at: Instant, nodes: Vec<Node>) -> Look {
        Look { at, cluster: Cluster { nodes, ..Cluster::default() } }
    }

    #[test]
    fn rates_are_of_the_time_between_two_looks_and_of_no_other_run() {
        let (at, silent) = (Instant::now(), Some(Heard::Silent("no way".into())));
        let before = look(at, vec![node("a", 1, said(10, 0)), node("b", 2, said(50, 7)), node("c", 3, None)]);
        let after = vec![
            node("a", 1, said(30, 0)),
            node("b", 2, said(4, 8)),
            node("c", 3, said(1, 1)),
            node("d", 4, silent),
        ];
        let now = look(at + Duration::from_secs(2), after);
        let rates = rates(&now, Some(&before));
        assert_eq!(rates[&1], Rates { received: Some(10.0), sent: Some(0.0), dropped: Some(0.0) });
        assert_eq!(rates[&2].received, None);
        assert!(!rates.contains_key(&3) && !rates.contains_key(&4));
        let text = table(&now.cluster, &rates);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "3 of 4 nodes serve 9 clients, 0 of 0 groups have a leader");
        assert_eq!(lines[3], "a     3        10.0  0.0    0.0        5 MiB   unknown  0      ready");
        assert!(lines[6].ends_with("silent: no way"), "{text}");
        let told: Value = serde_json::from_str(&json(&now.cluster, &rates)).unwrap();
        assert_eq!(told["nodes"][0]["received_per_second"], 10.0);
        assert_eq!(
            (&told["nodes"][1]["received_per_second"], &told["nodes"][3]["clients"]),
            (&Value::Null, &Value::Null)
        );
    }

    #[test]
    fn the_time_between_two_looks_has_a_bound() {
        assert_eq!(every("100ms"), Ok(EVERY_MIN));
        assert!(["", "99ms", "often"].iter().all(|wrong| every(wrong).is_err()));
    }
}
