//! What lies between the nodes of a test: each node tells the others the port of a proxy, which passes bytes on, slowly, or
//! not at all, for each direction between two nodes by itself. Which node a connection comes from is looked up in /proc.
//! What is held back is neither lost nor overtaken: that is what TCP makes of packets that are lost.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use e2e_tests::nodes::Number;
use e2e_tests::pause;
use e2e_tests::random::Random;

use crate::sieve::Sieve;

/// Between two looks of whoever waits for connections.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// What a lost packet costs until it is sent again.
const SENT_AGAIN: Duration = Duration::from_millis(200);

/// What becomes of bytes from one node to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// They pass.
    Passes,
    /// They wait until they may pass, and so does the end of a connection.
    Held,
    /// They take so long, and up to as much again; some of them a good deal longer.
    Slow(Duration),
}

/// A connection between two nodes.
struct Link {
    between: (Number, Number),
    cut: Arc<AtomicBool>,
    ends: [TcpStream; 2],
}

struct Fates {
    of: [[Fate; 4]; 4],
    refuses: [bool; 4],
    /// What is to be lost on its way from one node to another, once.
    loses: Option<((Number, Number), Vec<u8>)>,
}

struct Inner {
    fates: Mutex<Fates>,
    changed: Condvar,
    links: Mutex<Vec<Link>>,
    dirs: Mutex<Vec<PathBuf>>,
    ended: AtomicBool,
    seed: u64,
}

/// The network of three nodes.
pub(crate) struct Network(Arc<Inner>);

impl Network {
    /// Passes on to these ports of the nodes what comes to those that others are told of: all of them below those that the
    /// system gives to whoever asks for any, since they are let go and taken again.
    pub(crate) fn before(ports: &[u16], told: &[u16], seed: u64) -> Self {
        let fates = Fates { of: [[Fate::Passes; 4]; 4], refuses: [false; 4], loses: None };
        let inner = Arc::new(Inner {
            fates: Mutex::new(fates),
            changed: Condvar::new(),
            links: Mutex::default(),
            dirs: Mutex::default(),
            ended: AtomicBool::new(false),
            seed,
        });
        for (number, (to, told)) in (1..).zip(ports.iter().zip(told)) {
            let listener = TcpListener::bind(("127.0.0.1", *told)).unwrap();
            let (inner, ports) = (Arc::clone(&inner), (*told, *to));
            thread::spawn(move || inner.accept(listener, number, ports));
        }
        Self(inner)
    }

    /// Whose directories these are is how nodes are told apart.
    pub(crate) fn nodes_in(&self, dirs: Vec<PathBuf>) {
        *self.0.dirs.lock().unwrap() = dirs;
    }

    /// From now on this becomes of bytes from one node to another.
    pub(crate) fn set(&self, from: Number, to: Number, fate: Fate) {
        self.0.fates.lock().unwrap().of[from][to] = fate;
        self.0.changed.notify_all();
    }

    /// Everything passes, and everybody takes connections.
    pub(crate) fn heal(&self) {
        let mut fates = self.0.fates.lock().unwrap();
        fates.of = [[Fate::Passes; 4]; 4];
        fates.refuses = [false; 4];
        self.0.changed.notify_all();
    }

    /// The next word between two nodes in which this stands is lost, and what comes behind it passes.
    pub(crate) fn lose(&self, from: Number, to: Number, what: &[u8]) {
        self.0.fates.lock().unwrap().loses = Some(((from, to), what.to_owned()));
    }

    /// Whether that has come to be.
    pub(crate) fn has_lost(&self) -> bool {
        self.0.fates.lock().unwrap().loses.is_none()
    }

    /// Ends all connections of a node; what they held back is lost.
    pub(crate) fn cut(&self, node: Number) {
        for link in self.0.links.lock().unwrap().iter() {
            if link.between.0 == node || link.between.1 == node {
                link.end();
            }
        }
        // Whoever waits looks again.
        let _fates = self.0.fates.lock().unwrap();
        self.0.changed.notify_all();
    }

    /// Ends all connections to a node and refuses new ones, as a firewall does.
    pub(crate) fn refuse(&self, node: Number) {
        self.0.fates.lock().unwrap().refuses[node] = true;
        for link in self.0.links.lock().unwrap().iter().filter(|link| link.between.1 == node) {
            link.end();
        }
        self.0.changed.notify_all();
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.0.ended.store(true, Ordering::Release);
        self.0.links.lock().unwrap().iter().for_each(Link::end);
        let _fates = self.0.fates.lock().unwrap();
        self.0.changed.notify_all();
    }
}

impl Link {
    fn end(&self) {
        self.cut.store(true, Ordering::Release);
        self.ends.iter().for_each(|end| drop(end.shutdown(Shutdown::Both)));
    }
}

impl Inner {
    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    fn refuses(&self, node: Number) -> bool {
        self.fates.lock().unwrap().refuses[node]
    }

