//! A cluster behind proxies with all its clients, from the first SUBACK to the last check. What befalls it is the caller's;
//! this begins the clients, waits for progress, and holds what was recorded against the guarantees.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use e2e_tests::ctl::{self, equal_replicas};
use e2e_tests::nodes::{Founding, Nodes, Number, PATIENCE, Setup, free_ports};
use e2e_tests::random::Random;
use e2e_tests::{RawClient, Start, Version, pause};

use crate::between::Between;
use crate::checks;
use crate::deaths::{Death, Deaths};
use crate::probes::Prober;
use crate::proxy::Network;
use crate::publisher::{self, Publisher};
use crate::registers::{self, Register};
use crate::spaces::Spaces;
use crate::subscriber::{self, Owed, STALE, Subscriber, Wants};
use crate::wills::Mortal;
use crate::world::{Alone, World};

/// Publishes that have to be acknowledged until clients count as served.
const PROGRESS: u64 = 250;
/// Clients with wills, and registers.
const MORTALS: u32 = 4;
const REGISTERS: u32 = 3;
/// Clients that probe.
const PROBERS: u32 = 2;

const PLAIN: subscriber::Style = subscriber::Style {
    name: "reader5",
    version: Version::V5,
    filter: "load/#",
    qos: 2,
    persistent: true,
    moves_after: None,
    absent: false,
    wants: Wants::All,
};
const GROUP: subscriber::Style =
    subscriber::Style { filter: "$share/strict/load/#", wants: Wants::InGroup(0), ..PLAIN };
const MIXED: subscriber::Style =
    subscriber::Style { filter: "$share/mixed/load/#", wants: Wants::InMixedGroup(1), ..PLAIN };
const SUBSCRIBERS: [subscriber::Style; 11] = [
    PLAIN,
    subscriber::Style { name: "reader3", version: Version::V3_1_1, qos: 1, ..PLAIN },
    subscriber::Style { name: "mover", moves_after: Some(150), ..PLAIN },
    subscriber::Style { name: "absent", absent: true, ..PLAIN },
    subscriber::Style { name: "transient", persistent: false, ..PLAIN },
    subscriber::Style { name: "member1", ..GROUP },
    subscriber::Style { name: "member2", moves_after: Some(80), ..GROUP },
    subscriber::Style { name: "mixed1", ..MIXED },
    subscriber::Style { name: "mixed2", persistent: false, ..MIXED },
    subscriber::Style { name: "watcher", filter: "will/#", wants: Wants::Wills, ..PLAIN },
    subscriber::Style { name: "guard", filter: "stale/#", wants: Wants::Nothing, ..PLAIN },
];

const fn publisher(number: u32, version: Version, qos: u8, persistent: bool) -> publisher::Style {
    publisher::Style { number, version, qos, persistent }
}
const PUBLISHERS: [publisher::Style; 6] = [
    publisher(1, Version::V5, 1, true),
    publisher(2, Version::V3_1_1, 1, false),
    publisher(3, Version::V5, 2, true),
    publisher(4, Version::V3_1_1, 2, true),
    publisher(5, Version::V5, 2, false),
    publisher(6, Version::V5, 0, false),
];

/// Nodes with what lies between them.
pub(crate) struct Cluster {
    pub(crate) nodes: Nodes,
    pub(crate) network: Between,
    pub(crate) world: Arc<World>,
    pub(crate) alone: Vec<Alone>,
    deaths: Deaths,
    pub(crate) faults: Vec<(String, Instant)>,
}

impl Cluster {
    /// What each node that runs says of the cluster.
    pub(crate) fn statuses(&self) -> String {
        let told = |(node, broker): (&Number, &e2e_tests::Broker)| {
            let admin = broker.addr("admin");
            let output = self.network.at(*node, || ctl::run(&admin, &["status"]));
            let (told, wrong) = (output.stdout, output.stderr);
            format!("node {node}: {}{}\n", String::from_utf8_lossy(&told), String::from_utf8_lossy(&wrong))
        };
        self.nodes.up.iter().map(told).collect()
    }

