//! The threads that drive the log in production: the committer, the preparer of segments, the writer of the floor.
//! Started by the node, ended when it stops. They decide nothing; each calls the steps of `Wal`.

use std::io;
use std::thread::{Builder, JoinHandle};
use std::time::Instant;

use super::options::Durability;
use super::segment::Room;
use super::wake::Call;
use super::{Wal, WalError};

/// The running threads. When it is dropped they finish what waits and end.
#[derive(Debug)]
pub struct WalThreads {
    wal: Wal,
    committer: Option<JoinHandle<()>>,
    helpers: Vec<JoinHandle<()>>,
}

impl WalThreads {
    pub(crate) fn start(wal: &Wal) -> io::Result<Self> {
        let spawn = |name: &str, run: fn(&Wal)| {
            let wal = wal.clone();
            Builder::new().name(name.to_owned()).spawn(move || {
                let _guard = EndOnPanic(&wal);
                run(&wal);
            })
        };
        let mut threads = Self { wal: wal.clone(), committer: None, helpers: Vec::new() };
        threads.helpers.push(spawn("quelea-wal-prep", prepare)?);
        threads.helpers.push(spawn("quelea-floor", keep_floor)?);
        threads.committer = Some(spawn("quelea-wal", commit)?);
        Ok(threads)
    }

    /// Writes and syncs all that waits and the floor, and ends the threads. What is appended later fails.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for WalThreads {
    fn drop(&mut self) {
        let shared = &self.wal.shared;
        shared.queue.wake.call(Call::Stop);
        // The preparer goes on until the committer has finished: it may be needed for that.
        if let Some(committer) = self.committer.take() {
            // A thread that panicked has nothing more to say.
            let _ = committer.join();
        }
        shared.preparer.wake.call(Call::Stop);
        shared.floor.wake.call(Call::Stop);
        for helper in self.helpers.drain(..) {
            let _ = helper.join();
        }
    }
}

fn commit(wal: &Wal) {
    let options = &wal.shared.options;
    let (mut worked, mut synced) = (Instant::now(), Instant::now());
    loop {
        let resting = wal.is_resting();
        let timeout = if resting { None } else { Some(options.quiet.saturating_sub(worked.elapsed())) };
        match wal.shared.queue.wake.wait(timeout) {
            Call::Stop => return wal.close(),
            Call::Now => {
                wal.step();
                worked = Instant::now();
            }
            // It does not put off the quiet, or what nobody waits for could add up without end.
            Call::Later if !resting => {}
            Call::Later => worked = Instant::now(),
            Call::None => {
                wal.quiet();
                worked = Instant::now();
            }
        }
        if let Durability::Interval(every) = options.durability
            && synced.elapsed() >= every
        {
            wal.sync();
            synced = Instant::now();
        }
    }
}

fn prepare(wal: &Wal) {
    loop {
        let timeout = match wal.prepare() {
            Room::Ok => None,
            Room::Full | Room::Spent => Some(wal.shared.options.full_retry),
        };
        if wal.shared.preparer.wake.wait(timeout) == Call::Stop {
            return;
        }
    }
}

fn keep_floor(wal: &Wal) {
    let shared = &wal.shared;
    while shared.floor.wake.wait(None) != Call::Stop {
        wal.write_floor();
        shared.floor.wake.pause(shared.options.floor_every);
    }
    wal.write_floor();
}

/// Ends the log when the thread that holds it panics, so that nobody waits for ever.
struct EndOnPanic<'a>(&'a Wal);

impl Drop for EndOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.shared.poison(&WalError::Panicked);
            self.0.step();
        }
    }
}
