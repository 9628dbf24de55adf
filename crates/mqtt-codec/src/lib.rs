//! MQTT 3.1, 3.1.1 and 5.0 between bytes and one packet model. Used by everything that speaks MQTT.
//! No I/O, no clock, no state: `no_std` with `alloc`. Untrusted bytes never make it panic, and never
//! make it allocate by a length they only announce.

#![no_std]

extern crate alloc;

mod application;
mod basic;
mod cursor;
mod encode;
pub mod frame;
mod limits;
mod offence;
mod packet;
mod property;
mod property_block;
mod reason;
mod text;
mod topic;
mod user_properties;

pub use application::ApplicationProperties;
pub use basic::{PacketId, PacketKind, QoS, Version};
pub use encode::EncodeError;
pub use frame::Frame;
pub use limits::Limits;
pub use offence::Offence;
pub use packet::*;
pub use property::Property;
pub use reason::ReasonCode;
pub use text::{FIELD_BYTES_MAX, Text, TextError};
pub use user_properties::UserProperties;
