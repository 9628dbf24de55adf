//! What a DHT22 says on its wire, as pulses whose lengths somebody else captured: the ESP32's RMT unit does.
//! A pure function over numbers. It never touches a pin; its tolerances are the datasheet's, wider by what slow edges take.

use core::fmt;
use core::ops::RangeInclusive;

use crate::reading::Reading;

/// The sensor's first low and high, 80 µs each.
const HELLO_US: RangeInclusive<u16> = 65..=100;
/// Before each bit, 50 µs.
const GAP_US: RangeInclusive<u16> = 35..=75;
/// A zero, 26 to 28 µs.
const ZERO_US: RangeInclusive<u16> = 12..=42;
/// A one, 70 µs.
const ONE_US: RangeInclusive<u16> = 55..=90;
/// What a DHT22 measures, in tenths of a degree and of a percent.
const CELSIUS: RangeInclusive<i16> = -400..=800;
const PERCENT: RangeInclusive<i16> = 0..=1000;

/// A part of a capture without an edge in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pulse {
    /// Whether the wire was high.
    pub high: bool,
    /// For how long, in microseconds.
    pub us: u16,
}

/// Why a capture is no reading.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PulseError {
    /// The sensor's hello is not in the capture.
    NoAnswer,
    /// The capture ends in this bit, counted from 0.
    Short(u8),
    /// This bit is neither a zero nor a one, or the gap before it is none.
    Bit(u8),
    /// The bits do not add up.
    Checksum,
    /// Beyond what a DHT22 can measure.
    Range,
}

impl fmt::Display for PulseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAnswer => write!(f, "no answer on the wire"),
            Self::Short(bit) => write!(f, "the capture ends in bit {bit} of 40"),
            Self::Bit(bit) => write!(f, "bit {bit} is neither 0 nor 1"),
            Self::Checksum => write!(f, "the checksum is wrong"),
            Self::Range => write!(f, "beyond what the sensor measures"),
        }
    }
}

/// Finds the sensor's hello in a capture and reads the 40 bits behind it. What comes before is the board's own start signal.
///
/// # Errors
/// See [`PulseError`].
pub fn decode(pulses: impl IntoIterator<Item = Pulse>) -> Result<Reading, PulseError> {
    let mut pulses = pulses.into_iter();
    find_hello(&mut pulses)?;
    let mut bytes = [0_u8; 5];
    for (byte, first) in bytes.iter_mut().zip((0..).step_by(8)) {
        for bit in first..first + 8 {
            *byte = *byte << 1 | u8::from(read_bit(&mut pulses, bit)?);
        }
    }
    reading(bytes)
}

/// A low and a high of 80 µs; the pulses are at the first gap then.
fn find_hello(pulses: &mut impl Iterator<Item = Pulse>) -> Result<(), PulseError> {
    let mut after_low = false;
    for Pulse { high, us } in pulses {
        let is_hello = HELLO_US.contains(&us);
        if after_low && high && is_hello {
            return Ok(());
        }
        after_low = !high && is_hello;
    }
    Err(PulseError::NoAnswer)
}

fn read_bit(pulses: &mut impl Iterator<Item = Pulse>, bit: u8) -> Result<bool, PulseError> {
    let gap = pulses.next().ok_or(PulseError::Short(bit))?;
    let pulse = pulses.next().ok_or(PulseError::Short(bit))?;
    if gap.high || !GAP_US.contains(&gap.us) || !pulse.high {
        return Err(PulseError::Bit(bit));
    }
    match pulse.us {
        us if ZERO_US.contains(&us) => Ok(false),
        us if ONE_US.contains(&us) => Ok(true),
        _ => Err(PulseError::Bit(bit)),
    }
}

