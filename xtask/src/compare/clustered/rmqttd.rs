//! What is rmqttd's about three nodes: their configuration, with limits lifted that the load would reach, and who leads.
//! Called by `trio`; it starts no process. Its sessions and its raft log are in memory, so that nothing is on a disk.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::super::process::wait;
use super::trio::{Node, Place, field};

/// The node that is told to lead at first: the others join it.
const FIRST: usize = 1;
/// Between the last node's first connection and the load.
const REST: Duration = Duration::from_secs(3);
/// What the library that has its raft writes on the node that has won.
const LEADS: &str = "became leader at term ";
/// That line is the only one below warnings that is wanted.
const LOG: &str = "warn,raft=info,rmqtt_raft_core=info";
const CONFIGURATION: &str = "rmqtt.toml";
const RAFT: &str = "rmqtt-cluster-raft";

/// Writes the configuration of one of them.
pub(super) fn configure(place: &Place, all: &[Place]) -> Result<()> {
    let plugins = place.folder.join("plugins");
    fs::create_dir_all(&plugins).context("cannot make the folder of a node's plugins")?;
    let write = |file, text| fs::write(file, text).context("cannot write a node's configuration");
    write(place.folder.join(CONFIGURATION), settings(place))?;
    write(plugins.join(format!("{RAFT}.toml")), raft(place, all))
}

/// What starts it.
pub(super) fn command(binary: &Path, place: &Place) -> Command {
    let mut command = Command::new(binary);
    command.arg("--config").arg(place.folder.join(CONFIGURATION));
    // It looks for a configuration in the folder that it is started in, too.
    command.current_dir(&place.folder).env("RUST_LOG", LOG);
    command
}

/// A node accepts clients when its raft has answered it: what is left is to come to rest.
pub(super) fn until_replicated() {
    wait(REST);
}

/// Who leads, as the nodes have written it down; with the highest term.
pub(super) fn leader(nodes: &[Node]) -> Result<usize> {
    let last = |text: String| text.lines().filter_map(|line| field(line, LEADS)).max();
    let terms = nodes.iter().map(|node| last(node.place.said())).enumerate();
    let led = terms.filter_map(|(number, term)| Some((term?, number)));
    led.max().map(|(_, number)| number).context("no node has led")
}

fn settings(place: &Place) -> String {
    let Place { number, mqtt, other, folder, .. } = place;
    let folder = folder.display();
    format!(
        "[node]\nid = {number}\nbusy.check_enable = false\n\
         [rpc]\nserver_addr = \"127.0.0.1:{other}\"\n\
         [log]\nto = \"console\"\nlevel = \"warn\"\ndir = \"{folder}\"\nfile = \"rmqtt.log\"\n\
         [plugins]\ndir = \"{folder}/plugins\"\n\
         default_startups = [\"{RAFT}\", \"rmqtt-shared-subscription\"]\n\
         disabled_default_startups = [\"rmqtt-acl\", \"rmqtt-counter\", \"rmqtt-http-api\"]\n\
         [listener.tcp.external]\naddr = \"127.0.0.1:{mqtt}\"\nallow_anonymous = true\nnodelay = true\n\
         max_handshaking_limit = 10000\nmax_inflight = 100\nmax_mqueue_len = 10000000\n"
    )
}

fn raft(place: &Place, all: &[Place]) -> String {
    let addresses = |port: fn(&Place) -> u16| {
        let of = |place: &Place| format!("\"{}@127.0.0.1:{}\"", place.number, port(place));
        all.iter().map(of).collect::<Vec<_>>().join(", ")
    };
    format!(
        "laddr = \"127.0.0.1:{}\"\nleader_id = {FIRST}\nnode_grpc_addrs = [{}]\nraft_peer_addrs = [{}]\n",
        place.cluster,
        addresses(|place| place.other),
        addresses(|place| place.cluster)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_node_knows_all_three_and_has_its_own_ports() {
        let all: Vec<Place> = (1..=3).map(Place::example).collect();
        let of: toml::Table = settings(&all[2]).parse().unwrap();
        assert_eq!(of["node"]["id"].as_integer(), Some(3));
        assert_eq!(of["rpc"]["server_addr"].as_str(), Some("127.0.0.1:3003"));
        assert_eq!(of["listener"]["tcp"]["external"]["addr"].as_str(), Some("127.0.0.1:1003"));
        let raft: toml::Table = raft(&all[2], &all).parse().unwrap();
        assert_eq!(raft["laddr"].as_str(), Some("127.0.0.1:2003"));
        assert_eq!(raft["node_grpc_addrs"][0].as_str(), Some("1@127.0.0.1:3001"));
        assert_eq!(raft["raft_peer_addrs"][1].as_str(), Some("2@127.0.0.1:2002"));
    }
}
