//! A node that holds something: persistent sessions with queues and what was in flight, retained messages. Fills one,
//! copies its directory, and checks that a node has all of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use e2e_tests::broker::StartFailed;
use e2e_tests::wire::{Version, kind, prop};
use e2e_tests::{BOUND, Broker, Connect, Props, Publish, RawClient, Start, pause, process, unique};

/// Persistent sessions: more than shards, so that each shard has some.
const SESSIONS: usize = 12;
/// Messages in each queue.
const MESSAGES: usize = 150;
/// Retained messages.
const RETAINED: usize = 40;
/// Bytes of a payload: all of them take more than two files of the log.
const PAYLOAD: usize = 3 << 10;
/// Publishes under way at once.
const WINDOW: usize = 100;

/// Small files of the log, so that there are some; nothing that a machine under load could end.
pub(crate) const CONFIG: &str = "[mqtt]\nmax_packet_size = \"64 KiB\"\n\
    [session]\nqueue_messages_max = 10000000\nqueue_bytes_max = \"4 GiB\"\n\
    [storage]\nsegment_size = \"1 MiB\"\n";

/// How the node was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// SIGTERM.
    Asked,
    /// SIGKILL.
    Killed,
}

impl Stop {
    pub(crate) const BOTH: [Self; 2] = [Self::Asked, Self::Killed];
}

/// A CONNECT that creates or resumes a session which outlives its connection.
pub(crate) fn persistent(version: Version, client_id: &str) -> Connect {
    let expiry = Props::new().four(prop::SESSION_EXPIRY, 36_000);
    Connect::new(version, client_id).clean(false).keep_alive(600).props(expiry)
}

/// What the node has to have.
#[derive(Clone, Debug, Default)]
pub(crate) struct Held {
    /// Client and version: the payloads that wait for it, in order, by their beginnings.
    sessions: BTreeMap<String, (Version, Vec<String>)>,
    /// Topic and the beginning of the payload.
    retained: BTreeMap<String, String>,
}

/// The session of a number: both versions, and both qualities of service.
fn session(number: usize) -> (String, Version, u8) {
    let version = if number.is_multiple_of(2) { Version::V3_1_1 } else { Version::V5 };
    (format!("held{number}"), version, 1 + u8::from(number.is_multiple_of(3)))
}

fn payload(label: &str) -> Vec<u8> {
    let mut payload = format!("{label} ").into_bytes();
    payload.resize(PAYLOAD, b'.');
    payload
}

/// The label that [`payload`] began with.
fn label(payload: &[u8]) -> String {
    String::from_utf8_lossy(payload).split(' ').next().unwrap_or_default().to_owned()
}

/// Fills a node; all of it is acknowledged when this returns.
pub(crate) fn fill(addr: &str) -> Held {
    let mut held = Held::default();
    for number in 0..SESSIONS {
        let (name, version, qos) = session(number);
        let mut client = RawClient::connect(addr, &persistent(version, &name));
        client.subscribe(&format!("held/{number}/#"), qos);
        client.disconnect();
        held.sessions.insert(name, (version, Vec::new()));
    }
    let mut work = Vec::new();
    for message in 0..MESSAGES {
        for number in 0..SESSIONS {
            let label = format!("{number}:{message}");
            held.sessions.get_mut(&session(number).0).unwrap().1.push(label.clone());
            work.push(Publish::v5(format!("held/{number}/t"), payload(&label)));
        }
    }
    for number in 0..RETAINED {
        let (topic, label) = (format!("kept/{number}"), format!("r{number}"));
        work.push(Publish::v5(&topic, payload(&label)).retain());
        held.retained.insert(topic, label);
    }
    publish_all(addr, work);
    leave_some_in_flight(addr);
    held
}

