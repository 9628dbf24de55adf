//! The sensor's application: when it reads, what it says, and how it gets that to a broker and loses nothing on the way.
//! Called by every board, which lends it a sensor, connections and a clock; it knows no chip, no network stack and no
//! allocator.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

mod app;
mod backoff;
mod brokers;
mod command;
mod config;
mod event;
mod outbox;
pub mod pulses;
mod reading;
mod topics;

pub use app::{Dialer, Memory, Observer, Sensor, run};
pub use brokers::{BROKERS_MAX, Broker, Brokers};
pub use config::{Config, ConfigError, INTERVAL_MS_MAX, INTERVAL_MS_MIN};
pub use event::{Cause, DialError, Event, SensorError};
pub use outbox::WAITING_MAX;
pub use reading::{Measurement, Payload, Quantity, Reading};
