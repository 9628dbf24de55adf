//! The two halves of the application, side by side: the sampler reads on time whatever the network does, the uplink brings
//! to a broker what has been read. Called by boards. It never ends unless told after how many readings.

mod conversation;
mod sampler;
#[cfg(test)]
mod tests;
mod uplink;

use core::cell::{Cell, RefCell};

use embassy_futures::select::{Either, select};
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::signal::Signal;
use embedded_io_async::{Read, Write};
use minimq::Op;

use crate::brokers::Broker;
use crate::config::Config;
use crate::event::{DialError, Event, SensorError};
use crate::outbox::Outbox;
use crate::reading::Reading;
use uplink::Uplink;

/// Bytes of a packet that comes in: commands are short, and topics and correlation data of answers are bounded.
const RX_BYTES: usize = 512;
/// Bytes of the packets on their way: eight measurements, four answers and CONNECT with the longest of names.
const TX_BYTES: usize = 3_072;

/// The sensor of a board.
#[expect(async_fn_in_trait, reason = "boards run one executor on one core: nothing has to be Send")]
pub trait Sensor {
    /// The shortest time between two readings in milliseconds; a shorter interval is lengthened to it.
    const INTERVAL_MS_MIN: u32;

    /// Reads it once.
    async fn read(&mut self) -> Result<Reading, SensorError>;
}

/// The network of a board.
#[expect(async_fn_in_trait, reason = "boards run one executor on one core: nothing has to be Send")]
pub trait Dialer {
    /// A connection; at most one exists at a time, so that a board can lend its buffers to it. Futures of its reads and
    /// writes may be dropped without losing bytes.
    type Io<'a>: Read + Write
    where
        Self: 'a;

    /// Connects. The application gives it up after a while.
    async fn dial(&mut self, broker: &Broker<'_>) -> Result<Self::Io<'_>, DialError>;
}

/// Who hears what happens.
pub trait Observer {
    /// Must return soon.
    fn event(&self, event: Event<'_>);
}

/// The memory for packets, which a board has for as long as the application runs.
#[derive(Debug)]
pub struct Memory {
    rx: [u8; RX_BYTES],
    tx: [u8; TX_BYTES],
}

impl Memory {
    /// Empty.
    pub const fn new() -> Self {
        Self { rx: [0; RX_BYTES], tx: [0; TX_BYTES] }
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

/// What the two halves share.
struct Shared<'a, O> {
    observer: &'a O,
    outbox: RefCell<Outbox<Op>>,
    /// There is something new in the outbox, or there will be nothing any more.
    filled: Signal<NoopRawMutex, ()>,
    /// In milliseconds.
    interval_ms: Cell<u32>,
    /// The interval is another.
    interval_changed: Signal<NoopRawMutex, ()>,
    /// All readings that were asked for have been taken.
    finished: Cell<bool>,
}

impl<O: Observer> Shared<'_, O> {
    fn tell(&self, event: Event<'_>) {
        self.observer.event(event);
    }
}

/// Runs the device; returns when it has done as many readings as configured, and all of them are acknowledged.
pub async fn run<S: Sensor, D: Dialer, O: Observer>(
    config: &Config<'_>,
    sensor: S,
    dialer: D,
    observer: &O,
    memory: &mut Memory,
) {
    let shared = Shared {
        observer,
        outbox: RefCell::new(Outbox::new()),
        filled: Signal::new(),
        interval_ms: Cell::new(config.interval_ms.max(S::INTERVAL_MS_MIN)),
        interval_changed: Signal::new(),
        finished: Cell::new(false),
    };
    let sampling = sampler::run(&shared, sensor, config.readings);
    let sending = Uplink::new(config, dialer, &shared, S::INTERVAL_MS_MIN).run(memory);
    match select(sampling, sending).await {
        Either::First(never) => match never {},
        Either::Second(()) => shared.tell(Event::Finished),
    }
}
