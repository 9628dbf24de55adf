//! The unit for systemd: it has no mistakes, and gives the process as few rights as it needs.

use std::fs;
use std::os::unix::fs::symlink;

use e2e_tests::process::{binary, fresh_dir};

use crate::lan::run;
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
