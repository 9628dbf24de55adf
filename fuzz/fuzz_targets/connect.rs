//! The first CONNECT of a connection, from arbitrary bytes.
//! Run by `cargo fuzz run connect`; never part of a build of Quelea.

#![no_main]

#[path = "../../crates/mqtt-codec/tests/fuzzing/mod.rs"]
#[allow(dead_code)] // the other targets' functions
mod fuzzing;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzzing::connect(data));
