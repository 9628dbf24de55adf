//! MQTT 3.1.1 conformance: the tests of the table in `../v3.md`, each named by the statement it shows.
//! Run by `cargo xtask test` against the built broker; speaks raw packets only, and MQTT 3.1 at the end.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "test code: a panic with a message is how a test fails"
)]

mod connack;
mod connect;
mod connect_payload;
mod format;
mod mqisdp;
mod ordering;
mod publish;
mod qos;
mod retain;
mod session;
mod subscribe;
mod support;
mod takeover;
mod topics;
mod transport;
mod unsubscribe;
mod will;

use e2e_tests::table::Conformance;

#[test]
fn every_row_is_tied() {
    let table = Conformance {
        table: "conformance/v3.md",
        ids: "conformance/v3-ids.txt",
        sources: "conformance/v3",
        without_test_max: 13,
    };
    table.check();
}
