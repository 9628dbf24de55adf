//! The sensor of `crates/esp32-sensor` as a process, and as an image under QEMU with a network stack of its own, against three
//! nodes of `quelea dev` and against a broker that is one node. What it publishes at QoS 1 arrives whatever happens to them
//! and to the link. No test asserts speed.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "test code: a panic with a message is how a test fails"
)]

mod capture;
mod cluster;
mod commands;
mod device;
mod faults;
mod link;
mod readings;
mod tls;

use device::Board;

/// Each scenario on both boards.
macro_rules! on_both_boards {
    ($($scenario:path => $name:ident,)*) => {
        mod on_this_machine {
            $(#[test]
            fn $name() {
                crate::run($scenario, crate::Board::Host);
            })*
        }

        mod emulated {
            $(#[test]
            fn $name() {
                crate::run($scenario, crate::Board::Emulated);
            })*
        }
    };
}

on_both_boards! {
    crate::cluster::readings_arrive => readings_reach_a_subscriber_on_another_node,
    crate::cluster::the_status_is_retained => the_status_is_retained_and_so_is_the_will,
    crate::cluster::the_link_is_cut => no_reading_is_lost_when_the_link_is_cut,
    crate::cluster::twenty_at_once => twenty_devices_at_once,
    crate::cluster::its_node_is_killed => no_reading_is_lost_when_the_devices_node_is_killed,
    crate::faults::the_broker_is_killed => no_reading_is_lost_when_a_lone_broker_is_killed,
    crate::faults::the_broker_is_frozen => no_reading_is_lost_when_a_lone_broker_is_frozen,
    crate::faults::the_broker_stays_away => readings_go_on_at_another_broker,
    crate::commands::the_interval_is_changed => a_command_changes_the_interval_and_is_answered,
}

/// Says what is missing, if something is.
fn run(scenario: fn(Board), board: Board) {
    match board.missing() {
        None => scenario(board),
        Some(reason) => left_out(&reason),
    }
}

/// Where nothing may be left out, it is a failure.
fn left_out(reason: &str) {
    assert!(std::env::var_os("REQUIRE_ALL").is_none_or(|value| value != "1"), "{reason}");
    println!("SKIPPED: {reason}");
}
