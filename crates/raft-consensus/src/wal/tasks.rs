//! Drives the log by tasks instead of threads. Used by simulations, whose tasks share one thread and a clock of their
//! own. The same steps as in `threads.rs`, in the same cases.

use openraft::type_config::TypeConfigExt;

use super::options::Durability;
use super::{Call, Room, Wal};

/// Starts the tasks on the runtime of `C`. They end with the log.
pub fn spawn<C: TypeConfigExt>(wal: &Wal) {
    drop(C::spawn(commit::<C>(wal.clone())));
    drop(C::spawn(prepare::<C>(wal.clone())));
    drop(C::spawn(keep_floor::<C>(wal.clone())));
}

/// Waits for a call until a moment; for ever where there is none.
async fn called<C: TypeConfigExt>(wal: &Wal, until: Option<openraft::alias::InstantOf<C>>) -> Call {
    match until {
        None => wal.called().await,
        Some(until) => C::timeout_at(until, wal.called()).await.unwrap_or(Call::None),
    }
}

async fn commit<C: TypeConfigExt>(wal: Wal) {
    let options = wal.options();
    let (mut worked, mut synced) = (C::now(), C::now());
    while wal.ended().is_none() {
        let resting = wal.is_resting();
        let quiet = (!resting).then(|| worked + options.quiet);
        let call = called::<C>(&wal, quiet).await;
        match call {
            Call::Later => {}
            Call::None => {
                wal.quiet();
            }
            Call::Now | Call::Stop => {
                wal.step();
            }
        }
        if resting || call != Call::Later {
            worked = C::now();
        }
        if let Durability::Interval(every) = options.durability
            && C::now() >= synced + every
        {
            wal.sync();
            synced = C::now();
        }
    }
}

async fn prepare<C: TypeConfigExt>(wal: Wal) {
    while wal.ended().is_none() {
        let retry = wal.options().full_retry;
        match wal.prepare() {
            Room::Ok => drop(wal.prepare_called().await),
            Room::Full | Room::Spent => drop(C::timeout(retry, wal.prepare_called()).await),
        }
    }
}

async fn keep_floor<C: TypeConfigExt>(wal: Wal) {
    while wal.ended().is_none() {
        wal.floor_called().await;
        wal.write_floor();
        C::sleep(wal.options().floor_every).await;
    }
}
