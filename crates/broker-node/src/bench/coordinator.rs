//! A run from its start to its result: opens, lets run, drains, stops, adds up.
//! Called by `bench::run`. It watches the counters and never touches a connection.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::control::{Control, Live, Phase, Window};
use super::endpoint::Endpoints;
use super::pacer::{self, Permits};
use super::plan::Plan;
use super::report::Result as BenchResult;
use super::stamp::Clock;
use super::stats::Stats;
use super::worker::{self, Shared};

/// How often the counters are looked at. The times of the result do not depend on it.
const TICK: Duration = Duration::from_millis(20);
const PROGRESS_EVERY: Duration = Duration::from_secs(1);
/// Time for the acknowledgements of the last messages, unless a message may be under way for longer.
const ACKNOWLEDGE: Duration = Duration::from_secs(20);

/// Carries the plan out.
///
/// # Errors
/// Where a name cannot be resolved, a certificate not be read or a thread not be started. What goes
/// wrong with single connections is part of the result.
pub(super) async fn run(plan: Plan) -> anyhow::Result<BenchResult> {
    let endpoints = Endpoints::open(&plan.client).await?;
    let permits = if plan.load.rate > 0.0 { plan.publishers() } else { 0 };
    let shared = Arc::new(Shared {
        endpoints,
        clock: Clock::start(),
        control: Control::new(),
        live: Live::default(),
        windows: plan.windows.iter().map(|(messages, copies)| Window::new(*messages, *copies)).collect(),
        permits: (0..permits).map(|_| Permits::default()).collect(),
        plan,
    });
    let threads = (0..shared.plan.threads).map(|number| worker::start(&shared, number));
    let threads = threads.collect::<Result<Vec<_>, _>>().context("cannot start a thread")?;
    let mut watch = Watch::new(&shared);
    tokio::select! {
        done = watch.phases() => done?,
        interrupted = tokio::signal::ctrl_c() => interrupted.context("cannot wait for Ctrl-C")?,
    }
    shared.control.advance(Phase::Stopping);
    let mut stats = Stats::new();
    for thread in threads {
        let part = thread.join().map_err(|_| anyhow::anyhow!("a thread of the load generator failed"))?;
        stats.add(part);
    }
    Ok(BenchResult::new(&shared.plan, &stats))
}

/// The coordinator's view of a run.
struct Watch<'a> {
    shared: &'a Arc<Shared>,
    progress: bool,
    last_line: Instant,
    last_published: u64,
    last_delivered: u64,
    /// Deliveries of each window and when they last grew.
    moved: Vec<(u64, Instant)>,
}

impl<'a> Watch<'a> {
    fn new(shared: &'a Arc<Shared>) -> Self {
        let now = Instant::now();
        Self {
            progress: shared.plan.client.progress || std::io::stderr().is_terminal(),
            last_line: now,
            last_published: 0,
            last_delivered: 0,
            moved: shared.windows.iter().map(|_| (0, now)).collect(),
            shared,
        }
    }

    /// From the first connection to the last delivery.
    async fn phases(&mut self) -> anyhow::Result<()> {
        let (plan, live) = (&self.shared.plan, &self.shared.live);
        let all = plan.conn.map_or(plan.specs.len() as u64, |conn| u64::from(conn.count));
        self.until(|| Live::get(&live.settled) >= all, None).await;
        if let Some(conn) = plan.conn {
            self.say(&format!("{} of {all} connections accepted", Live::get(&live.connected)));
            let never = || false;
            self.until(never, Some(conn.hold)).await;
            return Ok(());
        }
        if Live::get(&live.failed) > 0 {
            return Ok(());
        }
        self.shared.control.advance(Phase::Running);
        let pacer = match plan.load.rate {
            0.0 => None,
            rate => Some(pacer::start(Arc::clone(self.shared), rate).context("cannot start a thread")?),
        };
        self.publish().await;
        self.shared.control.advance(Phase::Draining);
        if let Some(pacer) = pacer {
            pacer.join().map_err(|_| anyhow::anyhow!("the pacer failed"))?;
        }
        self.drain().await;
        Ok(())
    }

