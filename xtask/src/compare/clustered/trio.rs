//! Three nodes of Quelea that are one cluster, each a process with its data on the disk of the target folder. Made by the
//! rows, and ended with them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::super::broker::free_port;
use super::super::load::{Load, Shown};
use super::super::process::{Process, get, wait};

/// The cluster group and the six shards of a node.
const GROUPS: usize = 7;
/// Until all nodes are ready, each group has three voters, and a node that was killed is back.
const PATIENCE: Duration = Duration::from_secs(60);
/// Time for leaderships to go where they belong, and to come to rest.
const REST: Duration = Duration::from_secs(6);
/// What a node writes when it has changed who votes in a group.
const VOTES: &str = "the votes of a group have changed";
/// What it writes when it hears who leads the cluster group.
const LEADS: &str = "leads the cluster group";

/// One of them.
pub(super) struct Node {
    pub(super) mqtt: u16,
    pub(super) process: Option<Process>,
    http: u16,
    folder: PathBuf,
}

/// All of them.
pub(super) struct Trio<'a> {
    pub(super) nodes: Vec<Node>,
    quelea: &'a Path,
}

impl<'a> Trio<'a> {
    /// Starts three nodes in an empty folder, with the times of this profile, and waits until any of them may die.
    pub(super) fn start(quelea: &'a Path, folder: &Path, profile: &str) -> Result<Self> {
        if folder.exists() {
            fs::remove_dir_all(folder).context("cannot empty the nodes' folder")?;
        }
        let ports = [free_port()?, free_port()?, free_port()?];
        let mut nodes = Vec::new();
        for (number, port) in (1..).zip(ports) {
            let folder = folder.join(number.to_string());
            fs::create_dir_all(&folder).context("cannot make a node's folder")?;
            let (mqtt, http) = (free_port()?, free_port()?);
            let text = settings((number, port), (mqtt, http), &folder, (&ports, profile));
            fs::write(folder.join("quelea.toml"), text).context("cannot write a node's configuration")?;
            nodes.push(Node { mqtt, http, folder, process: None });
        }
        let mut trio = Self { nodes, quelea };
        for number in 0..trio.nodes.len() {
            trio.begin(number)?;
        }
        for number in 0..trio.nodes.len() {
            trio.until_ready(number)?;
        }
        trio.until_replicated()?;
        Ok(trio)
    }

    fn node(&mut self, number: usize) -> Result<&mut Node> {
        self.nodes.get_mut(number).context("there are three nodes")
    }

    fn begin(&mut self, number: usize) -> Result<()> {
        let mut command = Command::new(self.quelea);
        let node = self.node(number)?;
        command.args(["run", "--config"]).arg(node.folder.join("quelea.toml"));
        node.process = Some(Process::begin(command, &node.log())?);
        Ok(())
    }

    fn until_ready(&mut self, number: usize) -> Result<()> {
        let node = self.node(number)?;
        let (log, port) = (node.log(), node.mqtt);
        node.process.as_mut().context("the node does not run")?.until_accepts(&log, port)?;
        let start = Instant::now();
        while !get(node.http, "/readyz").is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")) {
            ensure!(start.elapsed() < PATIENCE, "a node is not ready after a minute");
            wait(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Waits until every group has three voters.
    fn until_replicated(&self) -> Result<()> {
        let start = Instant::now();
        loop {
            let changed = |node: &Node| node.said().matches(VOTES).count();
            if self.nodes.iter().map(changed).sum::<usize>() >= GROUPS {
                wait(REST);
                return Ok(());
            }
            ensure!(start.elapsed() < PATIENCE, "some group has not three voters after a minute");
            wait(Duration::from_millis(50));
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
        wait(REST);
        Ok(())
    }

    /// Who leads the cluster group, as the nodes have written it down; with the highest term.
    pub(super) fn leader(&self) -> Result<usize> {
        let said: Vec<String> = self.nodes.iter().map(Node::said).collect();
        let told = said.iter().flat_map(|text| text.lines()).filter(|line| line.contains(LEADS));
        let told = told.filter_map(|line| Some((field(line, "term=")?, field(line, "node=")?)));
        let (_, leader) = told.max().context("nobody has led the cluster group")?;
        for (number, node) in self.nodes.iter().enumerate() {
            if node.number()? == leader {
                return Ok(number);
            }
        }
        bail!("node {leader} leads the cluster group, and is none of the three")
    }

    /// Where clients reach all of them.
    pub(super) fn hosts(&self) -> String {
        let hosts: Vec<String> = self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.mqtt)).collect();
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

impl Node {
    fn log(&self) -> PathBuf {
        self.folder.join("node.log")
    }

    fn said(&self) -> String {
        // Before its first word there is no file.
        fs::read_to_string(self.log()).unwrap_or_default()
    }

    /// Its number in the cluster.
    fn number(&self) -> Result<u64> {
        let text = fs::read_to_string(self.folder.join("data").join("node.json"))?;
        let json: serde_json::Value = serde_json::from_str(&text)?;
        json.get("node").and_then(serde_json::Value::as_u64).context("expected a number in node.json")
    }
}

/// The number behind a name in a line of a log.
fn field(line: &str, name: &str) -> Option<u64> {
    let (_, behind) = line.rsplit_once(name)?;
    let digits: String = behind.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

fn settings(
    (number, port): (usize, u16),
    (mqtt, http): (u16, u16),
    folder: &Path,
    (ports, profile): (&[u16], &str),
) -> String {
    let folder = folder.display();
    let seeds: Vec<String> = ports.iter().map(|port| format!("\"127.0.0.1:{port}\"")).collect();
    format!(
        "[node]\nname = \"node-{number}\"\ndata_dir = \"{folder}/data\"\n\
         [cluster]\nlisten = \"127.0.0.1:{port}\"\nseeds = [{}]\nprofile = \"{profile}\"\nexpected_nodes = 3\n\
         [listener.mqtt]\naddress = \"127.0.0.1:{mqtt}\"\nprotocol = \"tcp\"\n\
         [http]\naddress = \"127.0.0.1:{http}\"\n\
         [session]\nqueue_messages_max = 10000000\nqueue_bytes_max = \"16GiB\"\n",
        seeds.join(", ")
    )
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
