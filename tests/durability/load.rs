//! Publishers and subscribers around a broker that dies: they work until it is gone, and resume on what it left.
//! Used by the rounds; how the broker dies is the round's.

use std::collections::HashSet;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;
use std::thread::scope;
use std::time::Duration;

use e2e_tests::random::Random;
use e2e_tests::wire::Version;
use e2e_tests::{Broker, RawClient, Start, packets};

use crate::checker::{Fault, check};
use crate::history::{History, Message};
use crate::publisher::Publisher;
use crate::subscriber::{Bounds, Kind, Subscriber};

/// How many messages each publisher adds after the restart.
const MORE: u32 = 50;
/// Time in which what is not to come would come.
const QUIET: Duration = Duration::from_millis(300);
/// How long to wait for what must come.
const PATIENCE: Duration = Duration::from_secs(90);

const PLAIN: Kind = Kind {
    name: "",
    version: Version::V5,
    filter: "load/#",
    qos: 2,
    persistent: true,
    absent: false,
    holds: false,
};
const SUBSCRIBERS: [Kind; 6] = [
    Kind { name: "connected5", ..PLAIN },
    Kind { name: "connected3", version: Version::V3_1_1, qos: 1, ..PLAIN },
    Kind { name: "absent5", absent: true, ..PLAIN },
    Kind { name: "absent3", version: Version::V3_1_1, absent: true, ..PLAIN },
    Kind { name: "holding", holds: true, ..PLAIN },
    Kind { name: "transient", persistent: false, ..PLAIN },
];

/// What a round came to.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Publishes that were acknowledged before the death.
    pub(crate) acknowledged: usize,
    /// Publishes that were on their way then.
    pub(crate) unanswered: usize,
    /// QoS 2 exchanges that waited for PUBCOMP.
    pub(crate) released: usize,
    /// Packets that came to persistent sessions, and how many of them had DUP.
    pub(crate) received: (usize, usize),
    /// Reason codes of DISCONNECTs that subscribers got.
    pub(crate) told: Vec<u8>,
    /// What is wrong.
    pub(crate) faults: Vec<Fault>,
}

impl Outcome {
    /// Tells how it went, and fails where anything is wrong.
    #[track_caller]
    pub(crate) fn assert_good(&self) {
        let Self { acknowledged, unanswered, released, received: (received, dup), told, faults } = self;
        println!("  {acknowledged} acknowledged, {unanswered} unanswered, {released} released");
        println!("  {received} received, {dup} of them with DUP");
        assert!(told.is_empty(), "subscribers were disconnected: {told:02x?}");
        let some = faults.iter().take(20).collect::<Vec<_>>();
        assert!(faults.is_empty(), "{} faults: {some:#?}", faults.len());
    }
}

/// A broker with its clients.
pub(crate) struct Load {
    broker: Broker,
    bounds: Bounds,
    publishers: Vec<(Publisher, RawClient)>,
    subscribers: Vec<(Subscriber, Option<RawClient>)>,
}

impl Load {
    /// Starts a broker, makes the sessions, and connects who is to be connected.
    pub(crate) fn new(start: Start) -> Self {
        let broker = Broker::try_start(start).unwrap_or_else(|failed| panic!("no start: {failed:?}"));
        let addr = broker.mqtt();
        let subscriber = |kind: Kind| {
            let subscriber = Subscriber::new(kind);
            let mut client = subscriber.subscribe(&addr);
            if !kind.absent {
                return (subscriber, Some(client));
            }
            client.send(&packets::disconnect());
            client.expect_closed();
            (subscriber, None)
        };
        let subscribers = SUBSCRIBERS.map(subscriber).into();
        let publisher = |(number, version, qos)| {
            let publisher = Publisher::new(number, version, qos);
            let client = publisher.connect(&addr, false);
            (publisher, client)
        };
        let publishers =
            [(1, Version::V5, 1), (2, Version::V3_1_1, 1), (3, Version::V5, 2), (4, Version::V3_1_1, 2)];
        let bounds = Bounds { quiet: QUIET, patience: PATIENCE };
        Self { broker, bounds, publishers: publishers.map(publisher).into(), subscribers }
    }

