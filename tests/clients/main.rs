//! Clients that others wrote, against a running broker: mosquitto's, paho, rumqttc, mqtt.js in Node and in Chromium.
//! Run by `cargo xtask test`, which installs them; a test whose client is missing says so, or fails under REQUIRE_ALL.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code: a panic with a message is how a test fails"
)]

mod bridge;
mod child;
mod explorer;
mod import;
mod large;
mod mosquitto;
mod mqttjs;
mod node;
mod paho;
mod rumqtt4;
mod rumqtt5;
mod sessions;
mod tls;
mod tools;
