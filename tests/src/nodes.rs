//! Nodes of a cluster, three as a rule, each a process with a directory and ports of its own. What the tests in `cluster/` and `chaos/`
//! are written in; it decides nothing about what is right.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::MutexGuard;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

pub use crate::PATIENCE;
use crate::dev::alone;
use crate::{Broker, Start, pause};

/// Numbers of the nodes of a test, from 1.
pub type Number = usize;

/// The nodes of one test. Only one test of the process has any at a time: three processes are load enough.
pub struct Nodes {
    dirs: Vec<PathBuf>,
    setup: Setup,
    /// Those that run.
    pub up: BTreeMap<Number, Broker>,
    _alone: MutexGuard<'static, ()>,
}

/// How the nodes come to be one cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Founding {
    /// The first by name founds it once all three are there.
    Expected,
    /// This one is told to.
    Told(Number),
    /// The first one is told to; the others know nobody, and join those that run when they are started.
    Joined,
}

/// What the nodes of a test are.
#[derive(Clone, Debug)]
pub struct Setup {
    /// How they come to be one cluster.
    pub founding: Founding,
    /// More of the section `[mqtt]`.
    pub mqtt: String,
    /// More sections.
    pub sections: String,
    /// Of each node the port for others and the one that others are told of; the same twice where nothing is between.
    pub ways: Vec<(u16, u16)>,
    /// Of each node the port for clients; where there is none, any at each start.
    pub clients: Vec<u16>,
    /// The same for `quelea ctl`.
    pub admins: Vec<u16>,
    /// Of each node the network namespace in which it runs, and its address there; where there is none, ours.
    pub spaces: Vec<(String, Ipv4Addr)>,
    /// The binary, and its environment.
    pub start: Start,
}

impl Setup {
    /// Three nodes that reach each other.
    pub fn new(founding: Founding) -> Self {
        let ways = free_ports(3).into_iter().map(|port| (port, port)).collect();
        let (mqtt, sections) = (String::new(), String::new());
        let (clients, admins, spaces) = (Vec::new(), Vec::new(), Vec::new());
        Self { founding, mqtt, sections, ways, clients, admins, spaces, start: Start::default() }
    }

    /// The address of a node.
    fn host(&self, number: Number) -> Ipv4Addr {
        self.spaces.get(number - 1).map_or(Ipv4Addr::LOCALHOST, |(_, host)| *host)
    }

    fn config(&self, number: Number) -> String {
        let known = if self.founding == Founding::Joined { &[] } else { self.ways.as_slice() };
        let seed = |(number, (_, told)): (Number, &(u16, u16))| format!("\"{}:{told}\"", self.host(number));
        let seeds: Vec<String> = (1..).zip(known).map(seed).collect();
        let founding = match self.founding {
            Founding::Expected => "expected_nodes = 3".to_owned(),
            Founding::Told(told) => format!("bootstrap = {}", told == number),
            Founding::Joined => format!("bootstrap = {}", number == 1),
        };
        let (listen, told) = self.ways[number - 1];
        let host = self.host(number);
        let clients = self.clients.get(number - 1).map_or(String::new(), |port| {
            format!("[listener.mqtt]\nprotocol = \"tcp\"\naddress = \"{host}:{port}\"\n")
        });
        let admin = self.admins.get(number - 1).copied().unwrap_or_default();
        format!(
            "[node]\nname = \"node-{number}\"\n\
             [cluster]\nlisten = \"{host}:{listen}\"\nadvertise = \"{host}:{told}\"\nseeds = [{}]\n\
             profile = \"zones\"\n{founding}\n\
             [admin]\nlisten = \"127.0.0.1:{admin}\"\n\
             [http]\naddress = \"{host}:0\"\n\
             [mqtt]\n{}\n\
             [limits]\nconnect_timeout = \"60s\"\nwrite_timeout = \"120s\"\n{clients}{}",
            seeds.join(", "),
            self.mqtt,
            self.sections,
        )
    }
}

impl Nodes {
    /// Three nodes, none of which runs.
    pub fn down(founding: Founding) -> Self {
        Self::of(|| Setup::new(founding))
    }

    /// The same with more of the section `[mqtt]`.
    pub fn down_with(founding: Founding, mqtt: &str) -> Self {
        Self::of(|| Setup { mqtt: mqtt.to_owned(), ..Setup::new(founding) })
    }

    /// The same as expected nodes, with more sections.
    pub fn down_with_sections(sections: &str) -> Self {
        Self::of(|| Setup { sections: sections.to_owned(), ..Setup::new(Founding::Expected) })
    }

    /// The same, where clients find a node at the same address after each start.
    pub fn down_at_home() -> Self {
        Self::of(|| {
            let ports = free_ports(6);
            let (ways, clients) = ports.split_at(3);
            let ways = ways.iter().map(|port| (*port, *port)).collect();
            Setup { ways, clients: clients.to_vec(), ..Setup::new(Founding::Expected) }
        })
    }

    /// The same, of which everything is said, once no other test has ports of its own.
    pub fn of(setup: impl FnOnce() -> Setup) -> Self {
        let alone = alone();
        let setup = setup();
        let dirs = (1..=setup.ways.len()).map(|number| Broker::prepare(&setup.config(number))).collect();
        Self { dirs, setup, up: BTreeMap::new(), _alone: alone }
    }

