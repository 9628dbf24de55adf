//! When which node lost what it had in memory: it was killed, or began another run by itself since the others had taken it
//! for dead. A thread that looks at the nodes' directories; it judges nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use e2e_tests::nodes::Number;
use e2e_tests::pause;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A death of a node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Death {
    pub(crate) node: Number,
    /// When it was killed, or seen to have begun anew.
    pub(crate) at: Instant,
}

/// All deaths so far. Ends its thread when it is dropped.
pub(crate) struct Deaths {
    all: Arc<Mutex<Vec<Death>>>,
    ended: Arc<AtomicBool>,
}

impl Deaths {
    /// Looks at the directories of nodes, from 1.
    pub(crate) fn watched(dirs: Vec<PathBuf>) -> Self {
        let deaths = Self { all: Arc::default(), ended: Arc::default() };
        let (all, ended) = (Arc::clone(&deaths.all), Arc::clone(&deaths.ended));
        thread::spawn(move || {
            let mut runs: Vec<Option<u64>> = dirs.iter().map(|dir| run_of(dir)).collect();
            while !ended.load(Ordering::Acquire) {
                pause(LOOK_EVERY);
                for (at, (run, dir)) in runs.iter_mut().zip(&dirs).enumerate() {
                    let now = run_of(dir).or(*run);
                    if std::mem::replace(run, now) != now {
                        all.lock().unwrap().push(Death { node: at + 1, at: Instant::now() });
                    }
                }
            }
        });
        deaths
    }

    /// It is killed now.
    pub(crate) fn kills(&self, node: Number) {
        self.all.lock().unwrap().push(Death { node, at: Instant::now() });
    }

    pub(crate) fn all(&self) -> Vec<Death> {
        self.all.lock().unwrap().clone()
    }
}

impl Drop for Deaths {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
    }
}

/// Which run of a node it is; nothing where it is being written.
fn run_of(dir: &Path) -> Option<u64> {
    let text = fs::read_to_string(dir.join("data/node.json")).ok()?;
    let (_, value) = text.split_once("\"incarnation\":")?;
    value.split([',', '}', '\n']).next()?.trim().parse().ok()
}
