//! Clients that publish while something happens to the cluster, and a session that keeps what they published. Used by the tests of
//! the chart's pods; it decides nothing but whether something was lost.

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

/// The session has everything that was acknowledged, at QoS 2 once.
pub(crate) fn assert_has_all(session: &str, sent: &[Vec<u8>], mqtt: &str) {
    let got = drain(session, sent.len(), &[mqtt.to_owned()]);
    let came: BTreeSet<_> = got.iter().collect();
    let lost: Vec<_> = sent.iter().filter(|one| !came.contains(one)).collect();
    assert!(lost.is_empty(), "{session} lost {lost:?}");
    let once = |all: &mut dyn Iterator<Item = &Vec<u8>>| all.filter(|one| one.starts_with(b"2-")).count();
    assert_eq!(once(&mut got.iter()), once(&mut came.into_iter()), "{session}: QoS 2 came twice");
}
