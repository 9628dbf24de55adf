//! The same stream whole and in pieces: the same packets and the same offence.
//! Run by `cargo fuzz run split`; never part of a build of Quelea.

#![no_main]

#[path = "../../crates/mqtt-codec/tests/fuzzing/mod.rs"]
#[allow(dead_code)] // the other targets' functions
mod fuzzing;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzzing::split(data));