    /// Three nodes behind proxies, of a binary with a fault built in, or of the ordinary one, that may lose any one of them.
    pub(crate) fn started(seed: u64, mutant: Option<(PathBuf, &str)>) -> Self {
        let mut made = None;
        let nodes = Nodes::of(|| {
            let ports = free_ports(12);
            let [listen, told, clients, admins] = [0, 3, 6, 9].map(|from| &ports[from..from + 3]);
            let address = |port: &u16| SocketAddr::from((Ipv4Addr::LOCALHOST, *port));
            let world = World::new(clients.iter().map(address).collect());
            made = Some((Network::before(listen, told, seed), world));
            let ways = listen.iter().copied().zip(told.iter().copied()).collect();
            let start = mutant.map_or_else(Start::default, |(binary, mutant)| Start {
                binary: Some(binary),
                env: vec![("QUELEA_FAILPOINT", mutant.to_owned())],
                ..Start::default()
            });
            let (clients, admins) = (clients.to_vec(), admins.to_vec());
            Setup { ways, clients, admins, start, ..Setup::new(Founding::Expected) }
        });
        let (network, world) = made.expect("it was made with the nodes");
        network.nodes_in(dirs(&nodes));
        Self::begun(nodes, Between::Proxies(network), world)
    }

    /// Three nodes in namespaces, for whoever is between them.
    pub(crate) fn in_spaces(spaces: Spaces) -> Self {
        // Nobody else has a port there.
        let [nodes_port, clients_port, admin_port] = [7_883, 1_883, 7_884];
        let nodes = Nodes::of(|| Setup {
            ways: vec![(nodes_port, nodes_port); 3],
            clients: vec![clients_port; 3],
            admins: vec![admin_port; 3],
            spaces: spaces.of_nodes(),
            sections: "[auth]\nallow_anonymous = true\n".to_owned(),
            // Whoever reaches the ports of nodes from another machine says that it is one of them.
            start: Start { env: vec![("QUELEA__CLUSTER__SECRET", "a".repeat(64))], ..Start::default() },
            ..Setup::new(Founding::Expected)
        });
        let of = |(_, host): (String, Ipv4Addr)| SocketAddr::from((host, clients_port));
        let world = World::new(spaces.of_nodes().into_iter().map(of).collect());
        Self::begun(nodes, Between::Spaces(spaces, nodes_port), world)
    }

    fn begun(mut nodes: Nodes, network: Between, world: World) -> Self {
        nodes.start(&[1, 2, 3], Duration::ZERO);
        nodes.until_replicated();
        let deaths = Deaths::watched(dirs(&nodes));
        Self { nodes, network, world: Arc::new(world), alone: Vec::new(), deaths, faults: Vec::new() }
    }

    /// Says what befalls the cluster now.
    pub(crate) fn begins(&mut self, what: String) {
        println!("{what}");
        self.world.trouble();
        self.faults.push((what, Instant::now()));
    }

    /// SIGKILL; connections to it are refused from then on.
    pub(crate) fn kill(&mut self, node: Number) {
        self.deaths.kills(node);
        self.nodes.kill(node);
        self.network.ended(node);
    }

    /// Which nodes lost what they had in memory.
    pub(crate) fn deaths(&self) -> Vec<Death> {
        self.deaths.all()
    }

    /// SIGKILL to all of them at once.
    pub(crate) fn kill_all(&mut self) {
        (1..=3).for_each(|node| self.deaths.kills(node));
        // None of them sees another one die.
        (1..=3).for_each(|node| self.nodes.signal(node, "STOP"));
        (1..=3).for_each(|node| self.kill(node));
    }

    /// Everything is mended: waits until all is well, and goes on for a while.
    pub(crate) fn ends(&self) {
        self.network.heal();
        self.until_progress();
        self.world.trouble();
        self.until_progress();
    }

    /// Starts nodes that were killed, in this order.
    pub(crate) fn start(&mut self, order: &[Number]) {
        self.network.heal();
        self.nodes.start(order, Duration::ZERO);
    }

    /// Waits until clients are served again.
    pub(crate) fn until_progress(&self) {
        let acknowledged = || self.world.acknowledged.load(std::sync::atomic::Ordering::Relaxed);
        let (until, least) = (Instant::now() + PATIENCE, acknowledged() + PROGRESS);
        while acknowledged() < least {
            assert!(Instant::now() < until, "no progress: {:?}\n{}", self.world.faults(), self.statuses());
            pause(Duration::from_millis(50));
        }
    }
}

/// Where the nodes have what they need.
fn dirs(nodes: &Nodes) -> Vec<PathBuf> {
    (1..=3).map(|number| nodes.dir(number).to_owned()).collect()
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // How a node stops is no subject here; where something failed already their logs are.
        if !thread::panicking() {
            let up: Vec<Number> = self.nodes.up.keys().copied().collect();
            up.into_iter().for_each(|node| self.nodes.kill(node));
        }
    }
}

