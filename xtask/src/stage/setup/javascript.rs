//! The JavaScript clients: mqtt.js and the driver of headless Chromium, under the target folder. Called by the setup.
//! Never downloads a browser: Debian's is driven.

use std::fs;

use anyhow::{Context, Result};

use crate::gate::Gate;
use crate::report::Outcome;

/// Where the repository keeps `package.json` and its lock file.
const SOURCE: &str = "tests/clients/js";
const LOCK: &str = "package-lock.json";

pub(super) fn check(gate: &Gate, outcome: &mut Outcome) -> Result<()> {
    let source = gate.root.join(SOURCE);
    let Ok(lock) = fs::read_to_string(source.join(LOCK)) else {
        outcome.skipped.push(format!("no {SOURCE}/{LOCK}: no JavaScript clients"));
        return Ok(());
    };
    let folder = gate.tools().join("js");
    let stamp = folder.join("installed");
    let is_installed = || fs::read_to_string(&stamp).is_ok_and(|installed| installed == lock);
    if !is_installed() && gate.runner.find("npm").is_some() {
        fs::create_dir_all(&folder)?;
        for name in ["package.json", LOCK] {
            fs::copy(source.join(name), folder.join(name)).with_context(|| format!("{SOURCE}/{name}"))?;
        }
        let mut command = gate.runner.command("npm");
        command.args(["ci", "--no-audit", "--no-fund", "--loglevel=error"]).current_dir(&folder);
        command.env("PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD", "1").env("PUPPETEER_SKIP_DOWNLOAD", "1");
        if gate.runner.run(command)?.success() {
            fs::write(&stamp, &lock)?;
        }
    }
    super::note(outcome, is_installed(), "the JavaScript clients could not be installed: npm ci failed");
    Ok(())
}
