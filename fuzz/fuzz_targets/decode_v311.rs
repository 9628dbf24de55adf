//! Streams of packets under 3.1.1 and 3.1, from arbitrary bytes.
//! Run by `cargo fuzz run decode_v311`; never part of a build of Quelea.

#![no_main]

#[path = "../../crates/mqtt-codec/tests/fuzzing/mod.rs"]
#[allow(dead_code)] // the other targets' functions
mod fuzzing;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzzing::decode_v311(data));
