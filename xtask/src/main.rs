//! The project's tasks: `cargo xtask help` lists them. This file is their table of contents.
//! Called by people and by `.ci/run`; it never ships in a release.

mod chaos;
mod compare;
mod dashboards;
mod dist;
mod gate;
mod libtest;
mod numbers;
mod report;
mod runner;
mod scratch;
mod sensor;
mod sim;
mod stage;
mod tidy;

use std::process::ExitCode;

/// One task of `cargo xtask NAME`.
struct Task {
    name: &'static str,
    /// What follows the name on the command line.
    usage: &'static str,
    help: &'static str,
    /// Gets the arguments after the name; `Ok(false)` means that it ran and the answer is no.
    run: fn(&[String]) -> anyhow::Result<bool>,
}

/// A new task is a module and a row here.
const TASKS: &[Task] = &[
    Task {
        name: "test",
        usage: "[--stage NAME]... [FILTER]",
        help: "the one test command: installs what the tests need, then every check and test",
        run: gate::main,
    },
    Task {
        name: "compare",
        usage: "[--quick] [--only ROW]... [--rounds N] [--seconds N] [--json]",
        help: "Quelea beside mosquitto and rumqttd under the same load, as ratios",
        run: compare::main,
    },
    Task {
        name: "durable",
        usage: "[--quick] [--seconds N] [--messages N] [--sessions N] [--json]",
        help: "what a node does that syncs: persistent sessions, a long queue, a restart",
        run: compare::durable::main,
    },
    Task {
        name: "clustered",
        usage: "[--quick] [--only ROW]... [--seconds N] [--filters N] [--trials N] [--json]",
        help: "what three nodes that are one cluster do: messages between them, takeovers, failover",
        run: compare::clustered::main,
    },
    Task {
        name: "chaos",
        usage: "[--rounds N] [--minutes N] [--seed S]",
        help: "kill -9 under load on one node, every fault on clusters of three; 100 rounds and 10 minutes unless told",
        run: chaos::main,
    },
    Task {
        name: "sim",
        usage: "[--seeds N] [--seed S]",
        help: "three simulated replicas under faults that follow from a seed, 1,000 seeds unless told",
        run: sim::main,
    },
    Task {
        name: "sensor",
        usage: "[--readings N]",
        help: "a broker with one emulated sensor, to try",
        run: sensor::main,
    },
    Task {
        name: "dist",
        usage: "[--twice] [--no-audit] [--target TARGET] | --binary FILE",
        help: "a release in target/dist: static binary, image in OCI's layout, what is in it, checksums",
        run: dist::main,
    },
    Task {
        name: "dashboards",
        usage: "",
        help: "writes the Grafana dashboards in deploy/grafana from their lists of panels",
        run: dashboards::main,
    },
    Task { name: "tidy", usage: "", help: "only the rules that clippy cannot check", run: tidy::main },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (name, rest) = match arguments.split_first() {
        Some((name, rest)) => (name.as_str(), rest),
        None => ("help", &[] as &[String]),
    };
    if matches!(name, "help" | "--help" | "-h") {
        print!("{}", help());
        return ExitCode::SUCCESS;
    }
    let Some(task) = TASKS.iter().find(|task| task.name == name) else {
        eprint!("xtask: there is no task `{name}`\n\n{}", help());
        return ExitCode::from(2);
    };
    match (task.run)(rest) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask {name}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The list of tasks, and what the test command honours.
fn help() -> String {
    let mut text = String::from("cargo xtask TASK\n\n");
    for task in TASKS {
        text += &format!("  {:<34} {}\n", format!("{} {}", task.name, task.usage), task.help);
    }
    text += "\nStages of `test`, in order:\n\n";
    for stage in stage::STAGES {
        text += &format!("  {:<10} {}\n", stage.name, stage.help);
    }
    text += "\nEnvironment of `test`:\n\n";
    text += "  REQUIRE_ALL=1      a missing tool, a skipped or ignored case or an empty stage is a failure\n";
    text += "  QUELEA_BIN=PATH    test this broker binary instead of building one\n";
    text += "  RUST_TEST_THREADS  how many test cases run at once\n";
    text
}
