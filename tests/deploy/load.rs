//! Clients that publish while something happens to the cluster, and sessions that keep what was published. Used by the tests of the
//! chart's pods; it decides nothing but whether something was lost.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use e2e_tests::pause;
use e2e_tests::stubborn::{Publisher, drain, subscribe};

/// Two publishers, at QoS 1 and 2, until they are told to end.
pub(crate) struct Load {
    goes_on: Arc<AtomicBool>,
    publishers: Vec<JoinHandle<Vec<Vec<u8>>>>,
}

impl Load {
    /// What comes to the session `keeps-NAME` goes to no other.
    pub(crate) fn begin(mqtt: &str, name: &str) -> Self {
        subscribe(&format!("keeps-{name}"), &format!("{name}/#"), &[mqtt.to_owned()]);
        let goes_on = Arc::new(AtomicBool::new(true));
        let publisher = |qos: u8| {
            let (goes_on, mqtt) = (Arc::clone(&goes_on), mqtt.to_owned());
            let name = name.to_owned();
            thread::spawn(move || {
                let mut publisher = Publisher::new(&format!("{name}-{qos}"), vec![mqtt]);
                let mut sent = Vec::new();
                while goes_on.load(Ordering::Relaxed) {
                    let payload = format!("{qos}-{:05}", sent.len()).into_bytes();
                    publisher.publish(&format!("{name}/{qos}"), &payload, qos);
                    sent.push(payload);
                    pause(Duration::from_millis(5));
                }
                sent
            })
        };
        let publishers = [1, 2].map(publisher).into();
        Self { goes_on, publishers }
    }

    /// Everything that was acknowledged.
    pub(crate) fn end(self) -> Vec<Vec<u8>> {
        self.goes_on.store(false, Ordering::Relaxed);
        self.publishers.into_iter().flat_map(|publisher| publisher.join().unwrap()).collect()
    }
}

/// Sessions of clients that are away, in all shards: each has a subscription of its own, and a message that waits.
pub(crate) struct Away {
    nodes: Vec<String>,
    publisher: Publisher,
}

impl Away {
    /// How many there are.
    const SESSIONS: usize = 40;

    pub(crate) fn begin(mqtt: &str) -> Self {
        let nodes = vec![mqtt.to_owned()];
        let mut publisher = Publisher::new("tells-those-away", nodes.clone());
        for number in 0..Self::SESSIONS {
            subscribe(&format!("away-{number}"), &format!("away/{number}"), &nodes);
            publisher.publish(&format!("away/{number}"), b"before", 1);
        }
        Self { nodes, publisher }
    }

    /// Each session is there, with its subscription and what waited for it.
    pub(crate) fn assert_kept(mut self) {
        for number in 0..Self::SESSIONS {
            self.publisher.publish(&format!("away/{number}"), b"after", 1);
        }
        for number in 0..Self::SESSIONS {
            let got: BTreeSet<_> = drain(&format!("away-{number}"), 2, &self.nodes).into_iter().collect();
            assert_eq!(got, [b"after".to_vec(), b"before".to_vec()].into(), "away-{number}");
        }
    }
}

/// The session has everything that was acknowledged, at QoS 2 once.
pub(crate) fn assert_has_all(session: &str, sent: &[Vec<u8>], mqtt: &str) {
    let got = drain(session, sent.len(), &[mqtt.to_owned()]);
    let came: BTreeSet<_> = got.iter().collect();
    let lost: Vec<_> = sent.iter().filter(|one| !came.contains(one)).collect();
    assert!(lost.is_empty(), "{session} lost {lost:?}");
    let once = |all: &mut dyn Iterator<Item = &Vec<u8>>| all.filter(|one| one.starts_with(b"2-")).count();
    assert_eq!(once(&mut got.iter()), once(&mut came.into_iter()), "{session}: QoS 2 came twice");
}
