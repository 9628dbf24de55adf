//! MQTT 5.0 conformance: the tests of the table `../v5.md`, each named by the statement it shows.
//! Run by `cargo xtask test` against the built broker; speaks raw packets only.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "test code: a panic with a message is how a test fails"
)]

mod acks;
mod alias;
mod auth;
mod common;
mod connack;
mod connack_limits;
mod connect_format;
mod connect_payload;
mod connect_session;
mod disconnect;
mod errors;
mod expiry;
mod flow;
mod formats;
mod keep_alive;
mod order;
mod overlap;
mod packet_ids;
mod packet_size;
mod publish;
mod publish_properties;
mod qos1;
mod qos2;
mod qos2_receiver;
mod resume;
mod retain;
mod shared;
mod subscribe;
mod topics;
mod unsubscribe;
mod websocket;
mod will;
mod will_delay;

use e2e_tests::table::Conformance;

#[test]
fn every_row_is_tied() {
    let table = Conformance {
        table: "conformance/v5.md",
        ids: "conformance/v5-ids.txt",
        sources: "conformance/v5",
        without_test_max: 12,
    };
    table.check();
}
