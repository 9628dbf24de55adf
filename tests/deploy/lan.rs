//! A network of a test's own: a bridge, and a server for names, as Docker and Kubernetes give them to containers. It needs root
//! and Debian's dnsmasq-base; a test says so where that is missing. It decides nothing about what is right.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::MutexGuard;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use e2e_tests::dev::{alone, signal};
use e2e_tests::process::{bound_to_us, fresh_dir, spawn};

use crate::{skipped, until};

/// What names of ours begin with, before the number of the process that they belong to.
const PREFIX: &str = "qd";

/// The bridge's own, locally administered.
const HARDWARE_ADDRESS: &str = "02:00:00:00:00:01";

/// A network that is there until it is dropped. Only one test of the process has any at a time.
pub(crate) struct Lan {
    /// Of containers: a folder each.
    pub(crate) dir: PathBuf,
    names: BTreeMap<String, Vec<String>>,
    next: u8,
    /// Network namespaces by the addresses in them.
    namespaces: RefCell<BTreeMap<String, String>>,
    dns: Child,
    _alone: MutexGuard<'static, ()>,
}

/// Runs a program of the system; what it says where it fails.
pub(crate) fn run(program: &str, arguments: &[&str]) -> Result<String, String> {
    let done = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let done = done.map_err(|error| format!("{program}: {error}"))?;
    let said = String::from_utf8_lossy(if done.status.success() { &done.stdout } else { &done.stderr });
    let said = said.trim().to_owned();
    if done.status.success() { Ok(said) } else { Err(format!("{program} {arguments:?}: {said}")) }
}

/// The first three parts of this process's addresses.
fn subnet() -> String {
    let pid = std::process::id();
    format!("10.{}.{}", 128 + pid / 256 % 64, pid % 256)
}

fn bridge() -> String {
    format!("{PREFIX}{}", std::process::id())
}

impl Lan {
    /// A network without anybody in it; nothing where that cannot be made, which is said.
    pub(crate) fn new() -> Option<Self> {
        let alone = alone();
        sweep();
        if let Err(why) = Self::lay() {
            skipped(&format!("no network can be made here (it takes root): {why}"));
            return None;
        }
        let dir = fresh_dir();
        fs::write(dir.join("hosts"), "").unwrap();
        fs::write(dir.join("resolv.conf"), format!("nameserver {}.1\n", subnet())).unwrap();
        let mut dns = bound_to_us("dnsmasq".as_ref());
        dns.args([
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--no-resolv",
            "--no-hosts",
            "--user=root",
        ]);
        dns.args(["--bind-interfaces", "--pid-file=", "--local-ttl=0", "--except-interface=lo"]);
        dns.arg(format!("--listen-address={}.1", subnet()));
        dns.arg(format!("--addn-hosts={}", dir.join("hosts").display()));
        dns.stdin(Stdio::null()).stdout(Stdio::null()).stderr(fs::File::create(dir.join("dns.log")).unwrap());
        let dns = spawn(dns).expect("setpriv of util-linux can be run");
        let lan =
            Self { dir, names: BTreeMap::new(), next: 9, namespaces: RefCell::default(), dns, _alone: alone };
        if run("sh", &["-c", "command -v dnsmasq"]).is_err() {
            skipped("dnsmasq is missing: apt-get install dnsmasq-base");
            return None;
        }
        Self::until_names_are_told();
        Some(lan)
    }

    /// Waits for the server for names. Until it runs, the signal that has it read more of them would end it.
    fn until_names_are_told() {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.connect(format!("{}.1:53", subnet())).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        // Whether there is an address for a name that nobody has.
        let question = b"\0\x01\x01\0\0\x01\0\0\0\0\0\0\x06nobody\0\0\x01\0\x01";
        until("answer of dnsmasq", || {
            socket.send(question).ok()?;
            socket.recv(&mut [0; 512]).ok()
        });
    }

    fn lay() -> Result<(), String> {
        let bridge = bridge();
        // A bridge without an address of its own takes the lowest of its members'. It would change with one that leaves, and
        // the others would send to the old one until their tables forget it: up to a minute.
        run("ip", &["link", "add", &bridge, "address", HARDWARE_ADDRESS, "type", "bridge"])?;
        run("ip", &["address", "add", &format!("{}.1/24", subnet()), "dev", &bridge])?;
        run("ip", &["link", "set", &bridge, "up"])?;
        Ok(())
    }

