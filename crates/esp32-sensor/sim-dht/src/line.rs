//! The wire: what a DHT22 sends as levels over time, by its datasheet. Used by the simulated sensor and by tests.
//! Pin and delay share one clock, which only the reader's own waiting moves.

use core::cell::{Cell, RefCell};
use core::convert::Infallible;

use embedded_hal::delay::DelayNs;
use embedded_hal::digital::{ErrorType, InputPin, OutputPin};
use sensor_core::Reading;
use sensor_core::pulses::Pulse;

/// Pulses after the start signal: the wait, the hello, 40 bits of two, the end.
const PULSES: usize = 3 + 80 + 1;
/// A start signal is at least this long.
const START_US: u64 = 1_000;

/// A pin that was used otherwise than a driver would.
pub type LineError = Infallible;

/// What the sensor sends for a reading after a start signal: 30 µs of nothing, its hello, 40 bits, and the end.
pub fn pulses(reading: Reading) -> impl Iterator<Item = Pulse> {
    let bits = bits(reading);
    let of_bit = move |place: usize| {
        let one = bits >> (39 - place / 2) & 1 == 1;
        match place % 2 {
            0 => Pulse { high: false, us: 50 },
            _ => Pulse { high: true, us: if one { 70 } else { 26 } },
        }
    };
    (0..PULSES).map(move |place| match place {
        0 => Pulse { high: true, us: 30 },
        1 => Pulse { high: false, us: 80 },
        2 => Pulse { high: true, us: 80 },
        _ if place == PULSES - 1 => Pulse { high: false, us: 50 },
        _ => of_bit(place - 3),
    })
}

/// The 40 bits of a transmission, the first one highest.
fn bits(Reading { deci_celsius, deci_percent }: Reading) -> u64 {
    let sign = if deci_celsius < 0 { 0x80 } else { 0 };
    let [humidity_h, humidity_l] = deci_percent.to_be_bytes();
    let [celsius_h, celsius_l] = deci_celsius.unsigned_abs().to_be_bytes();
    let bytes = [humidity_h, humidity_l, celsius_h | sign, celsius_l];
    let sum = bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    bytes.iter().chain([&sum]).fold(0, |bits, byte| bits << 8 | u64::from(*byte))
}

/// The wire of one sensor. `&Line` is both the pin and the delay of a driver.
#[derive(Debug)]
pub struct Line {
    reading: Cell<Reading>,
    /// Flips this bit of what is sent.
    broken: Cell<bool>,
    clock_ns: Cell<u64>,
    state: RefCell<State>,
}

#[derive(Debug)]
enum State {
    /// The board lets go of it, or never touched it.
    Idle,
    /// The board pulls it down, since then.
    Pulled(u64),
    /// The board has let go of it after a start signal, then.
    Sending(u64),
}

impl Line {
    /// A wire at rest.
    pub const fn new(reading: Reading) -> Self {
        Self {
            reading: Cell::new(reading),
            broken: Cell::new(false),
            clock_ns: Cell::new(0),
            state: RefCell::new(State::Idle),
        }
    }

    /// What the sensor says from the next start signal on.
    pub fn set(&self, reading: Reading) {
        self.reading.set(reading);
    }

    /// Whether the sensor's plug is out.
    pub fn unplug(&self, out: bool) {
        self.broken.set(out);
    }

    fn now_us(&self) -> u64 {
        self.clock_ns.get() / 1_000
    }

    fn is_level_high(&self) -> bool {
        // Looking takes a moment too, or a driver that waits without a delay would wait for ever.
        self.clock_ns.set(self.clock_ns.get() + 100);
        match *self.state.borrow() {
            State::Idle => true,
            State::Pulled(_) => false,
            State::Sending(_) if self.broken.get() => true,
            State::Sending(since) => {
                let mut left = self.now_us().saturating_sub(since);
                for Pulse { high, us } in pulses(self.reading.get()) {
                    match left.checked_sub(u64::from(us)) {
                        Some(rest) => left = rest,
                        None => return high,
                    }
                }
                true
            }
        }
    }

    fn release(&self) {
        let now = self.now_us();
        let mut state = self.state.borrow_mut();
        if let State::Pulled(since) = *state {
            *state = if now - since >= START_US { State::Sending(now) } else { State::Idle };
        }
    }
}

impl ErrorType for &Line {
    type Error = LineError;
}

impl InputPin for &Line {
    fn is_high(&mut self) -> Result<bool, LineError> {
        Ok(self.is_level_high())
    }

    fn is_low(&mut self) -> Result<bool, LineError> {
        Ok(!self.is_level_high())
    }
}

impl OutputPin for &Line {
    fn set_low(&mut self) -> Result<(), LineError> {
        *self.state.borrow_mut() = State::Pulled(self.now_us());
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), LineError> {
        self.release();
        Ok(())
    }
}

impl DelayNs for &Line {
    fn delay_ns(&mut self, ns: u32) {
        self.clock_ns.set(self.clock_ns.get() + u64::from(ns));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sensor::tenths;
    use dht_sensor::{DhtError, dht22};
    use sensor_core::pulses::decode;

    fn with_driver(line: &Line) -> Result<(i32, i32), DhtError<LineError>> {
        let (mut delay, mut pin) = (line, line);
        let read = dht22::blocking::read(&mut delay, &mut pin)?;
        Ok((tenths(read.temperature).into(), tenths(read.relative_humidity).into()))
    }

    #[test]
    fn every_temperature_and_humidity_is_read_back_by_the_driver_and_by_the_decoder() {
        let line = Line::new(Reading { deci_celsius: 0, deci_percent: 0 });
        let mut count = 0;
        let temperatures = -400..=800_i16;
        let values = temperatures.clone().flat_map(|t| [0, 1, 333, 1000].map(|h| (t, h)));
        let humidities = (0..=1000_i16).flat_map(|h| [-400, -1, 0, 267, 800].map(|t| (t, h)));
        for (deci_celsius, deci_percent) in values.chain(humidities) {
            let reading = Reading { deci_celsius, deci_percent };
            line.set(reading);
            let expected = (i32::from(deci_celsius), i32::from(deci_percent));
            assert_eq!(with_driver(&line).unwrap(), expected);
            assert_eq!(decode(pulses(reading)), Ok(reading));
            count += 1;
        }
        std::println!("{count} values of a DHT22 read back exactly by the driver and by the decoder");
        assert!(count >= 4_000, "{count}");
    }

    #[test]
    fn without_a_sensor_the_driver_times_out() {
        let line = Line::new(Reading { deci_celsius: 1, deci_percent: 1 });
        line.unplug(true);
        assert!(matches!(with_driver(&line), Err(DhtError::Timeout)));
        line.unplug(false);
        assert_eq!(with_driver(&line).unwrap(), (1, 1));
    }

    #[test]
    fn a_short_start_signal_wakes_no_sensor() {
        let line = Line::new(Reading { deci_celsius: 1, deci_percent: 1 });
        let mut wire = &line;
        wire.set_low().unwrap();
        wire.delay_us(900);
        wire.set_high().unwrap();
        wire.delay_us(40);
        assert!(wire.is_high().unwrap());
    }
}