    /// The same, started together.
    pub fn started() -> Self {
        let mut nodes = Self::down(Founding::Expected);
        nodes.start(&[1, 2, 3], Duration::ZERO);
        nodes
    }

    /// Starts nodes in this order, with a pause before each but the first, and waits until all of them are ready.
    pub fn start(&mut self, order: &[Number], apart: Duration) {
        let mut start = Start { within: Some(PATIENCE), ..self.setup.start.clone() };
        if self.setup.founding == Founding::Joined {
            let ways = self.up.keys().map(|number| self.setup.ways[number - 1].1);
            start.args = ways.flat_map(|told| ["--join".to_owned(), format!("127.0.0.1:{told}")]).collect();
        }
        let starting: Vec<_> = order
            .iter()
            .enumerate()
            .map(|(at, number)| {
                if at > 0 {
                    pause(apart);
                }
                let (number, dir, mut start) = (*number, self.dirs[number - 1].clone(), start.clone());
                if let Some((space, _)) = self.setup.spaces.get(number - 1) {
                    start.under = ["ip", "netns", "exec", space].map(str::to_owned).into();
                }
                thread::spawn(move || (number, Broker::try_open(&dir, &start)))
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
    pub fn kill(&mut self, number: Number) {
        self.up.remove(&number).unwrap().kill();
    }

    /// SIGTERM, and waits for the end.
    pub fn stop(&mut self, number: Number) {
        let status = self.up.remove(&number).unwrap().stop().unwrap();
        assert!(status.success(), "node {number} ended with {status}");
    }

    /// Waits until it has ended by itself, and says what its log says.
    pub fn until_ended(&mut self, number: Number) -> String {
        let mut node = self.up.remove(&number).unwrap();
        let status = node.wait_end(PATIENCE).unwrap_or_else(|| panic!("it runs on:\n{}", node.log()));
        assert!(status.success(), "{status}:\n{}", node.log());
        node.log()
    }

    /// A signal by its name, as `STOP`.
    pub fn signal(&self, number: Number, name: &str) {
        crate::dev::signal(self.up[&number].pid(), name);
    }

    /// Where a node has what it needs.
    pub fn dir(&self, number: Number) -> &Path {
        &self.dirs[number - 1]
    }

    /// SIGKILL, and everything that it had on its disk is gone.
    pub fn lose(&mut self, number: Number) {
        self.kill(number);
        fs::remove_dir_all(self.dirs[number - 1].join("data")).unwrap();
    }

    /// Where clients connect to a node.
    pub fn mqtt(&self, number: Number) -> String {
        self.up[&number].mqtt()
    }

    /// Where clients always connect to a node that has a port of its own for them.
    pub fn at_home(&self, number: Number) -> String {
        format!("127.0.0.1:{}", self.setup.clients[number - 1])
    }

    /// Where clients connect to any node that runs.
    pub fn all(&self) -> Vec<String> {
        self.up.values().map(Broker::mqtt).collect()
    }

    /// The cluster that a node belongs to, and its number there, as its directory says.
    pub fn identity(&self, number: Number) -> (String, u64) {
        // Without a library, which would be one of every test's.
        let text = fs::read_to_string(self.dirs[number - 1].join("data/node.json")).unwrap();
        let field = |name: &str| {
            let (_, value) = text.split_once(&format!("\"{name}\":")).expect("node.json has it");
            value.split([',', '}', '\n']).next().unwrap_or_default().trim().trim_matches('"').to_owned()
        };
        (field("cluster"), field("node").parse().expect("a number"))
    }

    /// All three belong to one cluster and have numbers of their own.
    pub fn assert_one_cluster(&self) {
        let of: Vec<_> = (1..=3).map(|number| self.identity(number)).collect();
        assert!(of.iter().all(|(cluster, _)| *cluster == of[0].0), "{of:?}");
        let mut numbers: Vec<u64> = of.iter().map(|(_, number)| *number).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, [1, 2, 3]);
    }

    /// Waits until some node's log says something so often, of all that run together.
    pub fn until_logged(&self, what: &str, times: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.up.values().map(|node| node.log().matches(what).count()).sum::<usize>() < times {
            assert!(Instant::now() < deadline, "{what:?} was not logged {times} times");
            pause(Duration::from_millis(20));
        }
    }

    /// Waits until every group has three voters: from then on any one node may die.
    pub fn until_replicated(&self) {
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

/// How many ports one process looks at.
const PORTS: usize = 1_700;

/// Ports that nobody listens on, below those that the system gives to whoever asks for any. No two calls in a process give the
/// same before all have had their turn: what is to listen there may not have begun.
pub fn free_ports(count: usize) -> Vec<u16> {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let first = 10_000 + (std::process::id() % 10_000) as usize;
    let mut held = Vec::new();
    for _ in 0..PORTS {
        let port = first + NEXT.fetch_add(1, Ordering::Relaxed) % PORTS * 7;
        let port = u16::try_from(port).expect("a port");
        held.extend(TcpListener::bind(("127.0.0.1", port)).map(|socket| (port, socket)));
        if held.len() == count {
            return held.into_iter().map(|(port, _)| port).collect();
        }
    }
    panic!("no free ports");
}