/// Humidity, temperature as sign and magnitude, and the sum of the four bytes.
fn reading([humidity_h, humidity_l, celsius_h, celsius_l, sum]: [u8; 5]) -> Result<Reading, PulseError> {
    let bytes = [humidity_h, humidity_l, celsius_h, celsius_l];
    if bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)) != sum {
        return Err(PulseError::Checksum);
    }
    let deci_percent = i16::from_be_bytes([humidity_h, humidity_l]);
    let magnitude = i16::from_be_bytes([celsius_h & 0x7F, celsius_l]);
    let deci_celsius = if celsius_h & 0x80 == 0 { magnitude } else { -magnitude };
    if !PERCENT.contains(&deci_percent) || !CELSIUS.contains(&deci_celsius) {
        return Err(PulseError::Range);
    }
    Ok(Reading { deci_celsius, deci_percent })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    const LOW: fn(u16) -> Pulse = |us| Pulse { high: false, us };
    const HIGH: fn(u16) -> Pulse = |us| Pulse { high: true, us };

    /// A capture by the datasheet, with the board's start signal in front.
    fn capture(bytes: [u8; 5]) -> Vec<Pulse> {
        let mut pulses = std::vec![LOW(1_100), HIGH(30), LOW(80), HIGH(80)];
        for bit in 0..40_usize {
            let one = bytes[bit / 8] & (0x80 >> (bit % 8)) != 0;
            pulses.extend([LOW(50), HIGH(if one { 70 } else { 27 })]);
        }
        pulses.push(LOW(50));
        pulses
    }

    fn with_sum([a, b, c, d]: [u8; 4]) -> [u8; 5] {
        [a, b, c, d, a.wrapping_add(b).wrapping_add(c).wrapping_add(d)]
    }

    #[test]
    fn the_example_of_the_datasheet() {
        let reading = decode(capture([0x02, 0x8C, 0x01, 0x5F, 0xEE]));
        assert_eq!(reading, Ok(Reading { deci_celsius: 351, deci_percent: 652 }));
        let frost = decode(capture(with_sum([0x02, 0x8C, 0x80, 0x65])));
        assert_eq!(frost, Ok(Reading { deci_celsius: -101, deci_percent: 652 }));
    }

    #[test]
    fn a_wire_without_a_sensor_is_no_answer() {
        assert_eq!(decode([]), Err(PulseError::NoAnswer));
        assert_eq!(decode([LOW(1_100), HIGH(65_535)]), Err(PulseError::NoAnswer));
        // A high of the right length that does not follow the low.
        assert_eq!(decode([HIGH(80), LOW(80), LOW(50), HIGH(80)]), Err(PulseError::NoAnswer));
    }

    #[test]
    fn what_is_cut_off_or_out_of_shape_is_named() {
        let good = capture(with_sum([1, 2, 1, 4]));
        assert_eq!(decode(good[..4 + 2 * 39].iter().copied()), Err(PulseError::Short(39)));
        for (place, pulse) in [(4, LOW(90)), (4, HIGH(50)), (5, LOW(27)), (5, HIGH(48)), (5, HIGH(120))] {
            let mut bad = good.clone();
            bad[place] = pulse;
            assert_eq!(decode(bad), Err(PulseError::Bit(0)), "{pulse:?}");
        }
    }

    #[test]
    fn any_flipped_bit_is_found() {
        let good = capture(with_sum([0x01, 0xF4, 0x01, 0x0B]));
        assert!(decode(good.iter().copied()).is_ok());
        for bit in 0..40 {
            let mut bad = good.clone();
            let place = 5 + 2 * bit;
            bad[place] = if bad[place].us == 70 { HIGH(27) } else { HIGH(70) };
            assert_eq!(decode(bad), Err(PulseError::Checksum), "bit {bit}");
        }
    }

    #[test]
    fn what_no_sensor_measures_is_refused() {
        for bytes in [[0x03, 0xE9, 0, 0], [0xFF, 0xFF, 0, 0], [0, 0, 0x03, 0x21], [0, 0, 0x81, 0x91]] {
            assert_eq!(decode(capture(with_sum(bytes))), Err(PulseError::Range), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn every_value_is_read_back(deci_celsius in -400_i16..=800, deci_percent in 0_i16..=1000) {
            let [humidity_h, humidity_l] = deci_percent.to_be_bytes();
            let [celsius_h, celsius_l] = deci_celsius.unsigned_abs().to_be_bytes();
            let sign = if deci_celsius < 0 { 0x80 } else { 0 };
            let bytes = with_sum([humidity_h, humidity_l, celsius_h | sign, celsius_l]);
            prop_assert_eq!(decode(capture(bytes)), Ok(Reading { deci_celsius, deci_percent }));
        }

        #[test]
        fn noise_never_panics(pulses: Vec<(bool, u16)>) {
            let _whatever = decode(pulses.into_iter().map(|(high, us)| Pulse { high, us }));
        }
    }
}
