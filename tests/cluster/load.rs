//! What clients publish while nodes come and go, and that every session has all of it. Used by the tests of drains and of
//! clusters that grow; it decides nothing else.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use e2e_tests::pause;

use crate::stubborn::{Publisher, drain};

/// Between two messages of a publisher.
const PACE: Duration = Duration::from_millis(5);

/// Publishers that go on until they are told to stop.
pub(crate) struct Load {
    goes_on: Arc<AtomicBool>,
    publishers: Vec<JoinHandle<Vec<Vec<u8>>>>,
}

impl Load {
    /// A publisher at each of these nodes; the odd ones publish at QoS 1, the others at QoS 2.
    pub(crate) fn begin(nodes: &[String]) -> Self {
        let goes_on = Arc::new(AtomicBool::new(true));
        let publisher = |at: usize| {
            let (goes_on, mut nodes) = (Arc::clone(&goes_on), nodes.to_vec());
            nodes.rotate_left(at);
            thread::spawn(move || {
                let qos = if at % 2 == 1 { 1 } else { 2 };
                let mut publisher = Publisher::new(&format!("pub-{at}"), nodes);
                let mut sent = Vec::new();
                while goes_on.load(Ordering::Relaxed) {
                    let payload = format!("{qos}-{at}-{:05}", sent.len()).into_bytes();
                    publisher.publish(&format!("load/{at}"), &payload, qos);
                    sent.push(payload);
                    pause(PACE);
                }
                sent
            })
        };
        let publishers = (0..nodes.len()).map(publisher).collect();
        Self { goes_on, publishers }
    }

    /// Everything that was acknowledged.
    pub(crate) fn end(self) -> Vec<Vec<u8>> {
        self.goes_on.store(false, Ordering::Relaxed);
        self.publishers.into_iter().flat_map(|publisher| publisher.join().unwrap()).collect()
    }
}

/// Each session has everything that was acknowledged, at QoS 2 once.
pub(crate) fn assert_has_all(session: &str, sent: &[Vec<u8>], nodes: &[String]) {
    let got = drain(session, sent.len(), nodes);
    let came: BTreeSet<_> = got.iter().collect();
    let lost: Vec<_> = sent.iter().filter(|one| !came.contains(one)).collect();
    assert!(lost.is_empty(), "{session} lost {lost:?}");
    let twice = got.iter().filter(|one| one.starts_with(b"2-")).count();
    assert_eq!(
        twice,
        came.iter().filter(|one| one.starts_with(b"2-")).count(),
        "{session}: QoS 2 came twice"
    );
}