    /// Takes the connections to a node, which others know by one port and that listens on the other.
    fn accept(self: Arc<Self>, listener: TcpListener, node: Number, (told, to): (u16, u16)) {
        let mut listener = Some(listener);
        let mut random = Random::new(self.seed ^ u64::from(told));
        while !self.has_ended() {
            if self.refuses(node) {
                listener = None;
            } else if listener.is_none() {
                listener = TcpListener::bind(("127.0.0.1", told)).ok();
            }
            let Some(open) = &listener else {
                pause(LOOK_EVERY);
                continue;
            };
            open.set_nonblocking(true).unwrap();
            match open.accept() {
                Ok((dialed, address)) => {
                    dialed.set_nonblocking(false).unwrap();
                    let (inner, random) = (Arc::clone(&self), Random::new(random.number()));
                    thread::spawn(move || inner.pass(dialed, (address.port(), told), (node, to), random));
                }
                Err(_) => pause(LOOK_EVERY),
            }
        }
    }

    /// Carries both directions of a connection that was taken.
    fn pass(
        self: Arc<Self>,
        dialed: TcpStream,
        ports: (u16, u16),
        (node, to): (Number, u16),
        random: Random,
    ) {
        let Some(from) = self.whose(ports) else { return };
        let Ok(taken) = TcpStream::connect(("127.0.0.1", to)) else { return };
        if dialed.set_nodelay(true).and(taken.set_nodelay(true)).is_err() {
            return;
        }
        let (Ok(end), Ok(other)) = (dialed.try_clone(), taken.try_clone()) else { return };
        let (Ok(back_from), Ok(back_to)) = (taken.try_clone(), dialed.try_clone()) else { return };
        let cut = Arc::new(AtomicBool::new(false));
        {
            let mut links = self.links.lock().unwrap();
            links.retain(|link| Arc::strong_count(&link.cut) > 1);
            links.push(Link { between: (from, node), cut: Arc::clone(&cut), ends: [end, other] });
        }
        let (inner, back, also) = (Arc::clone(&self), Random::new(random.clone().number()), Arc::clone(&cut));
        thread::spawn(move || inner.carry((node, from), (back_from, back_to), &also, back));
        self.carry((from, node), (dialed, taken), &cut, random);
    }

    /// Carries one direction until the connection ends.
    fn carry(
        &self,
        way: (Number, Number),
        (mut from, mut to): (TcpStream, TcpStream),
        cut: &AtomicBool,
        mut random: Random,
    ) {
        let (mut bytes, mut sieve) = (vec![0; 64 << 10], Sieve::default());
        loop {
            let read = from.read(&mut bytes).unwrap_or(0);
            if !self.lets_pass(way, cut, &mut random) || read == 0 {
                break;
            }
            let passed = sieve.pass(&bytes[..read], |content| self.loses(way, content));
            if to.write_all(&passed).is_err() {
                break;
            }
        }
        cut.store(true, Ordering::Release);
        [from, to].iter().for_each(|end| drop(end.shutdown(Shutdown::Both)));
    }

    /// Waits until bytes may pass; false where they never will.
    fn lets_pass(&self, (from, to): (Number, Number), cut: &AtomicBool, random: &mut Random) -> bool {
        let is_over = || cut.load(Ordering::Acquire) || self.has_ended();
        let mut fates = self.fates.lock().unwrap();
        while fates.of[from][to] == Fate::Held && !is_over() {
            fates = self.changed.wait_timeout(fates, Duration::from_millis(500)).unwrap().0;
        }
        let fate = fates.of[from][to];
        drop(fates);
        if let Fate::Slow(time) = fate {
            let more = random.below(time.as_micros() as u64 + 1);
            let lost = if random.below(30) == 0 { SENT_AGAIN } else { Duration::ZERO };
            pause(time + Duration::from_micros(more) + lost);
        }
        !is_over()
    }

    /// Whether this is what is to be lost on its way; only the first time.
    fn loses(&self, way: (Number, Number), content: &[u8]) -> bool {
        let is_it = |(on, what): &mut ((Number, Number), Vec<u8>)| {
            *on == way && content.windows(what.len()).any(|part| part == what)
        };
        self.fates.lock().unwrap().loses.take_if(is_it).is_some()
    }

    /// The node that has the end of a connection with these ports, its own first.
    fn whose(&self, (own, other): (u16, u16)) -> Option<Number> {
        let table = fs::read_to_string("/proc/net/tcp").ok()?;
        let inode = table.lines().skip(1).find_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let port = |field: &str| u16::from_str_radix(field.split(':').nth(1)?, 16).ok();
            let fits = port(fields.get(1)?)? == own && port(fields.get(2)?)? == other;
            fits.then(|| fields.get(9).map(|inode| format!("socket:[{inode}]")))?
        })?;
        let dirs = self.dirs.lock().unwrap().clone();
        (1..).zip(&dirs).find(|(_, dir)| has_socket(dir, &inode)).map(|(number, _)| number)
    }
}

/// Whether the node whose directory this is has a socket.
fn has_socket(dir: &Path, inode: &str) -> bool {
    let name = dir.join("data").to_string_lossy().into_owned().into_bytes();
    let of_node = |process: &fs::DirEntry| {
        fs::read(process.path().join("cmdline"))
            .is_ok_and(|line| line.windows(name.len()).any(|part| part == name))
    };
    let has = |process: fs::DirEntry| {
        let open = fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten();
        open.map(|fd| fs::read_link(fd.path())).any(|link| link.is_ok_and(|to| to.as_os_str() == inode))
    };
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbered =
        |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with(|c: char| c.is_ascii_digit());
    processes.filter(numbered).filter(of_node).any(has)
}
