//! What operators watch: a cluster of three nodes under a short load, its `/metrics` in a real Prometheus, and every query of
//! the dashboards, alerts and recording rules in `deploy/` asked there. Needs Debian's package prometheus.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "test code: a panic with a message is how a test fails"
)]

mod dashboards;
mod load;
mod names;
mod prometheus;
mod rules;

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use e2e_tests::{Dev, PATIENCE, pause};

use self::load::Load;
use self::prometheus::{Prometheus, program};

/// A folder of the repository.
fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// Whether a program is there; where all have to be, it is.
fn has(name: &str) -> bool {
    let found = program(name).is_some();
    assert!(
        found || std::env::var_os("REQUIRE_ALL").is_none_or(|value| value != "1"),
        "REQUIRE_ALL is set, and {name} is not installed"
    );
    if !found {
        println!("SKIPPED: {name} is not installed");
    }
    found
}

/// What promtool says of something, which has to be good.
fn promtool(arguments: &[&str], input: &str) {
    let mut command = Command::new(program("promtool").unwrap());
    command.args(arguments).current_dir(repository("deploy/prometheus"));
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said =
        [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
    assert!(output.status.success(), "promtool {arguments:?}:\n{said}");
}

#[test]
fn promtool_takes_the_configuration_and_the_rules_and_their_tests_pass() {
    if !has("promtool") {
        return;
    }
    promtool(&["check", "config", "prometheus.yml"], "");
    promtool(
        &["check", "rules", "--lint-fatal", "rules/quelea-recording.yml", "rules/quelea-alerts.yml"],
        "",
    );
    promtool(&["test", "rules", "tests/quelea-alerts.test.yml"], "");
}

#[test]
fn every_panel_and_rule_has_data_of_a_cluster_under_load() {
    if !(has("prometheus") && has("promtool")) {
        return;
    }
    let _alone = e2e_tests::dev::alone();
    let dev = Dev::start(&[]);
    let nodes = [1, 2, 3].map(|node| dev.http(node));
    let prometheus = Prometheus::start(&nodes);
    let load = Load::start(&dev.all());
    let rules = rules::all(&prometheus);
    let mut panels = dashboards::all(&nodes);
    // A second or two are enough, where the machine is not busy.
    let deadline = Instant::now() + PATIENCE;
    loop {
        load.goes_on();
        panels.retain(|panel| panel.lacks(&prometheus).is_some());
        let lacking = rules.iter().filter_map(|rule| rule.lacks(&prometheus));
        let lacking: Vec<String> =
            panels.iter().filter_map(|panel| panel.lacks(&prometheus)).chain(lacking).collect();
        if lacking.is_empty() {
            break;
        }
        assert!(Instant::now() < deadline, "{}", lacking.join("\n"));
        pause(Duration::from_millis(500));
    }
    load.stop();
    let known: BTreeSet<String> = prometheus.names();
    let unknown = names::unknown(&known, rules.iter().map(|rule| rule.query()).chain(dashboards::queries()));
    assert!(unknown.is_empty(), "no node tells of {unknown:?}");
    rules::have_tests(&rules);
    for node in &nodes {
        promtool(&["check", "metrics"], &prometheus::get(node, "/metrics"));
    }
}