/// Publishes at QoS 1, many at once, and waits for every PUBACK.
fn publish_all(addr: &str, work: Vec<Publish>) {
    let mut client = RawClient::v5(addr, &unique("fill"));
    let (mut open, mut id) = (0, 0_u16);
    for publish in work {
        if open == WINDOW {
            client.expect_ack(kind::PUBACK);
            open -= 1;
        }
        id = if id == u16::MAX { 1 } else { id + 1 };
        client.send(&publish.qos(1, id).bytes());
        open += 1;
    }
    for _ in 0..open {
        let ack = client.expect_ack(kind::PUBACK);
        assert!(ack.code() < 0x80, "{ack:?}");
    }
    client.disconnect();
}

/// One session is sent its first messages and answers none of them.
fn leave_some_in_flight(addr: &str) {
    let (name, version, _) = session(1);
    let (mut client, connack) = RawClient::connect_ack(addr, &persistent(version, &name));
    assert!(connack.session_present);
    for _ in 0..10 {
        client.expect_publish();
    }
    client.drop_connection();
}

/// Checks that a node has everything: each session with its whole queue, in order, and every retained message.
#[track_caller]
pub(crate) fn assert_holds(addr: &str, held: &Held) {
    for (name, (version, labels)) in &held.sessions {
        let (mut client, connack) = RawClient::connect_ack(addr, &persistent(*version, name));
        assert!(connack.session_present, "the session {name} is gone");
        let got: Vec<String> = labels.iter().map(|_| label(&client.receive().payload)).collect();
        assert_eq!(&got, labels, "the queue of {name}");
        client.expect_nothing_for(Duration::from_millis(20));
        client.drop_connection();
    }
    let mut client = RawClient::v5(addr, &unique("kept"));
    client.subscribe("kept/#", 1);
    let mut got = BTreeMap::new();
    while got.len() < held.retained.len() {
        let publish = client.receive();
        got.insert(publish.topic.clone(), label(&publish.payload));
    }
    assert_eq!(got, held.retained);
}

/// A directory that is removed when it is not needed any more.
pub(crate) struct Dir(pub(crate) PathBuf);

impl Dir {
    /// A copy of the directory of a stopped node.
    pub(crate) fn copy_of(dir: &Path) -> Self {
        let to = process::fresh_dir();
        copy(dir, &to);
        Self(to)
    }

    /// Where the node's data is.
    pub(crate) fn data(&self) -> PathBuf {
        self.0.join("data")
    }

    /// Starts a node on it.
    pub(crate) fn start(&self) -> Result<Broker, StartFailed> {
        Broker::try_open(&self.0, &Start::default())
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// Copies a directory and what is in it.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// The directory of a node that was filled and stopped in this way, and what it holds. Made once in a process.
pub(crate) fn stopped(stop: Stop) -> &'static (Dir, Held) {
    static ASKED: OnceLock<(Dir, Held)> = OnceLock::new();
    static KILLED: OnceLock<(Dir, Held)> = OnceLock::new();
    let place = match stop {
        Stop::Asked => &ASKED,
        Stop::Killed => &KILLED,
    };
    place.get_or_init(|| {
        let mut broker = Broker::with_config(CONFIG);
        let held = fill(&broker.mqtt());
        match stop {
            Stop::Asked => assert!(broker.stop().is_some_and(|status| status.success()), "{}", broker.log()),
            Stop::Killed => {
                wait_for_rest(broker.dir().unwrap());
                broker.kill();
            }
        }
        (Dir(broker.into_dir()), held)
    })
}

/// Waits until a node has written all that it writes when it is left alone: the floor does not change any more.
fn wait_for_rest(dir: &Path) {
    let floor = dir.join("data/floor");
    let deadline = std::time::Instant::now() + BOUND;
    let mut before = fs::read(&floor).unwrap();
    loop {
        pause(Duration::from_millis(400));
        let now = fs::read(&floor).unwrap();
        if now == before || std::time::Instant::now() > deadline {
            return;
        }
        before = now;
    }
}
