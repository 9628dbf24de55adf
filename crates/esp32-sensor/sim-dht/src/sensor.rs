//! The sensor of boards that have none: a room whose air changes slowly, measured over the simulated wire by the driver
//! that reads real ones. Used by the host's and the emulated board.

use dht_sensor::{DhtError, dht22};
use sensor_core::pulses::PulseError;
use sensor_core::{Reading, Sensor, SensorError};

use crate::line::Line;

/// The first reading.
const FIRST: Reading = Reading { deci_celsius: 267, deci_percent: 480 };
/// How far a value goes up and down from its first, in tenths.
const SWING: i16 = 130;

/// Each reading differs from the one before by a tenth: 26.7 degrees first, up to 39.7, down to 13.7 and up again. The
/// first 131 are all different, by which tests know them.
#[derive(Debug)]
pub struct SimulatedDht {
    line: Line,
    offset: i16,
    step: i16,
}

impl SimulatedDht {
    /// The air at the first reading.
    pub const fn new() -> Self {
        Self { line: Line::new(FIRST), offset: 0, step: 1 }
    }

    fn next(&mut self) {
        self.offset += self.step;
        if self.offset.abs() == SWING {
            self.step = -self.step;
        }
        let deci_celsius = FIRST.deci_celsius + self.offset;
        self.line.set(Reading { deci_celsius, deci_percent: FIRST.deci_percent - self.offset });
    }
}

impl Default for SimulatedDht {
    fn default() -> Self {
        Self::new()
    }
}

impl Sensor for SimulatedDht {
    const INTERVAL_MS_MIN: u32 = 100;

    async fn read(&mut self) -> Result<Reading, SensorError> {
        let (mut delay, mut pin) = (&self.line, &self.line);
        let read = dht22::blocking::read(&mut delay, &mut pin).map_err(|error| match error {
            DhtError::ChecksumMismatch => SensorError::Wire(PulseError::Checksum),
            DhtError::Timeout => SensorError::Wire(PulseError::NoAnswer),
            DhtError::PinError(never) => match never {},
        })?;
        let reading =
            Reading { deci_celsius: tenths(read.temperature), deci_percent: tenths(read.relative_humidity) };
        self.next();
        Ok(reading)
    }
}

/// The driver divides tenths by ten as floating point; rounding gives them back.
#[expect(clippy::cast_possible_truncation, reason = "the driver's numbers were 16 bits")]
pub(crate) fn tenths(value: f32) -> i16 {
    let scaled = value * 10.0;
    (if scaled < 0.0 { scaled - 0.5 } else { scaled + 0.5 }) as i16
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    fn read(sensor: &mut SimulatedDht) -> Reading {
        let mut context = Context::from_waker(Waker::noop());
        match pin!(sensor.read()).poll(&mut context) {
            Poll::Ready(reading) => reading.unwrap(),
            Poll::Pending => panic!("it never waits"),
        }
    }

    #[test]
    fn the_air_changes_by_a_tenth_and_stays_in_its_bounds() {
        let mut sensor = SimulatedDht::new();
        let mut last = read(&mut sensor);
        assert_eq!(last, FIRST);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..600 {
            let next = read(&mut sensor);
            assert_eq!((next.deci_celsius - last.deci_celsius).abs(), 1);
            seen.insert(next.deci_celsius);
            last = next;
        }
        assert_eq!((seen.first(), seen.last(), seen.len()), (Some(&137), Some(&397), 261));
    }

    #[test]
    fn tenths_survive_floating_point() {
        for expected in -400..=1000_i16 {
            assert_eq!(tenths(f32::from(expected) / 10.0), expected);
        }
    }
}
