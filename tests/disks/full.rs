//! A full disk (F21, G16): the node's data is on a small file system in memory, filled until nothing fits. What is QoS 1
//! or 2 waits, unacknowledged; what passes the log or only takes something out of a session goes on; space brings it
//! back; a restart without space works.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use e2e_tests::client::Read;
use e2e_tests::wire::{Version, kind, prop};
use e2e_tests::{Broker, Connect, Publish, RawClient, Start, Will, packets, pause};

use crate::filled::{CONFIG, persistent};
use crate::load::{Load, missing, subscribe};
use crate::mounted::Mounted;

/// Bytes of the file system: some files of the log, and little else.
const DISK: u64 = 40 << 20;
/// Free bytes with which there are no checkpoints.
const CHECKPOINTS_WAIT: u64 = 3 << 20;
/// How long anything may take: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(90);
/// Seconds that CONNECT may take.
const CONNECT_TIMEOUT_S: u32 = 5;

/// A file that takes all space there is.
struct Filler(PathBuf);

impl Filler {
    /// Takes all but so many bytes.
    fn nearly(data: &Path, left: u64) -> Self {
        let path = data.join("filler");
        let mut file = fs::File::create(&path).unwrap();
        while free(data) > left && file.write_all(&[7; 256 << 10]).is_ok() {}
        Self(path)
    }

    /// Takes the rest.
    fn fill(&self) {
        let mut file = fs::File::options().append(true).open(&self.0).unwrap();
        while file.write_all(&[7; 64 << 10]).is_ok() {}
        while file.write_all(&[7; 512]).is_ok() {}
    }

    fn remove(self) {
        fs::remove_file(self.0).unwrap();
    }
}

/// Free bytes of the file system that something is on.
fn free(path: &Path) -> u64 {
    let df = Command::new("df").args(["--output=avail", "-B1"]).arg(path).output().unwrap();
    let text = String::from_utf8(df.stdout).unwrap();
    text.lines().last().unwrap().trim().parse().unwrap()
}

/// A node on a small disk.
struct Node {
    broker: Broker,
    disk: Mounted,
}

impl Node {
    /// `None` where such a disk cannot be made. There are sessions that get what the load and [`late`] publish.
    fn start() -> Option<Self> {
        let toml = format!(
            "{CONFIG}[limits]\nconnect_timeout = \"{CONNECT_TIMEOUT_S}s\"\n[http]\naddress = \"127.0.0.1:0\"\n"
        );
        let disk = Mounted::small(Broker::prepare(&toml), DISK)?;
        let node = Self { broker: open(&disk), disk };
        subscribe(&node.addr());
        RawClient::connect(&node.addr(), &persistent(Version::V5, "late")).subscribe("late", 1);
        Some(node)
    }

    fn addr(&self) -> String {
        self.broker.mqtt()
    }

    /// The disk becomes full, publishers work, and all of them wait.
    fn fill(&self) -> (Filler, Load) {
        let ballast = self.disk.data().join("ballast");
        wait_for("the ballast file", || ballast.exists());
        let filler = Filler::nearly(&self.disk.data(), CHECKPOINTS_WAIT);
        // One that was under way would not outlive what follows, nor would the node.
        self.wait_for_log("checkpoints wait for space");
        filler.fill();
        let load = Load::begin(&self.addr(), 2_000);
        load.wait_for(100);
        self.wait_for_log("no space for the log");
        wait_until_held(&load);
        (filler, load)
    }

    /// There is space again.
    fn free(&self, filler: Filler) {
        filler.remove();
        self.wait_for_log("there is space for the log again");
    }

    fn wait_for_log(&self, text: &str) {
        wait_for(text, || self.broker.log().contains(text));
    }
}

fn open(disk: &Mounted) -> Broker {
    Broker::try_open(&disk.dir, &Start::default()).unwrap_or_else(|failed| panic!("{}", failed.log))
}

