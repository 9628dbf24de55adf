//! A full disk (F21, G16): the node's data is on a small file system in memory, filled until nothing fits. What is QoS 1
//! or 2 waits, unacknowledged; what passes the log goes on; space brings it back; a restart without space works.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use e2e_tests::client::Read;
use e2e_tests::wire::kind;
use e2e_tests::{Broker, Publish, RawClient, Start, pause};

use crate::filled::CONFIG;
use crate::load::{Load, missing, subscribe};
use crate::mounted::Mounted;

/// Bytes of the file system: some files of the log, and little else.
const DISK: u64 = 40 << 20;
/// How long anything may take: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(90);

/// A file that takes all space there is.
struct Filler(PathBuf);

impl Filler {
    fn fill(data: &Path) -> Self {
        let path = data.join("filler");
        let mut file = fs::File::create(&path).unwrap();
        while file.write_all(&[7; 64 << 10]).is_ok() {}
        while file.write_all(&[7; 512]).is_ok() {}
        Self(path)
    }

    fn remove(self) {
        fs::remove_file(self.0).unwrap();
    }
}

fn config() -> String {
    format!("{CONFIG}[http]\naddress = \"127.0.0.1:0\"\n")
}

/// The value of a metric.
fn metric(broker: &Broker, name: &str) -> f64 {
    let mut stream = TcpStream::connect(broker.addr("http")).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let line = text.lines().find(|line| line.starts_with(name) && !line.starts_with('#'));
    let line = line.unwrap_or_else(|| panic!("no {name} in {text}"));
    line.split_whitespace().last().unwrap().parse().unwrap()
}

fn wait_for_log(broker: &Broker, text: &str) {
    let deadline = Instant::now() + PATIENCE;
    while !broker.log().contains(text) {
        assert!(Instant::now() < deadline, "the log never said `{text}`\n{}", broker.log());
        pause(Duration::from_millis(20));
    }
}

/// Waits until nothing has been acknowledged for a while; gives how much was.
fn wait_until_held(load: &Load) -> usize {
    let mut before = load.count();
    loop {
        pause(Duration::from_millis(1_500));
        let now = load.count();
        if now == before {
            return now;
        }
        before = now;
    }
}

#[test]
fn f21_a_full_disk_holds_publishes_and_space_brings_them_back() {
    let Some(disk) = Mounted::small(Broker::prepare(&config()), DISK) else { return };
    let broker =
        Broker::try_open(&disk.dir, &Start::default()).unwrap_or_else(|failed| panic!("{}", failed.log));
    subscribe(&broker.mqtt());
    let mut transient = RawClient::v5(&broker.mqtt(), "transient");
    transient.subscribe("passing", 0);
    let mut sender = RawClient::v5(&broker.mqtt(), "sender");
    let load = Load::begin(&broker.mqtt(), 2_000);
    load.wait_for(200);
    wait_for_file(&disk.data().join("ballast"));
    let filler = Filler::fill(&disk.data());
    wait_for_log(&broker, "no space for the log");
    let held = wait_until_held(&load);
    println!("{held} acknowledged on a disk of {} MiB", DISK >> 20);
    // QoS 0 goes on, and connections live.
    for number in 0..100 {
        sender.send(&Publish::v5("passing", number.to_string()).bytes());
        assert_eq!(transient.expect_publish().text(), number.to_string());
    }
    sender.ping();
    assert!(metric(&broker, "quelea_wal_full") >= 1.0);
    broker.assert_well();
    assert_eq!(load.count(), held, "acknowledged without space");
    filler.remove();
    wait_for_log(&broker, "there is space for the log again");
    load.wait_for(held + 500);
    let acknowledged = load.end();
    let addr = broker.mqtt();
    assert_eq!(missing(&addr, acknowledged), [].into());
}

fn wait_for_file(path: &Path) {
    let deadline = Instant::now() + PATIENCE;
    while !path.exists() {
        assert!(Instant::now() < deadline, "{} never came", path.display());
        pause(Duration::from_millis(20));
    }
}

/// Neither a kill nor a stop on a full disk keeps the node from starting there, with everything.
#[test]
fn f21_a_node_starts_on_a_full_disk() {
    let Some(disk) = Mounted::small(Broker::prepare(&config()), DISK) else { return };
    let start = Start::default();
    let mut broker = Broker::try_open(&disk.dir, &start).unwrap_or_else(|failed| panic!("{}", failed.log));
    subscribe(&broker.mqtt());
    let load = Load::begin(&broker.mqtt(), 2_000);
    load.wait_for(500);
    wait_for_file(&disk.data().join("ballast"));
    let filler = Filler::fill(&disk.data());
    wait_for_log(&broker, "no space for the log");
    wait_until_held(&load);
    broker.kill();
    let acknowledged = load.end();
    let mut broker = Broker::try_open(&disk.dir, &start).unwrap_or_else(|failed| panic!("{}", failed.log));
    println!("{} acknowledged before the start without space", acknowledged.len());
    assert!(broker.stop().is_some_and(|status| status.success()), "{}", broker.log());
    filler.remove();
    let broker = Broker::try_open(&disk.dir, &start).unwrap_or_else(|failed| panic!("{}", failed.log));
    assert_eq!(missing(&broker.mqtt(), acknowledged), [].into());
}

/// Who waits too long is sent away with 0x97, and its unacknowledged publish is its own to repeat.
#[test]
fn f21_whoever_waits_too_long_for_space_is_told_so() {
    let Some(disk) = Mounted::small(Broker::prepare(&config()), DISK) else { return };
    let broker =
        Broker::try_open(&disk.dir, &Start::default()).unwrap_or_else(|failed| panic!("{}", failed.log));
    let mut waiting = RawClient::v5(&broker.mqtt(), "waiting");
    subscribe(&broker.mqtt());
    let load = Load::begin(&broker.mqtt(), 2_000);
    load.wait_for(200);
    wait_for_file(&disk.data().join("ballast"));
    let filler = Filler::fill(&disk.data());
    wait_for_log(&broker, "no space for the log");
    wait_until_held(&load);
    waiting.send(&Publish::v5("load/0", "late").qos(1, 1).bytes());
    match waiting.read(PATIENCE) {
        Read::Packet(packet) if packet.kind() == kind::DISCONNECT => {
            assert_eq!(packet.reasoned().reason, 0x97);
        }
        other => panic!("{other:?}\n{}", broker.log()),
    }
    waiting.expect_closed();
    let acknowledged = load.end();
    filler.remove();
    wait_for_log(&broker, "there is space for the log again");
    assert_eq!(missing(&broker.mqtt(), acknowledged), [].into());
}
