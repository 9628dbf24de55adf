//! The application against a scripted broker, under a clock that the tests turn.
//! One test at a time: the clock is the process's.

mod broker;
mod faults;
mod talk;

use std::boxed::Box;
use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::string::{String, ToString};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake};
use std::vec::Vec;

use embassy_time::{Duration, MockDriver};

use super::{Memory, Observer, Sensor, run};
use crate::config::Config;
use crate::event::{Event, SensorError};
use crate::pulses::PulseError;
use crate::reading::Reading;
use broker::{Network, World};

/// One at a time: the mock clock is global.
fn the_clock() -> MutexGuard<'static, ()> {
    static CLOCK: Mutex<()> = Mutex::new(());
    CLOCK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts up from 20.0 degrees and 40.0 percent in tenths, so that each value says which reading it is.
struct Counting {
    readings: i16,
    /// Every one of so many fails.
    fails: Option<i16>,
}

impl Sensor for Counting {
    const INTERVAL_MS_MIN: u32 = 500;

    async fn read(&mut self) -> Result<Reading, SensorError> {
        self.readings += 1;
        if self.fails.is_some_and(|each| self.readings % each == 0) {
            return Err(SensorError::Wire(PulseError::Checksum));
        }
        Ok(Reading { deci_celsius: 199 + self.readings, deci_percent: 399 + self.readings })
    }
}

/// The payload of the temperature of a reading, counted from 0.
fn celsius(number: i16) -> String {
    let tenths = 200 + number;
    std::format!("{}.{}0", tenths / 10, tenths % 10)
}

/// Events as the boards print them.
#[derive(Default)]
struct Heard(RefCell<Vec<String>>);

impl Observer for Heard {
    fn event(&self, event: Event<'_>) {
        self.0.borrow_mut().push(event.to_string());
    }
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A device, its broker and its clock.
struct Device {
    world: Rc<RefCell<World>>,
    heard: Rc<Heard>,
    running: Pin<Box<dyn Future<Output = ()>>>,
    woken: Arc<Flag>,
    ended: bool,
    _clock: MutexGuard<'static, ()>,
}

impl Device {
    fn new(config: &'static str) -> Self {
        Self::with_sensor(config, Counting { readings: 0, fails: None })
    }

    fn with_sensor(config: &'static str, sensor: Counting) -> Self {
        let clock = the_clock();
        MockDriver::get().reset();
        let (world, heard) = (World::new(), Rc::new(Heard::default()));
        let (network, observer) = (Network(world.clone()), heard.clone());
        let running = Box::pin(async move {
            let config = Config::parse(config, "device").unwrap();
            let mut memory = Memory::new();
            run(&config, sensor, network, &*observer, &mut memory).await;
        });
        let woken = Arc::new(Flag(AtomicBool::new(true)));
        Self { world, heard, running, woken, ended: false, _clock: clock }
    }

    /// Turns the clock on by so many milliseconds.
    fn pass(&mut self, ms: u64) {
        for _ in 0..ms {
            self.settle();
            MockDriver::get().advance(Duration::from_millis(1));
        }
        self.settle();
    }

    /// Lets it do what it can do now.
    fn settle(&mut self) {
        let waker = self.woken.clone().into();
        let mut turns = 0;
        while !self.ended && self.woken.0.swap(false, Ordering::SeqCst) {
            turns += 1;
            assert!(turns < 10_000, "it spins: {:?}", self.heard.0.borrow().last());
            self.ended = self.running.as_mut().poll(&mut Context::from_waker(&waker)) == Poll::Ready(());
        }
    }

    fn dials(&self) -> usize {
        self.world.borrow().dials.len()
    }

    /// The temperatures that came.
    fn temperatures(&self) -> Vec<String> {
        self.world.borrow().payloads("ESP32/TEM")
    }

    /// The events that begin like this.
    fn events(&self, start: &str) -> Vec<String> {
        self.heard.0.borrow().iter().filter(|event| event.starts_with(start)).cloned().collect()
    }
}

/// The temperatures of the first `count` readings.
fn all(count: i16) -> Vec<String> {
    (0..count).map(celsius).collect()
}