    /// With less patience, for a broker that is known to lose messages.
    pub(crate) fn patience(mut self, patience: Duration) -> Self {
        self.bounds.patience = patience;
        self
    }

    /// Lets everybody work until `death` has ended the broker, restarts it, and drains every persistent session. With
    /// `restarts` the broker is killed that many more times while it starts.
    pub(crate) fn run(
        mut self,
        death: impl FnOnce(&mut Broker, &AtomicU64),
        (restarts, random): (u64, &mut Random),
    ) -> Outcome {
        let answered = AtomicU64::new(0);
        self.work_until(death, &answered);
        let sent = || self.publishers.iter().flat_map(|(publisher, _)| &publisher.sent);
        let acknowledged = sent().filter(|sent| sent.acknowledged).count();
        let waiting = self.publishers.iter().map(|(publisher, _)| publisher.unanswered());
        let (unanswered, released) = waiting.fold((0, 0), |sum, waits| (sum.0 + waits.0, sum.1 + waits.1));
        self.broker.restart(&[]);
        for _ in 0..restarts {
            e2e_tests::pause(Duration::from_millis(random.below(100)));
            self.broker.kill();
            self.broker.restart(&[]);
        }
        self.resume(&answered);
        let told = self.subscribers.iter().flat_map(|(subscriber, _)| subscriber.told.clone()).collect();
        let readers = self.subscribers.into_iter().map(|(subscriber, _)| subscriber.reader).collect();
        let sent = self.publishers.into_iter().flat_map(|(publisher, _)| publisher.sent).collect();
        let history = History { sent, readers };
        let persistent = history.readers.iter().filter(|reader| reader.persistent);
        let packets = || persistent.clone().flat_map(|reader| &reader.received);
        let received = (packets().count(), packets().filter(|received| received.dup).count());
        Outcome { acknowledged, unanswered, released, received, told, faults: check(&history) }
    }

    /// Everybody works on their first connection until it ends.
    fn work_until(&mut self, death: impl FnOnce(&mut Broker, &AtomicU64), answered: &AtomicU64) {
        scope(|threads| {
            for (publisher, client) in &mut self.publishers {
                threads.spawn(move || publisher.run(client, u32::MAX, answered));
            }
            for (subscriber, client) in &mut self.subscribers {
                if let Some(client) = client {
                    threads.spawn(move || subscriber.read_to_end(client));
                }
            }
            death(&mut self.broker, answered);
        });
    }

    /// Everybody connects again; publishers finish, subscribers read until nothing is owed to them.
    fn resume(&mut self, answered: &AtomicU64) {
        let (addr, bounds) = (self.broker.mqtt(), self.bounds);
        let owed = OnceLock::<HashSet<Message>>::new();
        scope(|threads| {
            for (subscriber, _) in &mut self.subscribers {
                let (addr, owed) = (&addr, &owed);
                threads.spawn(move || match subscriber.kind.persistent {
                    true => subscriber.drain(&mut subscriber.resume(addr), || owed.get().cloned(), bounds),
                    // It asserts that the session is gone.
                    false => drop(subscriber.subscribe(addr)),
                });
            }
            let publish = |(publisher, _): &mut (Publisher, RawClient)| {
                let mut client = publisher.connect(&addr, true);
                publisher.resume(&mut client);
                assert!(publisher.run(&mut client, MORE, answered), "the broker ended again");
                let acknowledged = publisher.sent.iter().filter(|sent| sent.acknowledged);
                acknowledged.map(|sent| sent.message).collect::<Vec<_>>()
            };
            let publishers: Vec<_> =
                self.publishers.iter_mut().map(|pair| threads.spawn(move || publish(pair))).collect();
            let acknowledged = publishers.into_iter().flat_map(|thread| thread.join().unwrap());
            owed.set(acknowledged.collect()).unwrap();
        });
    }
}
