//! A reading, in the tenths that a DHT22 measures in, and its text on the wire.
//! Used by everybody here. There is no floating point: what the sensor said is what is published.

use core::fmt::Write;

/// The text of a measurement: at most `-3276.80`.
pub type Payload = heapless::String<8>;

/// What the sensor said once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reading {
    /// Temperature in tenths of a degree Celsius.
    pub deci_celsius: i16,
    /// Relative humidity in tenths of a percent.
    pub deci_percent: i16,
}

impl Reading {
    /// What is published of it, in this order.
    pub const fn measurements(self) -> [Measurement; 2] {
        [
            Measurement { quantity: Quantity::Temperature, tenths: self.deci_celsius },
            Measurement { quantity: Quantity::Humidity, tenths: self.deci_percent },
        ]
    }
}

/// What is measured; each has a topic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Quantity {
    /// In degrees Celsius.
    Temperature,
    /// In percent.
    Humidity,
}

/// One number for one topic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Measurement {
    /// Of what.
    pub quantity: Quantity,
    /// In tenths of the quantity's unit.
    pub tenths: i16,
}

impl Measurement {
    /// Two decimals, as `26.70` or `-0.50`: whole numbers and tenths look alike to whoever reads them.
    pub fn payload(self) -> Payload {
        let sign = if self.tenths < 0 { "-" } else { "" };
        let tenths = self.tenths.unsigned_abs();
        let mut text = Payload::new();
        write!(text, "{sign}{}.{}0", tenths / 10, tenths % 10).expect("-3276.80 is the longest");
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::string::ToString;

    fn text(tenths: i16) -> Payload {
        Measurement { quantity: Quantity::Temperature, tenths }.payload()
    }

    #[test]
    fn two_decimals_always() {
        for (tenths, expected) in [
            (267, "26.70"),
            (260, "26.00"),
            (5, "0.50"),
            (0, "0.00"),
            (-5, "-0.50"),
            (-400, "-40.00"),
            (1000, "100.00"),
            (i16::MIN, "-3276.80"),
            (i16::MAX, "3276.70"),
        ] {
            assert_eq!(text(tenths), expected);
        }
    }

    proptest! {
        #[test]
        fn reads_back_as_the_same_number(tenths: i16) {
            let number: f64 = text(tenths).parse().unwrap();
            prop_assert_eq!((number * 10.0).round(), f64::from(tenths));
            prop_assert_eq!(text(tenths).to_string(), std::format!("{number:.2}"));
        }
    }
}
