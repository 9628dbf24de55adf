//! Three nodes of one broker that are one cluster, each a process with its folder on the disk of the target folder. Made by
//! the rows, and ended with them. What differs from broker to broker is in `quelea` and `rmqttd`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use super::super::broker::free_port;
use super::super::load::{Load, Shown};
use super::super::process::{Process, wait};
use super::{quelea, rmqttd};

/// Until all nodes are ready, each group has three voters, and a node that was killed is back.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// Which broker the three nodes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Quelea,
    Rmqttd,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Quelea => "Quelea",
            Self::Rmqttd => "rmqttd",
        }
    }
}

/// A broker that can be started.
pub(super) struct Broker {
    pub(super) kind: Kind,
    pub(super) binary: PathBuf,
}

/// Where a node is.
pub(super) struct Place {
    /// From 1 on.
    pub(super) number: usize,
    pub(super) mqtt: u16,
    /// For the other nodes; rmqttd's raft alone.
    pub(super) cluster: u16,
    /// Quelea's HTTP; what rmqttd's nodes say to each other beside its raft.
    pub(super) other: u16,
    pub(super) folder: PathBuf,
}

/// One of them.
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) process: Option<Process>,
}

/// All of them.
pub(super) struct Trio<'a> {
    pub(super) nodes: Vec<Node>,
    broker: &'a Broker,
    /// The load generator.
    quelea: &'a Path,
}

impl<'a> Trio<'a> {
    /// Starts three nodes in an empty folder and waits until any of them may die. The profile is Quelea's alone.
    pub(super) fn start(broker: &'a Broker, quelea: &'a Path, folder: &Path, profile: &str) -> Result<Self> {
        if folder.exists() {
            fs::remove_dir_all(folder).context("cannot empty the nodes' folder")?;
        }
        let places = (1..=3).map(|number| Place::find(number, folder)).collect::<Result<Vec<_>>>()?;
        for place in &places {
            fs::create_dir_all(&place.folder).context("cannot make a node's folder")?;
            match broker.kind {
                Kind::Quelea => quelea::configure(place, &places, profile)?,
                Kind::Rmqttd => rmqttd::configure(place, &places)?,
            }
        }
        let nodes = places.into_iter().map(|place| Node { place, process: None }).collect();
        let mut trio = Self { nodes, broker, quelea };
        for number in 0..trio.nodes.len() {
            trio.begin(number)?;
        }
        for number in 0..trio.nodes.len() {
            trio.until_ready(number)?;
        }
        match broker.kind {
            Kind::Quelea => quelea::until_replicated(&trio.nodes)?,
            Kind::Rmqttd => rmqttd::until_replicated(),
        }
        Ok(trio)
    }

    fn node(&mut self, number: usize) -> Result<&mut Node> {
        self.nodes.get_mut(number).context("there are three nodes")
    }

    fn begin(&mut self, number: usize) -> Result<()> {
        let broker = self.broker;
        let node = self.node(number)?;
        let command = match broker.kind {
            Kind::Quelea => quelea::command(&broker.binary, &node.place),
            Kind::Rmqttd => rmqttd::command(&broker.binary, &node.place),
        };
        node.process = Some(Process::begin(command, &node.place.log())?);
        Ok(())
    }

    fn until_ready(&mut self, number: usize) -> Result<()> {
        let kind = self.broker.kind;
        let node = self.node(number)?;
        let (log, port) = (node.place.log(), node.place.mqtt);
        node.process.as_mut().context("the node does not run")?.until_accepts(&log, port)?;
        match kind {
            Kind::Quelea => quelea::until_ready(&node.place),
            Kind::Rmqttd => Ok(()),
        }
    }

    /// SIGKILL.
    pub(super) fn kill(&mut self, number: usize) -> Result<()> {
        self.node(number)?.process = None;
        Ok(())
    }

    /// Starts a node again that was killed, and waits until everything is as before.
    pub(super) fn revive(&mut self, number: usize) -> Result<()> {
        self.begin(number)?;
        self.until_ready(number)?;
        wait(quelea::REST);
        Ok(())
    }

    /// Who leads what connections depend on: the cluster group, or rmqttd's raft.
    pub(super) fn leader(&self) -> Result<usize> {
        match self.broker.kind {
            Kind::Quelea => quelea::leader(&self.nodes),
            Kind::Rmqttd => rmqttd::leader(&self.nodes),
        }
    }

    /// The port of a node's clients.
    pub(super) fn port(&self, number: usize) -> Result<u16> {
        Ok(self.nodes.get(number % 3).context("there are three nodes")?.place.mqtt)
    }

    /// Where clients reach all of them.
    pub(super) fn hosts(&self) -> String {
        let hosts: Vec<String> =
            self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.place.mqtt)).collect();
        hosts.join(",")
    }

    /// Runs `quelea bench` over all of them.
    pub(super) fn load(&self, line: &str) -> Result<Shown> {
        let words: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
        Load::over(self.quelea, &words, &self.hosts())?.finish().with_context(|| line.to_owned())
    }

    /// CPU seconds that all of them have used, and their resident memory in KiB.
    pub(super) fn usage(&self) -> Result<(f64, f64)> {
        let mut sum = (0.0, 0.0);
        for process in self.nodes.iter().filter_map(|node| node.process.as_ref()) {
            let usage = process.usage()?;
            sum = (sum.0 + usage.cpu_s, sum.1 + usage.resident_kib);
        }
        Ok(sum)
    }
}

impl Place {
    fn find(number: usize, folder: &Path) -> Result<Self> {
        let (mqtt, cluster, other) = (free_port()?, free_port()?, free_port()?);
        Ok(Self { number, mqtt, cluster, other, folder: folder.join(number.to_string()) })
    }

    fn log(&self) -> PathBuf {
        self.folder.join("node.log")
    }

    /// All that the node has written.
    pub(super) fn said(&self) -> String {
        // Before its first word there is no file.
        fs::read_to_string(self.log()).unwrap_or_default()
    }

    #[cfg(test)]
    pub(super) fn example(number: u16) -> Self {
        let (mqtt, cluster, other) = (1000 + number, 2000 + number, 3000 + number);
        Self { number: usize::from(number), mqtt, cluster, other, folder: PathBuf::from("/nodes/1") }
    }
}

/// The number behind a name in a line of a log.
pub(super) fn field(line: &str, name: &str) -> Option<u64> {
    let (_, behind) = line.rsplit_once(name)?;
    let digits: String = behind.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_numbers_of_a_log() {
        let line = "2026-01-01T00:00:00Z  INFO quelea: leads the cluster group node=2 term=15";
        assert_eq!((field(line, "node="), field(line, "term=")), (Some(2), Some(15)));
        assert_eq!(field(line, "shard="), None);
        assert_eq!(field("node=x", "node="), None);
    }
}
