//! The programs that come from Debian's packages. Called by the setup; installs as root what is missing.
//! It never starts a service: a broker of the system's would hold the port that people expect to be free.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result};

use crate::gate::Gate;
use crate::report::Outcome;

/// What Debian's maintainer scripts ask before they start a service.
const POLICY: &str = "/usr/sbin/policy-rc.d";
/// 101: starting is forbidden. Everything else goes on as it would.
const POLICY_TEXT: &str =
    "#!/bin/sh\ncase \"$1\" in mosquitto|haproxy|nginx|prometheus) exit 101;; esac\nexit 0\n";
/// Programs whose packages bring a service of the same name.
const SERVICES: [&str; 4] = ["mosquitto", "haproxy", "nginx", "prometheus"];

/// A program the tests run and the package that has it.
pub(super) struct Tool {
    pub(super) program: &'static str,
    pub(super) package: &'static str,
}

const TOOLS: &[Tool] = &[
    Tool { program: "mosquitto", package: "mosquitto" },
    Tool { program: "mosquitto_pub", package: "mosquitto-clients" },
    Tool { program: "mosquitto_sub", package: "mosquitto-clients" },
    Tool { program: "chromium", package: "chromium" },
    Tool { program: "prometheus", package: "prometheus" },
    Tool { program: "promtool", package: "prometheus" },
    Tool { program: "certutil", package: "libnss3-tools" },
    Tool { program: "node", package: "nodejs" },
    Tool { program: "npm", package: "npm" },
    Tool { program: "python3", package: "python3-venv" },
    // What stands before nodes, or gives them names.
    Tool { program: "haproxy", package: "haproxy" },
    Tool { program: "nginx", package: "nginx" },
    Tool { program: "/usr/lib/nginx/modules/ngx_stream_module.so", package: "libnginx-mod-stream" },
    Tool { program: "dnsmasq", package: "dnsmasq-base" },
    Tool { program: "ip", package: "iproute2" },
    // What makes images and runs them.
    Tool { program: "buildah", package: "buildah" },
    Tool { program: "crun", package: "crun" },
    Tool { program: "systemd-analyze", package: "systemd" },
    // What a Debian has, but not the smallest: a container's.
    Tool { program: "git", package: "git" },
    Tool { program: "kill", package: "procps" },
    Tool { program: "openssl", package: "openssl" },
    Tool { program: "mount", package: "mount" },
    Tool { program: "mkfs.ext4", package: "e2fsprogs" },
    Tool { program: "nft", package: "nftables" },
];

pub(super) fn check(gate: &Gate, outcome: &mut Outcome) -> Result<()> {
    let mut packages = missing(gate, TOOLS);
    if !super::python::has_venv(gate) {
        packages.push("python3-venv");
    }
    check_all(gate, TOOLS, packages, outcome)?;
    let hint = "python3 cannot make virtual environments: apt-get install python3-venv";
    super::note(outcome, super::python::has_venv(gate), hint);
    Ok(())
}

/// Installs these packages where that can be, and then says which tools are there.
pub(super) fn check_all(
    gate: &Gate,
    tools: &[Tool],
    mut packages: Vec<&'static str>,
    outcome: &mut Outcome,
) -> Result<()> {
    packages.sort_unstable();
    packages.dedup();
    if !packages.is_empty() && may_install(gate) {
        install(gate, &packages)?;
    }
    for tool in tools {
        let hint = format!("{} is missing: apt-get install {}", tool.program, tool.package);
        super::note(outcome, gate.runner.find(tool.program).is_some(), &hint);
    }
    Ok(())
}

/// The packages of what is not there.
pub(super) fn missing(gate: &Gate, tools: &[Tool]) -> Vec<&'static str> {
    let absent = tools.iter().filter(|tool| gate.runner.find(tool.program).is_none());
    absent.map(|tool| tool.package).collect()
}

fn may_install(gate: &Gate) -> bool {
    rustix::process::geteuid().is_root() && gate.runner.find("apt-get").is_some()
}

/// Nothing that is there is removed for it: then it fails, and says why.
fn install(gate: &Gate, packages: &[&str]) -> Result<()> {
    let new: Vec<_> = SERVICES.into_iter().filter(|program| gate.runner.find(program).is_none()).collect();
    let policy = NoServices::new().context("cannot forbid the start of services")?;
    for arguments in [&["update"] as &[&str], &["install", "--yes", "--no-remove", "--no-install-recommends"]]
    {
        let mut command = gate.runner.command("apt-get");
        command.args(["--quiet", "--option", "DPkg::Lock::Timeout=300"]).args(arguments);
        command.env("DEBIAN_FRONTEND", "noninteractive").env("RUNLEVEL", "1");
        if arguments.len() > 1 {
            command.args(packages);
        }
        let status = gate.runner.run(command)?;
        if !status.success() {
            println!("apt-get {} failed: {status}", arguments.join(" "));
        }
    }
    drop(policy);
    let systemctl = gate.runner.find("systemctl").is_some();
    for service in new.into_iter().filter(|program| systemctl && gate.runner.find(program).is_some()) {
        // The package also has it started at the next boot; nobody asked for that.
        let mut command = gate.runner.command("systemctl");
        command.args(["--quiet", "disable", service]);
        gate.runner.run(command)?;
    }
    Ok(())
}

/// While it lives, packages install without starting their services. A policy that the machine has is left alone.
struct NoServices {
    ours: bool,
}

impl NoServices {
    fn new() -> Result<Self> {
        if Path::new(POLICY).exists() {
            return Ok(Self { ours: false });
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o755).open(POLICY)?;
        file.write_all(POLICY_TEXT.as_bytes())?;
        Ok(Self { ours: true })
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.ours
            && let Err(error) = fs::remove_file(POLICY)
        {
            eprintln!("xtask: {POLICY} is left over: {error}");
        }
    }
}
