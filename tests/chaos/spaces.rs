//! Network namespaces: each node in one of its own, and one between them, which routes and drops packets as it is told. The
//! clients are in that one too, and reach each node whatever is dropped between nodes. Needs root; says so where it is missing.

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use e2e_tests::nodes::Number;
use e2e_tests::process;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// What names of namespaces begin with; the number of the process that made them follows.
const PREFIX: &str = "quelea-e2e-";
/// Where namespaces have names.
const NAMES: &str = "/run/netns";
/// The one between the nodes.
const BETWEEN: Number = 0;

/// The namespaces of three nodes. They are gone when it is dropped.
pub(crate) struct Spaces(());

fn run(program: &str, arguments: &str) -> Result<(), String> {
    let words = arguments.split_whitespace();
    let done = Command::new(program).args(words).stdin(Stdio::null()).output();
    let done = done.map_err(|error| format!("{program}: {error}"))?;
    let said = String::from_utf8_lossy(&done.stderr).trim().to_owned();
    if done.status.success() { Ok(()) } else { Err(format!("{program} {arguments}: {said}")) }
}

fn name(of: Number) -> String {
    format!("{PREFIX}{}-{of}", std::process::id())
}

/// A node's address; the other end of its way has the same with 1.
fn host(node: Number) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, node as u8, 2)
}

impl Spaces {
    /// Makes them; says why not, where that does not work.
    pub(crate) fn made() -> Option<Self> {
        remove_stale();
        let spaces = Self(());
        match spaces.make() {
            Ok(()) => Some(spaces),
            Err(why) => {
                let missing = format!("network namespaces cannot be made here: {why}");
                assert!(std::env::var_os("REQUIRE_ALL").is_none_or(|value| value != "1"), "{missing}");
                println!("SKIPPED: {missing}");
                None
            }
        }
    }

    fn make(&self) -> Result<(), String> {
        let between = name(BETWEEN);
        run("ip", &format!("netns add {between}"))?;
        run("ip", &format!("-n {between} link set lo up"))?;
        for node in 1..=3 {
            let (space, host) = (name(node), host(node));
            let router = format!("10.77.{node}.1");
            run("ip", &format!("netns add {space}"))?;
            run("ip", &format!("-n {between} link add way{node} type veth peer name way netns {space}"))?;
            run("ip", &format!("-n {between} address add {router}/24 dev way{node}"))?;
            run("ip", &format!("-n {between} link set way{node} up"))?;
            run("ip", &format!("-n {space} address add {host}/24 dev way"))?;
            run("ip", &format!("-n {space} link set way up"))?;
            run("ip", &format!("-n {space} link set lo up"))?;
            run("ip", &format!("-n {space} route add default via {router}"))?;
        }
        inside(BETWEEN, || fs::write("/proc/sys/net/ipv4/ip_forward", "1"))
            .map_err(|error| format!("ip_forward: {error}"))?;
        self.nft("add table inet quelea")?;
        self.nft("add chain inet quelea between { type filter hook forward priority 0 ; }")
    }

    fn nft(&self, what: &str) -> Result<(), String> {
        run("ip", &format!("netns exec {} nft {what}", name(BETWEEN)))
    }

    /// Of each node the name of its namespace, and its address.
    pub(crate) fn of_nodes(&self) -> Vec<(String, Ipv4Addr)> {
        (1..=3).map(|node| (name(node), host(node))).collect()
    }

    /// Drops all packets from one node to another from now on.
    pub(crate) fn drop_packets(&self, from: Number, to: Number) {
        let (from, to) = (host(from), host(to));
        self.nft(&format!("add rule inet quelea between ip saddr {from} ip daddr {to} drop")).unwrap();
    }

    /// Resets all connections of other nodes to this port of a node, and refuses new ones.
    pub(crate) fn reject(&self, node: Number, port: u16) {
        let what = format!("ip daddr {} tcp dport {port} reject with tcp reset", host(node));
        self.nft(&format!("add rule inet quelea between {what}")).unwrap();
    }

    /// All packets pass.
    pub(crate) fn heal(&self) {
        self.nft("flush chain inet quelea between").unwrap();
    }
}

/// Does something where a node is; what threads and processes that begins are there too.
pub(crate) fn inside<T: Send>(node: Number, what: impl FnOnce() -> T + Send) -> T {
    // The thread that starts brokers serves all tests of this process, and belongs where it is.
    let mut nothing = Command::new("true");
    nothing.stdin(Stdio::null());
    process::spawn(nothing).unwrap().wait().unwrap();
    let enter = || {
        let space = File::open(Path::new(NAMES).join(name(node))).unwrap();
        move_into_link_name_space(space.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        what()
    };
    let done = thread::scope(|scope| scope.spawn(enter).join());
    done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Does something where all nodes are reached.
pub(crate) fn between<T: Send>(what: impl FnOnce() -> T + Send) -> T {
    inside(BETWEEN, what)
}

impl Drop for Spaces {
    fn drop(&mut self) {
        (BETWEEN..=3).for_each(|of| drop(run("ip", &format!("netns delete {}", name(of)))));
    }
}

/// Removes those of processes that are gone.
fn remove_stale() {
    for entry in fs::read_dir(NAMES).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if owner.is_some_and(|owner| !Path::new("/proc").join(owner).exists()) {
            drop(run("ip", &format!("netns delete {name}")));
        }
    }
}
