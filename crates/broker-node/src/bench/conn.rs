//! The scenario `conn`: opens connections, evenly spaced or as fast as they are accepted, and holds them.
//! Spawned by `worker`. It publishes nothing and subscribes to nothing.

use std::rc::Rc;
use std::time::Duration;

use mqtt_codec::{Packet, PacketKind};
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::control::{Live, Phase};
use super::plan::ConnPlan;
use super::wire::{ClientError, Wire};
use super::worker::Worker;

/// Time for the last bytes to leave.
const DISCONNECT_TIME: Duration = Duration::from_secs(2);

/// Spawns the share of thread `number`: some loops that open one connection after the other.
pub(super) fn spawn(tasks: &LocalSet, worker: &Rc<Worker>, number: usize) {
    let threads = worker.shared.plan.threads;
    let start = Instant::now();
    for lane in (0..usize::from(plan(worker).at_once)).filter(|lane| lane % threads == number) {
        let worker = Rc::clone(worker);
        tasks.spawn_local(async move {
            tokio::select! {
                () = lane_of(&worker, lane, start) => {}
                () = worker.shared.control.reached(Phase::Stopping) => {}
            }
        });
    }
}

/// Opens every `at_once`-th connection, beginning with number `lane`.
async fn lane_of(worker: &Rc<Worker>, lane: usize, start: Instant) {
    let plan = plan(worker);
    for number in (u32::try_from(lane).unwrap_or(u32::MAX)..plan.count).step_by(usize::from(plan.at_once)) {
        if plan.rate > 0.0 {
            sleep_until(start + Duration::from_secs_f64(f64::from(number) / plan.rate)).await;
        }
        open(worker, number).await;
    }
}

/// The plan of this scenario; the other scenarios never come here.
fn plan(worker: &Worker) -> ConnPlan {
    worker.shared.plan.conn.unwrap_or(ConnPlan {
        count: 0,
        rate: 0.0,
        hold: Duration::ZERO,
        close: true,
        at_once: 1,
    })
}

/// Opens connection `number`, and closes it or leaves it to a task that holds it.
async fn open(worker: &Rc<Worker>, number: u32) {
    let shared = &worker.shared;
    let opened = timeout(shared.plan.client.connect_timeout, connect(worker, number)).await;
    let opened = opened.unwrap_or(Err(ClientError::Timeout(PacketKind::Connect)));
    match opened {
        Ok(wire) if plan(worker).close => close(wire).await,
        Ok(wire) => {
            let worker = Rc::clone(worker);
            drop(tokio::task::spawn_local(async move { hold(&worker, wire, number).await }));
        }
        Err(error) => {
            Live::add(&shared.live.failed, 1);
            worker.stats().errors.connect += 1;
            worker.stats().note_error(|| format!("connection {number}: {error}"));
        }
    }
    Live::add(&shared.live.settled, 1);
}

async fn connect(worker: &Worker, number: u32) -> Result<Wire, ClientError> {
    let shared = &worker.shared;
    let started_ns = shared.clock.now_ns();
    worker.stats().connects.extend(started_ns);
    let mut wire = Wire::open(&shared.endpoints, number as usize, shared.plan.version).await?;
    wire.connect(&shared.plan, &shared.plan.connection(number)).await?;
    let now_ns = shared.clock.now_ns();
    let mut stats = worker.stats();
    stats.connect.record(started_ns, now_ns);
    stats.connects.extend(now_ns);
    stats.connected += 1;
    Live::add(&shared.live.connected, 1);
    Ok(wire)
}

/// Keeps a connection alive until the run stops.
async fn hold(worker: &Worker, mut wire: Wire, number: u32) {
    let control = &worker.shared.control;
    let held = tokio::select! {
        () = control.reached(Phase::Stopping) => Ok(()),
        ended = keep_alive(worker, &mut wire) => ended,
    };
    match held {
        Ok(()) => close(wire).await,
        Err(error) => {
            Live::add(&worker.shared.live.failed, 1);
            worker.stats().errors.connection_lost += 1;
            worker.stats().note_error(|| format!("connection {number}: {error}"));
        }
    }
}

async fn keep_alive(worker: &Worker, wire: &mut Wire) -> Result<(), ClientError> {
    let half = Duration::from_millis(u64::from(worker.shared.plan.client.keep_alive) * 500);
    loop {
        // Without a keep alive the answer is awaited for good: only the end of the connection comes.
        let half = if half.is_zero() { Duration::MAX } else { half };
        match timeout(half, wire.answer()).await {
            Ok(packet) => {
                if let Packet::Disconnect(disconnect) = packet? {
                    return Err(ClientError::Disconnected(disconnect.reason));
                }
            }
            Err(_) => wire.send(&Packet::PingReq)?,
        }
    }
}

async fn close(wire: Wire) {
    // A broker that is slow to take the farewell has accepted the connection all the same.
    drop(timeout(DISCONNECT_TIME, wire.disconnect()).await);
}
