//! What `deploy/` and `helm/` say, run as it is said: the chart's manifests, HAProxy, NGINX and compose before real nodes, each
//! process in a network of its own with names that resolve. No test asserts speed.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "test code: a panic with a message is how a test fails"
)]

mod balanced;
mod chart;
mod compose;
mod container;
mod image;
mod kept;
mod kubernetes;
mod lan;
mod load;
mod manifest;
mod objects;
mod pages;
mod pods;
mod refused;
mod slow;
mod unit;
mod values;
mod watched;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use e2e_tests::{PATIENCE, pause};

/// A path of the repository.
fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package is in a workspace").join(path)
}

/// Says that a test cannot run here, and why; a failure where nothing may be left out.
fn skipped(why: &str) {
    assert!(std::env::var_os("REQUIRE_ALL").is_none_or(|value| value != "1"), "{why}");
    println!("SKIPPED: {why}");
}

/// Waits until something is so, and says what was found.
#[track_caller]
fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "no {what}");
        pause(Duration::from_millis(50));
    }
}