fn wait_for(what: &str, mut is_there: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_there() {
        assert!(Instant::now() < deadline, "never came: {what}");
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
    let Some(node) = Node::start() else { return };
    let mut transient = RawClient::v5(&node.addr(), "transient");
    transient.subscribe("passing", 0);
    let mut senders = [Version::V5, Version::V3_1_1].map(|version| {
        let connect = Connect::new(version, format!("sender{version:?}"));
        (version, RawClient::connect(&node.addr(), &connect))
    });
    let (filler, load) = node.fill();
    let held = load.count();
    println!("{held} acknowledged on a disk of {} MiB", DISK >> 20);
    // QoS 0 goes on, and connections live.
    for number in 0..100 {
        let (version, sender) = &mut senders[number % 2];
        sender.send(&Publish::new(*version, "passing", number.to_string()).bytes());
        assert_eq!(transient.expect_publish().text(), number.to_string());
    }
    for (version, sender) in &mut senders {
        sender.send(&late(*version));
        sender.expect_nothing();
        sender.ping();
    }
    assert!(node.broker.metric("quelea_wal_full_total") >= 1.0);
    node.broker.assert_well();
    assert_eq!(load.count(), held, "acknowledged without space");
    node.free(filler);
    for (_, sender) in &mut senders {
        assert_eq!(sender.expect_ack(kind::PUBACK).packet_id, 1);
    }
    load.wait_for(held + 500);
    let acknowledged = load.end();
    assert_eq!(missing(&node.addr(), acknowledged), [].into());
}

/// A publish that needs space.
fn late(version: Version) -> Vec<u8> {
    Publish::new(version, "late", "late").qos(1, 1).bytes()
}

/// Neither a kill nor a stop on a full disk keeps the node from starting there, with everything. A stop does not wait for
/// space.
#[test]
fn f21_a_node_starts_on_a_full_disk() {
    let Some(mut node) = Node::start() else { return };
    let mut waiting = RawClient::v5(&node.addr(), "waiting");
    let (filler, load) = node.fill();
    waiting.send(&late(Version::V5));
    waiting.expect_nothing();
    node.broker.kill();
    let acknowledged = load.end();
    node.broker = open(&node.disk);
    println!("{} acknowledged before the start without space", acknowledged.len());
    assert!(node.broker.stop().is_some_and(|status| status.success()), "{}", node.broker.log());
    filler.remove();
    node.broker = open(&node.disk);
    assert_eq!(missing(&node.addr(), acknowledged), [].into());
}

#[test]
fn f21_a_stop_does_not_wait_for_space() {
    let Some(mut node) = Node::start() else { return };
    let mut taking_leave = RawClient::v5(&node.addr(), "taking-leave");
    let (filler, load) = node.fill();
    // Its publish waits, and its DISCONNECT behind that.
    taking_leave.send(&late(Version::V5));
    taking_leave.expect_nothing();
    taking_leave.send(&packets::disconnect());
    taking_leave.expect_nothing();
    assert!(node.broker.stop().is_some_and(|status| status.success()), "{}", node.broker.log());
    let log = node.broker.log();
    for late in ["did not end in time", "the log took them not in time"] {
        assert!(!log.contains(late), "{log}");
    }
    let acknowledged = load.end();
    filler.remove();
    node.broker = open(&node.disk);
    assert_eq!(missing(&node.addr(), acknowledged), [].into());
}

/// Who waits too long is sent away, with 0x97 where the version has that, and its unacknowledged publish is its own to
/// repeat.
#[test]
fn f21_whoever_waits_too_long_for_space_is_told_so() {
    let Some(node) = Node::start() else { return };
    let mut waiting = RawClient::v5(&node.addr(), "waiting");
    let mut waiting_3 = RawClient::v3(&node.addr(), "waiting3");
    let (filler, load) = node.fill();
    waiting.send(&late(Version::V5));
    waiting_3.send(&late(Version::V3_1_1));
    match waiting.read(PATIENCE) {
        Read::Packet(packet) if packet.kind() == kind::DISCONNECT => {
            assert_eq!(packet.reasoned().reason, 0x97);
        }
        other => panic!("{other:?}\n{}", node.broker.log()),
    }
    waiting.expect_closed();
    let told = waiting_3.expect_closed_within(PATIENCE);
    assert!(told.is_empty(), "{told:?}");
    let acknowledged = load.end();
    node.free(filler);
    assert_eq!(missing(&node.addr(), acknowledged), [].into());
}

/// A subscriber that is connected takes all that waits for it, and takes leave, while publishers are held.
#[test]
fn g16_a_queue_drains_while_the_disk_is_full() {
    const MESSAGES: usize = 400;
    let Some(mut node) = Node::start() else { return };
    for (version, id) in [(Version::V5, "drain5"), (Version::V3_1_1, "drain3")] {
        RawClient::connect(&node.addr(), &persistent(version, id)).subscribe("drain", 2);
    }
    let mut publisher = RawClient::v5(&node.addr(), "publisher");
    let text = |number: usize| format!("message {number}");
    (0..MESSAGES).for_each(|number| publisher.publish("drain", text(number), 1 + (number % 2) as u8));
    let mut connect = persistent(Version::V5, "drain5");
    connect.props = connect.props.two(prop::RECEIVE_MAXIMUM, 20);
    let mut clients = [&connect, &persistent(Version::V3_1_1, "drain3")]
        .map(|connect| RawClient::connect(&node.addr(), connect));
    let (filler, load) = node.fill();
    let held = load.count();
    for client in &mut clients {
        for number in 0..MESSAGES {
            assert_eq!(client.receive().text(), text(number));
        }
    }
    clients.into_iter().for_each(RawClient::disconnect);
    assert_eq!(load.count(), held, "the disk was full all the time");
    // What they acknowledged is in the log.
    node.broker.kill();
    let acknowledged = load.end();
    filler.remove();
    node.broker = open(&node.disk);
    for version in [Version::V5, Version::V3_1_1] {
        let id = if version == Version::V5 { "drain5" } else { "drain3" };
        let (mut client, connack) = RawClient::connect_ack(&node.addr(), &persistent(version, id));
        assert!(connack.session_present);
        client.expect_nothing();
    }
    assert_eq!(missing(&node.addr(), acknowledged), [].into());
}

/// Who comes back to its session while there is no space is let in and takes what waits for it, one client after another.
#[test]
fn g16_who_was_away_comes_back_and_drains_its_queue_while_the_disk_is_full() {
    const MESSAGES: usize = 40;
    let Some(mut node) = Node::start() else { return };
    let away: Vec<Connect> = (0..6)
        .map(|number| {
            let version = if number % 2 == 0 { Version::V5 } else { Version::V3_1_1 };
            persistent(version, &format!("away{number}"))
        })
        .collect();
    for connect in &away {
        let mut client = RawClient::connect(&node.addr(), connect);
        client.subscribe("drain", 2);
        client.disconnect();
    }
    let mut publisher = RawClient::v5(&node.addr(), "publisher");
    let text = |number: usize| format!("message {number}");
    (0..MESSAGES).for_each(|number| publisher.publish("drain", text(number), 1 + (number % 2) as u8));
    let (filler, load) = node.fill();
    let held = load.count();
    for connect in &away {
        let (mut client, connack) = RawClient::connect_ack(&node.addr(), connect);
        assert!(connack.session_present);
        (0..MESSAGES).for_each(|number| assert_eq!(client.receive().text(), text(number)));
        client.disconnect();
    }
    assert_eq!(load.count(), held, "the disk was full all the time");
    node.broker.kill();
    let acknowledged = load.end();
    filler.remove();
    node.broker = open(&node.disk);
    for connect in &away {
        let (mut client, connack) = RawClient::connect_ack(&node.addr(), connect);
        assert!(connack.session_present);
        client.expect_nothing();
    }
    assert_eq!(missing(&node.addr(), acknowledged), [].into());
}

/// CONNECT has a deadline of its own. The will of a client that is gone comes at once to whoever can get it past the log,
/// and to a persistent session when there is space.
#[test]
fn f21_without_space_nobody_new_is_let_in_and_wills_wait() {
    let Some(node) = Node::start() else { return };
    let mut watch = RawClient::v5(&node.addr(), "watch");
    watch.subscribe("wills/#", 1);
    let mut heir = RawClient::connect(&node.addr(), &persistent(Version::V3_1_1, "heir"));
    heir.subscribe("wills/#", 1);
    let with_will = |version, name: &str| {
        let will = Will::new(format!("wills/{name}"), name).qos(1);
        RawClient::connect(&node.addr(), &Connect::new(version, name).will(will))
    };
    let mortals = [with_will(Version::V5, "mortal5"), with_will(Version::V3_1_1, "mortal3")];
    let (filler, load) = node.fill();
    mortals.into_iter().for_each(RawClient::drop_connection);
    let wills = |client: &mut RawClient| {
        let mut wills = [client.receive().text(), client.receive().text()];
        wills.sort();
        wills
    };
    assert_eq!(wills(&mut watch), ["mortal3", "mortal5"]);
    for (version, code) in [(Version::V5, 0x88), (Version::V3_1_1, 3)] {
        let mut refused = RawClient::open(&node.addr());
        let connack = refused.handshake(&persistent(version, "newcomer"));
        assert_eq!((connack.reason, connack.session_present), (code, false));
        refused.expect_closed();
    }
    heir.expect_nothing();
    // On so small a disk the log of publishers in full flight would take the space of checkpoints.
    load.finish();
    node.free(filler);
    assert_eq!(wills(&mut heir), ["mortal3", "mortal5"]);
    heir.expect_nothing();
    watch.expect_nothing();
    let connack = RawClient::connect_ack(&node.addr(), &persistent(Version::V5, "newcomer")).1;
    assert!(!connack.session_present, "who was refused left nothing behind");
    let acknowledged = load.end();
    assert_eq!(missing(&node.addr(), acknowledged), [].into());
}
