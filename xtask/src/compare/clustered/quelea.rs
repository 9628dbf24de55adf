//! What is Quelea's about three nodes: their configuration, when any of them may die, and who leads. Called by `trio`; it
//! starts no process.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::super::process::{get, wait};
use super::trio::{Node, PATIENCE, Place, field};

/// The cluster group and the six shards of a node.
const GROUPS: usize = 7;
/// Time for leaderships to go where they belong, and to come to rest.
pub(super) const REST: Duration = Duration::from_secs(6);
/// What a node writes when it has changed who votes in a group.
const VOTES: &str = "the votes of a group have changed";
/// What it writes when it hears who leads the cluster group.
const LEADS: &str = "leads the cluster group";
const CONFIGURATION: &str = "quelea.toml";

/// Writes the configuration of one of them, with the times of this profile.
pub(super) fn configure(place: &Place, all: &[Place], profile: &str) -> Result<()> {
    let text = settings(place, all, profile);
    fs::write(place.folder.join(CONFIGURATION), text).context("cannot write a node's configuration")
}

/// What starts it.
pub(super) fn command(binary: &Path, place: &Place) -> Command {
    let mut command = Command::new(binary);
    command.args(["run", "--config"]).arg(place.folder.join(CONFIGURATION));
    command
}

/// Waits until a node that accepts connections says that it is ready.
pub(super) fn until_ready(place: &Place) -> Result<()> {
    let start = Instant::now();
    while !get(place.other, "/readyz").is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")) {
        ensure!(start.elapsed() < PATIENCE, "a node is not ready after a minute");
        wait(Duration::from_millis(20));
    }
    Ok(())
}

/// Waits until every group has three voters.
pub(super) fn until_replicated(nodes: &[Node]) -> Result<()> {
    let start = Instant::now();
    loop {
        let changed = |node: &Node| node.place.said().matches(VOTES).count();
        if nodes.iter().map(changed).sum::<usize>() >= GROUPS {
            wait(REST);
            return Ok(());
        }
        ensure!(start.elapsed() < PATIENCE, "some group has not three voters after a minute");
        wait(Duration::from_millis(50));
    }
}

/// Who leads the cluster group, as the nodes have written it down; with the highest term.
pub(super) fn leader(nodes: &[Node]) -> Result<usize> {
    let said: Vec<String> = nodes.iter().map(|node| node.place.said()).collect();
    let told = said.iter().flat_map(|text| text.lines()).filter(|line| line.contains(LEADS));
    let told = told.filter_map(|line| Some((field(line, "term=")?, field(line, "node=")?)));
    let (_, leader) = told.max().context("nobody has led the cluster group")?;
    for (number, node) in nodes.iter().enumerate() {
        if node_number(&node.place)? == leader {
            return Ok(number);
        }
    }
    bail!("node {leader} leads the cluster group, and is none of the three")
}

/// Its number in the cluster.
fn node_number(place: &Place) -> Result<u64> {
    let text = fs::read_to_string(place.folder.join("data").join("node.json"))?;
    let json: serde_json::Value = serde_json::from_str(&text)?;
    json.get("node").and_then(serde_json::Value::as_u64).context("expected a number in node.json")
}

fn settings(place: &Place, all: &[Place], profile: &str) -> String {
    let Place { number, mqtt, cluster, other, folder } = place;
    let folder = folder.display();
    let seeds: Vec<String> = all.iter().map(|place| format!("\"127.0.0.1:{}\"", place.cluster)).collect();
    format!(
        "[node]\nname = \"node-{number}\"\ndata_dir = \"{folder}/data\"\n\
         [cluster]\nlisten = \"127.0.0.1:{cluster}\"\nseeds = [{}]\nprofile = \"{profile}\"\nexpected_nodes = 3\n\
         [listener.mqtt]\naddress = \"127.0.0.1:{mqtt}\"\nprotocol = \"tcp\"\n\
         [http]\naddress = \"127.0.0.1:{other}\"\n\
         [session]\nqueue_messages_max = 10000000\nqueue_bytes_max = \"16GiB\"\n",
        seeds.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_node_knows_all_three() {
        let all: Vec<Place> = (1..=3).map(Place::example).collect();
        let text = settings(&all[1], &all, "lan");
        let parsed: toml::Table = text.parse().unwrap();
        assert_eq!(parsed["cluster"]["listen"].as_str(), Some("127.0.0.1:2002"));
        assert_eq!(parsed["cluster"]["seeds"].as_array().unwrap().len(), 3);
    }
}
