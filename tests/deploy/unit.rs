//! The unit for systemd: it has no mistakes, and gives the process as few rights as it needs. And what it shares with compose and the
//! chart: a node has the time that its stop takes before it is killed.

use std::fs;
use std::os::unix::fs::symlink;

use e2e_tests::process::{binary, fresh_dir};

use crate::chart::cases;
use crate::compose::merged;
use crate::lan::run;
use crate::manifest::{Release, documents, text};
use crate::{repository, skipped};

/// Of 100, by the measure of `systemd-analyze security`: without any hardening it would be 96.
const EXPOSURE_MAX: &str = "15";

#[test]
fn the_unit_is_right_and_hardened() {
    if run("systemd-analyze", &["--version"]).is_err() {
        skipped("systemd-analyze is missing: apt-get install systemd");
        return;
    }
    let unit = repository("deploy/systemd/quelea.service");
    let dir = fresh_dir();
    // The program has to be there.
    let program = dir.join("quelea");
    symlink(binary(), &program).unwrap();
    let text = fs::read_to_string(&unit).unwrap();
    assert!(text.contains("ExecStart=/usr/bin/quelea run"), "{text}");
    let here = dir.join("quelea.service");
    fs::write(&here, text.replace("/usr/bin/quelea", program.to_str().unwrap())).unwrap();
    run("systemd-analyze", &["verify", "--man=no", here.to_str().unwrap()]).unwrap();
    let threshold = format!("--threshold={EXPOSURE_MAX}");
    run("systemd-analyze", &["security", "--offline=true", &threshold, here.to_str().unwrap()]).unwrap();
    // It would be told of a mistake.
    fs::write(&here, text.replace("TimeoutStopSec=30s", "TimeoutStopSec=soon")).unwrap();
    assert!(run("systemd-analyze", &["verify", "--man=no", here.to_str().unwrap()]).is_err());
    fs::remove_dir_all(dir).unwrap();
}

/// Seconds that a drain may take by this configuration, and 10 for the rest of a stop (`docs/configuration.md`).
fn stop_s(config: &str) -> u64 {
    let (_, drain) = config.split_once("[drain]\n").expect("a section for it");
    let timeout = |line: &str| -> Option<u64> {
        line.trim_start_matches('#').strip_prefix("timeout = \"")?.strip_suffix("s\"")?.parse().ok()
    };
    drain.lines().find_map(timeout).expect("seconds") + 10
}

#[test]
fn whoever_ends_a_node_gives_it_the_time_that_its_stop_takes() {
    let read = |path: &str| fs::read_to_string(repository(path)).unwrap();
    // Of the example every value is the default, which counts for those two.
    let needed = stop_s(&read("deploy/quelea.example.toml"));
    let unit = read("deploy/systemd/quelea.service");
    let given = unit.lines().find_map(|line| line.strip_prefix("TimeoutStopSec=")?.strip_suffix('s'));
    assert!(given.unwrap().parse::<u64>().unwrap() > needed);
    let compose = merged(&documents(&read("deploy/compose.yaml")).remove(0));
    for node in ["quelea-0", "quelea-1", "quelea-2"] {
        let service = &compose["services"][node];
        let given = text(&service["stop_grace_period"]);
        assert!(given.strip_suffix('s').unwrap().parse::<u64>().unwrap() > needed, "{node}: {given}");
        assert!(service["environment"].get("QUELEA__DRAIN__TIMEOUT").is_none(), "{node}: not the default");
    }
    // Kubernetes counts from before it says that a pod is to end.
    for (name, _) in cases() {
        let release = Release::golden(&name);
        let (set, spec) = (release.set(), &release.set()["spec"]["template"]["spec"]);
        let config = &release.object("ConfigMap", &text(&set["metadata"]["name"]))["data"]["quelea.toml"];
        let before = &spec["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"];
        let needed = before.as_u64().unwrap_or(0) + stop_s(&text(config));
        let given = spec["terminationGracePeriodSeconds"].as_u64().expect("seconds");
        assert!(given > needed, "{name}: {given} {needed}");
    }
}
