//! MQTT 3.1, 3.1.1 and 5.0 between bytes and one packet model. Used by everything that speaks MQTT.
//! No I/O, no clock, no connection state: `no_std` with `alloc`, and `bytes` as its only dependency.
//! Untrusted bytes never make it panic, and never make it allocate by a length they only announce.
//!
//! # The way in
//!
//! 1. [`frame::peek`] judges a packet by its first five bytes or fewer: type, flags, size.
//!    [`frame::take`] cuts a whole packet off a buffer, as its first byte and its body.
//! 2. [`decode_connect`] reads the first packet of a connection, which tells its [`Version`];
//!    [`decode()`] reads all others. Both give packets that share the buffer they arrived in: nothing
//!    is copied but what lies scattered.
//! 3. [`Packet::check_from_client`] is for servers: some packets are well formed and not a client's.
//!
//! Each step answers bad input with an [`Offence`], a flat enum with one variant for each thing that
//! can be wrong, and each offence has its [`ReasonCode`]. How to end the connection is the caller's.
//!
//! # The way out
//!
//! [`Packet::encode`] and [`Packet::encode_within`] append to a `BytesMut`, in the shortest form there
//! is and within the peer's Maximum Packet Size. A message with many receivers is a [`SharedPublish`],
//! built once; what differs from one receiver to the next is a [`PublishHeader`].
//!
//! # One model for three versions
//!
//! Versions differ here and nowhere behind. Under 3.x, properties decode to their defaults and reason
//! codes to success, and neither is written; CONNACK codes are mapped by one table
//! ([`ReasonCode::connack_return_code`]), and a reason without a return code cannot be written: such a
//! connection is closed without CONNACK. AUTH exists in 5.0 alone.
//!
//! # What is not checked here
//!
//! What takes state (aliases, packet identifiers in use, Receive Maximum, a second CONNECT) or policy
//! (an empty client identifier, authorisation), and the syntax of topic filters. The encoder trusts
//! its caller's topic names and raw `application` bytes, and refuses what would not parse otherwise.
//!
//! ```
//! use bytes::BytesMut;
//! use mqtt_codec::{Limits, Packet, Publish, Text, Version, decode, frame};
//!
//! let publish = Publish { topic: Text::from_static("a/b"), payload: "hi".into(), ..Publish::default() };
//! let mut buffer = BytesMut::new();
//! Packet::Publish(publish.clone()).encode(Version::V5, &mut buffer)?;
//!
//! let limits = Limits::default();
//! let (first_byte, body) = frame::take(&mut buffer, &limits)?.expect("the packet is whole");
//! assert_eq!(decode(Version::V5, first_byte, body, &limits)?, Packet::Publish(publish));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

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
