//! The stages of the gate, in order: the table that `cargo xtask test` goes through, one file a stage.
//! Called by `gate`. A stage never decides whether the next one runs.

pub(crate) mod broker;
mod cargo_deny;
pub(crate) mod cargo_test;
mod chips;
mod clippy;
mod crates;
mod docs;
pub(crate) mod e2e;
mod fmt;
pub(crate) mod sensor;
mod setup;
mod tidy;

use anyhow::Result;

use crate::gate::Gate;
use crate::report::Outcome;

/// One stage.
pub(crate) struct Stage {
    pub(crate) name: &'static str,
    pub(crate) help: &'static str,
    /// The stages that must have run before, in order.
    pub(crate) needs: &'static [&'static str],
    /// Runs test cases, so that a filter by name means something.
    pub(crate) takes_filter: bool,
    /// What it leaves out is no failure, not even where nothing may be missing.
    pub(crate) may_skip: bool,
    /// An error is the stage's only failure.
    pub(crate) run: fn(&Gate) -> Result<Outcome>,
}

/// A new stage is a file and a row here.
pub(crate) const STAGES: &[Stage] = &[
    Stage { name: "setup", help: "install what the tests need", run: setup::run, ..PLAIN },
    Stage { name: "fmt", help: "cargo fmt --check", run: fmt::run, ..PLAIN },
    Stage { name: "tidy", help: "the rules that clippy cannot check", run: tidy::run, ..PLAIN },
    Stage {
        name: "deny",
        help: "cargo deny check, for those who have cargo-deny",
        may_skip: true,
        run: cargo_deny::run,
        ..PLAIN
    },
    Stage { name: "clippy", help: "clippy, warnings are errors", run: clippy::run, ..PLAIN },
    Stage { name: "docs", help: "rustdoc, broken links are errors", run: docs::run, ..PLAIN },
    Stage {
        name: "crates",
        help: "the tests of every crate",
        needs: &["setup"],
        takes_filter: true,
        run: crates::run,
        ..PLAIN
    },
    Stage {
        name: "broker",
        help: "build the broker that the end-to-end tests run",
        run: broker::run,
        ..PLAIN
    },
    Stage {
        name: "sensor",
        help: "the sensor's firmware: its tests, and the devices for the end-to-end tests",
        needs: &["setup"],
        takes_filter: true,
        run: sensor::run,
        ..PLAIN
    },
    Stage {
        name: "chips",
        help: "the sensor's images for ESP32s build, are whole and fit",
        needs: &["setup"],
        run: chips::run,
        ..PLAIN
    },
    Stage {
        name: "e2e",
        help: "real processes, real clients",
        needs: &["setup", "broker", "sensor"],
        takes_filter: true,
        run: e2e::run,
        ..PLAIN
    },
];

/// What most stages are.
const PLAIN: Stage =
    Stage { name: "", help: "", needs: &[], takes_filter: false, may_skip: false, run: fmt::run };
