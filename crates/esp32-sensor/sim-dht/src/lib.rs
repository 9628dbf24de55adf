//! A DHT22 without hardware: a wire whose level follows from a virtual clock, for the driver that reads real ones.
//! Used as the sensor of the boards that have none, and by the tests of the pulse decoder. It never waits for real time.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

mod line;
mod sensor;

pub use line::{Line, LineError, pulses};
pub use sensor::SimulatedDht;
