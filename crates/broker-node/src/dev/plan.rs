//! Where the nodes of a development cluster are: chosen once, kept in `cluster.json`, and printed as a table. Used by the
//! supervisor; it starts nothing.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use super::ClusterArgs;

/// Where a cluster keeps its data if nothing else is said.
pub(super) const DATA_DIR: &str = "./quelea-dev";
/// What says where the nodes are.
const CLUSTER_FILE: &str = "cluster.json";

/// Where a node is, each as `host:port`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    /// What it is called.
    pub(super) name: String,
    /// Its process; 0 while there is none.
    pub(super) pid: u32,
    /// MQTT.
    pub(super) mqtt: String,
    /// MQTT over WebSocket.
    pub(super) ws: String,
    /// Metrics and health.
    pub(super) http: String,
    /// The admin API.
    #[serde(default)]
    pub(super) admin: String,
    /// For the other nodes.
    pub(super) cluster: String,
}

fn here(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// Chooses the places of all nodes. The ports of an earlier run are taken again where they are free.
///
/// # Errors
/// An MQTT port is in use, or the system has no free ports.
pub(super) fn places(args: &ClusterArgs) -> anyhow::Result<Vec<Place>> {
    let before = read(&args.data_dir).unwrap_or_default();
    // All of them at once, so that no two are the same.
    let mut held = Vec::new();
    let mut places = Vec::new();
    for number in 1..=args.nodes {
        let name = format!("quelea-{number}");
        let mqtt = here(args.base_port + number - 1);
        let listener = TcpListener::bind(mqtt)
            .with_context(|| format!("cannot use {mqtt} for {name}, see --base-port"))?;
        held.push(listener);
        let known = before.iter().find(|place| place.name == name);
        let mut choose = |port: Option<&String>| -> io::Result<String> {
            let wanted = port.and_then(|port| TcpListener::bind(port).ok());
            let listener = wanted.map_or_else(|| TcpListener::bind(here(0)), Ok)?;
            let address = listener.local_addr()?.to_string();
            held.push(listener);
            Ok(address)
        };
        let ws = choose(known.map(|place| &place.ws))?;
        let http = choose(known.map(|place| &place.http))?;
        let admin = choose(known.map(|place| &place.admin))?;
        let cluster = choose(known.map(|place| &place.cluster))?;
        places.push(Place { name, pid: 0, mqtt: mqtt.to_string(), ws, http, admin, cluster });
    }
    Ok(places)
}

/// What `cluster.json` says.
///
/// # Errors
/// There is none, or it is none.
pub(super) fn read(data_dir: &Path) -> anyhow::Result<Vec<Place>> {
    let file = data_dir.join(CLUSTER_FILE);
    let text = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{} is damaged", file.display()))
}

/// Writes `cluster.json`: whoever reads it finds the old one or the new one, whole.
///
/// # Errors
/// As of the file system.
pub(super) fn write(data_dir: &Path, places: &[Place]) -> anyhow::Result<()> {
    let (file, new) = (data_dir.join(CLUSTER_FILE), data_dir.join("cluster.json.new"));
    let text = serde_json::to_string_pretty(places)? + "\n";
    let written = fs::write(&new, text).and_then(|()| fs::rename(&new, &file));
    written.with_context(|| format!("cannot write {}", file.display()))
}

/// A node by its name.
///
/// # Errors
/// There is none, with those that there are.
pub(super) fn named<'a>(places: &'a mut [Place], name: &str) -> anyhow::Result<&'a mut Place> {
    let known: Vec<String> = places.iter().map(|place| place.name.clone()).collect();
    match places.iter_mut().find(|place| place.name == name) {
        Some(place) => Ok(place),
        None => bail!("there is no node {name}, but {}", known.join(", ")),
    }
}

/// The places, for a person.
pub(super) fn table(places: &[Place]) -> String {
    let mut table = String::new();
    let mut row = |cells: [&str; 7]| {
        let [name, pid, mqtt, ws, http, admin, cluster] = cells;
        let _never_fails =
            writeln!(table, "{name:<10} {pid:>8}  {mqtt:<18} {ws:<18} {http:<18} {admin:<18} {cluster:<18}");
    };
    row(["NAME", "PID", "MQTT", "WEBSOCKET", "HTTP", "ADMIN", "CLUSTER"]);
    for place in places {
        let Place { name, pid, mqtt, ws, http, admin, cluster } = place;
        row([name, &pid.to_string(), mqtt, ws, http, admin, cluster]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(data_dir: &Path, base_port: u16) -> ClusterArgs {
        ClusterArgs { nodes: 3, base_port, data_dir: data_dir.to_owned(), sensors: 0 }
    }

    /// Three ports behind each other that were free a moment ago.
    fn base_port() -> u16 {
        loop {
            let first = TcpListener::bind(here(0)).unwrap().local_addr().unwrap().port();
            let behind = [1, 2].map(|more| first.checked_add(more).map(|port| TcpListener::bind(here(port))));
            if behind.iter().all(|bound| matches!(bound, Some(Ok(_)))) {
                return first;
            }
        }
    }

    #[test]
    fn the_ports_of_an_earlier_run_are_taken_again() {
        let directory = tempfile::tempdir().unwrap();
        let args = args(directory.path(), base_port());
        let first = places(&args).unwrap();
        let names: Vec<&str> = first.iter().map(|place| place.name.as_str()).collect();
        assert_eq!(names, ["quelea-1", "quelea-2", "quelea-3"]);
        write(directory.path(), &first).unwrap();
        assert_eq!(read(directory.path()).unwrap(), first);
        let taken = TcpListener::bind(&first[1].http).unwrap();
        let second = places(&args).unwrap();
        assert_eq!(second[0], first[0]);
        assert_ne!(second[1].http, first[1].http, "somebody else has it now");
        assert_eq!(second[1].cluster, first[1].cluster);
        drop(taken);
    }

    #[test]
    fn a_port_in_use_and_an_unknown_node_are_named() {
        let directory = tempfile::tempdir().unwrap();
        let taken = TcpListener::bind(here(0)).unwrap();
        let port = taken.local_addr().unwrap().port().min(u16::MAX - 9);
        if taken.local_addr().unwrap().port() == port {
            let error = format!("{:#}", places(&args(directory.path(), port)).unwrap_err());
            assert!(error.contains(&port.to_string()) && error.contains("--base-port"), "{error}");
        }
        let mut places = places(&args(directory.path(), base_port())).unwrap();
        let error = named(&mut places, "quelea-9").unwrap_err().to_string();
        assert!(error.contains("quelea-9") && error.contains("quelea-3"), "{error}");
        assert_eq!(named(&mut places, "quelea-2").unwrap().name, "quelea-2");
        assert_eq!(table(&places).lines().count(), 4);
    }
}
