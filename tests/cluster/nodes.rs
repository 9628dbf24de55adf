//! Three nodes of a cluster, each a process with a directory and a port of its own. What the tests of this folder are
//! written in; it decides nothing about what is right.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::MutexGuard;
use std::thread;
use std::time::{Duration, Instant};

pub(crate) use e2e_tests::PATIENCE;
use e2e_tests::dev::alone;
use e2e_tests::{Broker, Start, pause};

/// Numbers of the nodes of a test, from 1.
pub(crate) type Number = usize;

/// The nodes of one test. Only one test of the process has any at a time: three processes are load enough.
pub(crate) struct Nodes {
    dirs: Vec<PathBuf>,
    pub(crate) up: BTreeMap<Number, Broker>,
    _alone: MutexGuard<'static, ()>,
}

/// How the nodes come to be one cluster.
#[derive(Clone, Copy)]
pub(crate) enum Founding {
    /// The first by name founds it once all three are there.
    Expected,
    /// This one is told to.
    Told(Number),
}

impl Nodes {
    /// Three nodes, none of which runs.
    pub(crate) fn down(founding: Founding) -> Self {
        Self::down_with(founding, "")
    }

    /// The same with more of the section `[mqtt]`.
    pub(crate) fn down_with(founding: Founding, mqtt: &str) -> Self {
        let alone = alone();
        let ports = free_ports(3);
        let dirs = (1..=3).map(|number| Broker::prepare(&config(number, &ports, (founding, mqtt)))).collect();
        Self { dirs, up: BTreeMap::new(), _alone: alone }
    }

    /// The same, started together.
    pub(crate) fn started() -> Self {
        let mut nodes = Self::down(Founding::Expected);
        nodes.start(&[1, 2, 3], Duration::ZERO);
        nodes
    }

    /// Starts nodes in this order, with a pause before each but the first, and waits until all of them are ready.
    pub(crate) fn start(&mut self, order: &[Number], apart: Duration) {
        let starting: Vec<_> = order
            .iter()
            .enumerate()
            .map(|(at, number)| {
                if at > 0 {
                    pause(apart);
                }
                let (number, dir) = (*number, self.dirs[number - 1].clone());
                thread::spawn(move || {
                    (number, Broker::try_open(&dir, &Start { within: Some(PATIENCE), ..Start::default() }))
                })
            })
            .collect();
        for started in starting {
            let (number, broker) = started.join().unwrap();
            let broker =
                broker.unwrap_or_else(|failed| panic!("node {number} did not start:\n{}", failed.log));
            self.up.insert(number, broker);
        }
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self, number: Number) {
        self.up.remove(&number).unwrap().kill();
    }

    /// SIGKILL, and everything that it had on its disk is gone.
    pub(crate) fn lose(&mut self, number: Number) {
        self.kill(number);
        fs::remove_dir_all(self.dirs[number - 1].join("data")).unwrap();
    }

    /// Where clients connect to a node.
    pub(crate) fn mqtt(&self, number: Number) -> String {
        self.up[&number].mqtt()
    }

    /// Where clients connect to any node that runs.
    pub(crate) fn all(&self) -> Vec<String> {
        self.up.values().map(Broker::mqtt).collect()
    }

    /// The cluster that a node belongs to, and its number there, as its directory says.
    pub(crate) fn identity(&self, number: Number) -> (String, u64) {
        let text = fs::read_to_string(self.dirs[number - 1].join("data/node.json")).unwrap();
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        (json["cluster"].as_str().unwrap().to_owned(), json["node"].as_u64().unwrap())
    }

    /// All three belong to one cluster and have numbers of their own.
    pub(crate) fn assert_one_cluster(&self) {
        let of: Vec<_> = (1..=3).map(|number| self.identity(number)).collect();
        assert!(of.iter().all(|(cluster, _)| *cluster == of[0].0), "{of:?}");
        let mut numbers: Vec<u64> = of.iter().map(|(_, number)| *number).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, [1, 2, 3]);
    }

    /// Waits until some node's log says something so often, of all that run together.
    pub(crate) fn until_logged(&self, what: &str, times: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.up.values().map(|node| node.log().matches(what).count()).sum::<usize>() < times {
            assert!(Instant::now() < deadline, "{what:?} was not logged {times} times");
            pause(Duration::from_millis(20));
        }
    }

    /// Waits until every group has three voters: from then on any one node may die.
    pub(crate) fn until_replicated(&self) {
        // The cluster group and six shards.
        self.until_logged("the votes of a group have changed", 7);
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        // What one says as it ends may be of use where another has failed.
        self.up.clear();
        self.dirs.iter().for_each(|dir| drop(fs::remove_dir_all(dir)));
    }
}

fn config(number: Number, ports: &[u16], (founding, mqtt): (Founding, &str)) -> String {
    let seeds: Vec<String> = ports.iter().map(|port| format!("\"127.0.0.1:{port}\"")).collect();
    let founding = match founding {
        Founding::Expected => "expected_nodes = 3".to_owned(),
        Founding::Told(told) => format!("bootstrap = {}", told == number),
    };
    format!(
        "[node]\nname = \"node-{number}\"\n\
         [cluster]\nlisten = \"127.0.0.1:{}\"\nseeds = [{}]\nprofile = \"zones\"\n{founding}\n\
         [mqtt]\n{mqtt}\n\
         [limits]\nconnect_timeout = \"60s\"\n",
        ports[number - 1],
        seeds.join(", "),
    )
}

/// Ports that nobody listens on, below those that the system gives to whoever asks for any.
fn free_ports(count: usize) -> Vec<u16> {
    let first = 10_000 + (std::process::id() % 10_000) as u16;
    let mut held = Vec::new();
    for port in (first..first + 12_000).step_by(7) {
        held.extend(TcpListener::bind(("127.0.0.1", port)).map(|socket| (port, socket)));
        if held.len() == count {
            return held.into_iter().map(|(port, _)| port).collect();
        }
    }
    panic!("no free ports");
}