/// All clients of a run.
pub(crate) struct Clients {
    publishers: Vec<JoinHandle<Publisher>>,
    subscribers: Vec<JoinHandle<Subscriber>>,
    mortals: Vec<JoinHandle<Mortal>>,
    probers: Vec<JoinHandle<Prober>>,
    others: Vec<JoinHandle<()>>,
    registers: Arc<Vec<Register>>,
    owed: Arc<OnceLock<Owed>>,
}

impl Clients {
    /// All sessions are made, and then everybody begins.
    pub(crate) fn begin(world: &Arc<World>, random: &mut Random) -> Self {
        let owed = Arc::new(OnceLock::new());
        let made: Vec<(Subscriber, RawClient)> = SUBSCRIBERS
            .into_iter()
            .map(|style| {
                let mut subscriber = Subscriber::new(style);
                let client = subscriber.begin(world, random);
                (subscriber, client)
            })
            .collect();
        let registers: Arc<Vec<Register>> = Arc::new((0..REGISTERS).map(Register::new).collect());
        let mut fresh = || (Arc::clone(world), Random::new(random.number()));
        let subscribers = made.into_iter().map(|(subscriber, client)| {
            let ((world, random), owed) = (fresh(), Arc::clone(&owed));
            thread::spawn(move || subscriber.run(&world, random, client, &owed))
        });
        let subscribers = subscribers.collect();
        let publishers = PUBLISHERS.map(|style| {
            let (world, random) = fresh();
            thread::spawn(move || Publisher::new(style).run(&world, random))
        });
        let mortals = (0..MORTALS).map(|number| {
            let (world, random) = fresh();
            thread::spawn(move || Mortal::new(number, random).run(&world))
        });
        let mortals = mortals.collect();
        let probers = (0..PROBERS).map(|number| {
            let (world, random) = fresh();
            thread::spawn(move || Prober::new(number, PATIENCE, random).run(&world))
        });
        let probers = probers.collect();
        let mut others = Vec::new();
        for at in 0..REGISTERS as usize {
            let ((world, random), of) = (fresh(), Arc::clone(&registers));
            others.push(thread::spawn(move || of[at].write(&world, random)));
            let ((world, random), of) = (fresh(), Arc::clone(&registers));
            others.push(thread::spawn(move || of[at].read(&world, random)));
        }
        Self { publishers: publishers.into(), subscribers, mortals, probers, others, registers, owed }
    }

    /// Lets everybody finish on a cluster that is well, and checks all of it; gives what is wrong.
    pub(crate) fn finish(self, cluster: &Cluster, random: &mut Random) -> Vec<String> {
        let world = &cluster.world;
        let began = cluster.faults.first().map_or_else(Instant::now, |(_, at)| *at);
        world.end();
        let publishers = joined(self.publishers);
        let lives = joined(self.mortals).into_iter().flat_map(|mortal| mortal.lives).collect();
        let probes: u32 = joined(self.probers).iter().map(|prober| prober.complete).sum();
        joined(self.others);
        registers::remove_first(&self.registers, world, random);
        let owed = checks::owed(&publishers, lives, (&world.stays(), &cluster.deaths()));
        let owed = self.owed.get_or_init(|| owed);
        let subscribers = joined(self.subscribers);
        let came: Vec<usize> = subscribers
            .iter()
            .map(|subscriber| subscriber.parts.iter().map(|part| part.received.len()).sum())
            .collect();
        println!("{} messages acknowledged, {came:?} came, {probes} probes", owed.messages.len());
        println!("{} wills", owed.wills.len());
        checks::print_pauses(&world.ops(), began, &cluster.faults);
        checks::print_whereabouts(began, &world.stays(), &cluster.deaths());
        let mut wrong = world.faults();
        let admin = cluster.nodes.up[&1].addr("admin");
        wrong.extend(cluster.network.at(1, || equal_replicas(&admin, 3)));
        wrong.extend(checks::unknown(&world.ops()));
        wrong.extend(checks::quorum(&world.ops(), &cluster.alone));
        wrong.extend(checks::histories(&publishers, &subscribers, owed));
        wrong.extend(checks::groups(&publishers, &subscribers, (owed, began)));
        for subscriber in &subscribers {
            match subscriber.style.wants {
                Wants::Wills => wrong.extend(crate::wills::check(&owed.wills, &subscriber.others)),
                Wants::Nothing if !subscriber.others.is_empty() => {
                    wrong.push(format!("G6: {:?} came below {STALE}", subscriber.others));
                }
                _ => {}
            }
        }
        wrong
    }
}

fn joined<T>(threads: Vec<JoinHandle<T>>) -> Vec<T> {
    threads.into_iter().map(|thread| thread.join().unwrap()).collect()
}
