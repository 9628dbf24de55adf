//! Reads the sensor at the interval and puts what it says into the outbox. One half of `run`.
//! It never waits for the network: readings are taken on time while the device is offline.

use core::convert::Infallible;

use embassy_futures::select::select;
use embassy_time::{Duration, Instant, Timer};

use super::{Observer, Sensor, Shared};
use crate::event::Event;

/// Until `count` attempts were made, if there is a count, and then nothing for ever.
pub(super) async fn run<S: Sensor, O: Observer>(
    shared: &Shared<'_, O>,
    mut sensor: S,
    count: Option<u32>,
) -> Infallible {
    let mut left = count;
    let mut last = Instant::now();
    while left != Some(0) {
        match sensor.read().await {
            Ok(reading) => {
                shared.tell(Event::Read(reading));
                put(shared, reading.measurements());
            }
            Err(error) => shared.tell(Event::SensorFailed(error)),
        }
        left = left.map(|left| left - 1);
        if left == Some(0) {
            break;
        }
        last = next(shared, last).await;
    }
    shared.finished.set(true);
    shared.filled.signal(());
    core::future::pending().await
}

fn put<O: Observer>(shared: &Shared<'_, O>, measurements: [crate::reading::Measurement; 2]) {
    let mut outbox = shared.outbox.borrow_mut();
    let dropped = outbox.dropped;
    measurements.into_iter().for_each(|measurement| outbox.push(measurement));
    let now_dropped = outbox.dropped;
    drop(outbox);
    if now_dropped != dropped {
        shared.tell(Event::Dropped(now_dropped));
    }
    shared.filled.signal(());
}

/// Waits until the next reading is due, also if the interval changes meanwhile, and says when it was due.
async fn next<O: Observer>(shared: &Shared<'_, O>, last: Instant) -> Instant {
    loop {
        let due = last + Duration::from_millis(u64::from(shared.interval_ms.get()));
        if due <= Instant::now() {
            // Late: what was missed is not made up for.
            return if due + Duration::from_millis(100) < Instant::now() { Instant::now() } else { due };
        }
        select(Timer::at(due), shared.interval_changed.wait()).await;
    }
}