    /// An address that nobody had before.
    pub(crate) fn address(&mut self) -> String {
        self.next += 1;
        format!("{}.{}", subnet(), self.next)
    }

    /// One more address of the bridge, where a test can serve something itself.
    pub(crate) fn second_address(&self) -> String {
        let address = format!("{}.2", subnet());
        run("ip", &["address", "add", &format!("{address}/24"), "dev", &bridge()]).unwrap();
        address
    }

    /// The network as `a.b.c`.
    pub(crate) fn subnet(&self) -> String {
        subnet()
    }

    /// A network namespace with this address in it: its name.
    pub(crate) fn namespace(&self, address: &str) -> String {
        static NEXT: AtomicU8 = AtomicU8::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{number}", std::process::id());
        let made = || -> Result<(), String> {
            run("ip", &["netns", "add", &name])?;
            run("ip", &["link", "add", &name, "type", "veth", "peer", "name", "eth0", "netns", &name])?;
            run("ip", &["link", "set", &name, "master", &bridge(), "up"])?;
            run("ip", &["-n", &name, "address", "add", &format!("{address}/24"), "dev", "eth0"])?;
            run("ip", &["-n", &name, "link", "set", "eth0", "up"])?;
            run("ip", &["-n", &name, "link", "set", "lo", "up"])?;
            Ok(())
        };
        made().unwrap();
        self.namespaces.borrow_mut().insert(address.to_owned(), name.clone());
        name
    }

    /// From now on whoever has these addresses does not hear the other, or does again.
    pub(crate) fn part(&self, (one, other): (&str, &str), are_apart: bool) {
        let verb = if are_apart { "add" } else { "delete" };
        for (from, to) in [(one, other), (other, one)] {
            let namespace = &self.namespaces.borrow()[from];
            run("ip", &["-n", namespace, "route", verb, "blackhole", &format!("{to}/32")]).unwrap();
        }
    }

    /// From now on this name is these addresses; none is that it is unknown.
    pub(crate) fn name(&mut self, name: &str, addresses: &[&str]) {
        self.names.insert(name.to_owned(), addresses.iter().map(|address| (*address).to_owned()).collect());
        let lines = self
            .names
            .iter()
            .flat_map(|(name, addresses)| addresses.iter().map(move |address| format!("{address} {name}\n")));
        fs::write(self.dir.join("hosts"), lines.collect::<String>()).unwrap();
        signal(self.dns.id(), "HUP");
    }
}

/// Removes what test processes left that are gone.
fn sweep() {
    let gone = |name: &str| {
        let pid = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
        pid.is_some_and(|pid| !PathBuf::from(format!("/proc/{pid}")).exists())
    };
    for name in run("ip", &["netns", "list"]).unwrap_or_default().lines().filter_map(|l| l.split(' ').next())
    {
        if gone(name) {
            drop(run("ip", &["netns", "delete", name]));
        }
    }
    for entry in fs::read_dir("/sys/class/net").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if gone(&name) {
            drop(run("ip", &["link", "delete", &name]));
        }
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        drop(self.dns.kill());
        drop(self.dns.wait());
        drop(run("ip", &["link", "delete", &bridge()]));
        drop(fs::remove_dir_all(&self.dir));
    }
}

#[test]
fn a_network_keeps_its_address_when_somebody_leaves_it() {
    let Some(mut lan) = Lan::new() else { return };
    let address = || fs::read_to_string(format!("/sys/class/net/{}/address", bridge())).unwrap();
    let addresses: Vec<String> = (0..4).map(|_| lan.address()).collect();
    let names: Vec<String> = addresses.iter().map(|address| lan.namespace(address)).collect();
    assert_eq!(address().trim(), HARDWARE_ADDRESS);
    for name in &names {
        run("ip", &["netns", "delete", name]).unwrap();
        drop(run("ip", &["link", "delete", name]));
        assert_eq!(address().trim(), HARDWARE_ADDRESS);
    }
}
