//! Streams of packets under 5.0, from arbitrary bytes.
//! Run by `cargo fuzz run decode_v5`; never part of a build of Quelea.

#![no_main]

#[path = "../../crates/mqtt-codec/tests/fuzzing/mod.rs"]
#[allow(dead_code)] // the other targets' functions
mod fuzzing;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzzing::decode_v5(data));
