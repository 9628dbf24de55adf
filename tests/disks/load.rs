//! Publishers at work while something happens to the disk, and the session that has to get all that was acknowledged to
//! them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use e2e_tests::client::Read;
use e2e_tests::wire::{Version, kind};
use e2e_tests::{Publish, RawClient, pause};

use crate::filled::persistent;

/// Publishers.
const PUBLISHERS: u32 = 3;
/// Publishes of each that are under way at once.
const WINDOW: usize = 30;
/// The session that gets everything.
const READER: &str = "reader";
/// How long anything may take: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(90);

/// Publisher and number of a message.
pub(crate) type Message = (u32, u32);

/// Publishers at work.
pub(crate) struct Load {
    acknowledged: Arc<Mutex<BTreeSet<Message>>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// Makes the session that gets everything.
pub(crate) fn subscribe(addr: &str) {
    let mut client = RawClient::connect(addr, &persistent(Version::V5, READER));
    client.subscribe("load/#", 1);
    client.disconnect();
}

impl Load {
    /// Begins to publish; payloads have about so many bytes.
    pub(crate) fn begin(addr: &str, payload: usize) -> Self {
        let acknowledged = Arc::default();
        let stop = Arc::<AtomicBool>::default();
        let begin = |publisher| {
            let (addr, acknowledged, stop) = (addr.to_owned(), Arc::clone(&acknowledged), Arc::clone(&stop));
            std::thread::spawn(move || publish(&addr, (publisher, payload), &acknowledged, &stop))
        };
        let threads = (0..PUBLISHERS).map(begin).collect();
        Self { acknowledged, stop, threads }
    }

    /// What was acknowledged so far.
    pub(crate) fn acknowledged(&self) -> BTreeSet<Message> {
        self.acknowledged.lock().unwrap().clone()
    }

    /// How much was acknowledged so far.
    pub(crate) fn count(&self) -> usize {
        self.acknowledged.lock().unwrap().len()
    }

    /// Waits until so much was acknowledged.
    #[track_caller]
    pub(crate) fn wait_for(&self, count: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.count() < count {
            assert!(Instant::now() < deadline, "only {} of {count} were acknowledged", self.count());
            pause(Duration::from_millis(2));
        }
    }

    /// Publishes no more.
    pub(crate) fn finish(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Publishes no more, and waits for what is under way or for the connections' ends.
    pub(crate) fn end(mut self) -> BTreeSet<Message> {
        self.finish();
        self.threads.drain(..).for_each(|thread| thread.join().unwrap());
        self.acknowledged()
    }
}

fn publish(
    addr: &str,
    (publisher, payload): (u32, usize),
    acknowledged: &Mutex<BTreeSet<Message>>,
    stop: &AtomicBool,
) {
    let mut client = RawClient::v5(addr, &format!("load{publisher}"));
    let (mut sent, mut open) = (0_u32, 0);
    loop {
        while open < WINDOW && !stop.load(Ordering::Relaxed) {
            sent += 1;
            let mut bytes = format!("{publisher} {sent} ").into_bytes();
            bytes.resize(payload.max(bytes.len()), b'.');
            let id = (sent % 65_535 + 1) as u16;
            client.send(&Publish::v5(format!("load/{publisher}"), bytes).qos(1, id).bytes());
            open += 1;
        }
        if open == 0 {
            return client.disconnect();
        }
        match client.read(PATIENCE) {
            Read::Packet(packet) if packet.kind() == kind::PUBACK => {
                let ack = packet.ack(Version::V5);
                assert!(ack.code() < 0x80, "a publish was refused for good: {ack:?}");
                // They come in order.
                acknowledged.lock().unwrap().insert((publisher, sent + 1 - open as u32));
                open -= 1;
            }
            Read::Packet(packet) if packet.kind() == kind::DISCONNECT => {}
            Read::Packet(other) => panic!("{other:?}"),
            Read::Closed => return,
            Read::Nothing => panic!("nothing came for {PATIENCE:?}"),
        }
    }
}

/// What of these messages a node does not give to the session; also fails when they come in another order.
pub(crate) fn missing(addr: &str, mut expected: BTreeSet<Message>) -> BTreeSet<Message> {
    if !expected.is_empty() {
        receive(addr, |message| {
            expected.remove(&message);
            !expected.is_empty()
        });
    }
    expected
}

/// Everything that a node gives to the session, by publisher; also fails when it comes in another order.
pub(crate) fn received(addr: &str) -> [BTreeSet<u32>; PUBLISHERS as usize] {
    let mut received = [const { BTreeSet::new() }; PUBLISHERS as usize];
    receive(addr, |(publisher, number)| {
        received[publisher as usize].insert(number);
        true
    });
    received
}

/// Takes what the session has until there is no more, or `take` wants no more.
fn receive(addr: &str, mut take: impl FnMut(Message) -> bool) {
    let (mut client, connack) = RawClient::connect_ack(addr, &persistent(Version::V5, READER));
    if !connack.session_present {
        return;
    }
    let mut last = [0; PUBLISHERS as usize];
    loop {
        match client.read(Duration::from_secs(5)) {
            Read::Packet(packet) if packet.kind() == kind::PUBLISH => {
                let publish = packet.publish(Version::V5);
                client.answer(&publish);
                let text = publish.text();
                let mut words = text.split(' ').map(|word| word.parse::<u32>());
                let (Some(Ok(publisher)), Some(Ok(number))) = (words.next(), words.next()) else {
                    panic!("nobody published {text}")
                };
                assert!(publish.dup || number > last[publisher as usize], "{text} after {last:?}");
                last[publisher as usize] = number;
                if !take((publisher, number)) {
                    return;
                }
            }
            Read::Nothing => return,
            other => panic!("{other:?}"),
        }
    }
}
