//! The binary `quelea`: an MQTT broker.
//! Reads the command line and hands over; does no work itself.

mod config;

fn main() {}