    /// Calls back the subscribers that were away, once everything is acknowledged, and waits until they are here.
    async fn call_back(&mut self) {
        let (plan, live) = (&self.shared.plan, &self.shared.live);
        let away = (plan.specs.len() - plan.publishers()) as u64;
        self.say(&format!("{} messages queued", Live::get(&live.published)));
        self.shared.control.advance(Phase::Returning);
        self.until(|| Live::get(&live.returned) >= away, Some(plan.client.connect_timeout)).await;
    }

    /// Until everything is published or heard, or the time is over, or nobody is left.
    async fn publish(&mut self) {
        let (plan, live) = (&self.shared.plan, &self.shared.live);
        let publishers = plan.publishers() as u64;
        let subscribers = plan.specs.len() as u64 - publishers;
        let over = || {
            let heard = plan.deliveries_max.is_some_and(|most| Live::get(&live.delivered) >= most);
            let published = publishers > 0 && Live::get(&live.publishers_done) >= publishers;
            let deaf = subscribers > 0 && Live::get(&live.subscribers_gone) >= subscribers;
            heard || published || deaf
        };
        self.until(over, plan.load.duration).await;
    }

    /// Until everything has arrived, or nothing has for a while.
    async fn drain(&mut self) {
        let (plan, live) = (&self.shared.plan, &self.shared.live);
        let publishers = plan.publishers() as u64;
        let acknowledged = || Live::get(&live.publishers_done) >= publishers;
        self.until(acknowledged, Some(plan.client.lost_after.max(ACKNOWLEDGE))).await;
        if plan.absent {
            self.call_back().await;
        }
        let expected = || Live::get(&live.published).saturating_mul(plan.copies);
        let (mut heard, mut since) = (0, Instant::now());
        while Live::get(&live.delivered) < expected() && since.elapsed() < plan.client.lost_after {
            if heard != Live::get(&live.delivered) {
                (heard, since) = (Live::get(&live.delivered), Instant::now());
            }
            self.tick().await;
        }
    }

    /// Ticks until `over` says so or the time has passed.
    async fn until(&mut self, over: impl Fn() -> bool, time: Option<Duration>) {
        let start = Instant::now();
        while !over() && time.is_none_or(|time| start.elapsed() < time) {
            self.tick().await;
        }
    }

    async fn tick(&mut self) {
        tokio::time::sleep(TICK).await;
        self.forgive();
        if self.last_line.elapsed() >= PROGRESS_EVERY {
            self.progress();
        }
    }

    /// Gives windows back that wait for messages which do not come any more.
    fn forgive(&mut self) {
        let lost_after = self.shared.plan.client.lost_after;
        for (window, (deliveries, since)) in self.shared.windows.iter().zip(&mut self.moved) {
            if window.deliveries() != *deliveries || !window.is_blocked() {
                (*deliveries, *since) = (window.deliveries(), Instant::now());
            } else if since.elapsed() >= lost_after {
                window.forgive();
            }
        }
    }

    fn progress(&mut self) {
        let live = &self.shared.live;
        let seconds = self.last_line.elapsed().as_secs_f64();
        self.last_line = Instant::now();
        let (published, publish_rate) = grown(&live.published, &mut self.last_published, seconds);
        let (delivered, delivery_rate) = grown(&live.delivered, &mut self.last_delivered, seconds);
        let (connected, failed) = (Live::get(&live.connected), Live::get(&live.failed));
        self.say(&format!(
            "connected {connected}  failed {failed}  published {published} ({publish_rate:.0}/s)  \
             delivered {delivered} ({delivery_rate:.0}/s)"
        ));
    }

    fn say(&self, line: &str) {
        if self.progress {
            // Nobody reads it any more: no reason to stop.
            let _ = writeln!(std::io::stderr(), "{line}");
        }
    }
}

/// A counter, and how fast it has grown since the last time.
#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
fn grown(counter: &AtomicU64, last: &mut u64, seconds: f64) -> (u64, f64) {
    let now = Live::get(counter);
    let rate = now.saturating_sub(*last) as f64 / seconds.max(1e-9);
    *last = now;
    (now, rate)
}
