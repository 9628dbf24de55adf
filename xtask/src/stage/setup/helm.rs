//! Helm, which renders the chart: built from its Go module where there is a Go that can. Called by the setup. Elsewhere the golden
//! manifests of the chart are all that the tests have; nothing is left of the build but the program.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::gate::Gate;
use crate::report::Outcome;

/// Of the line that Debian's and Kubernetes' people use.
const MODULE: &str = "helm.sh/helm/v3/cmd/helm@v3.22.0";
/// The Go that it wants, as 1.N.
const GO: u32 = 26;

pub(super) fn check(gate: &Gate, outcome: &mut Outcome) -> Result<()> {
    let Some(go) = go(gate) else {
        println!("helm: there is no Go 1.{GO} or later; the golden manifests stand for what it makes");
        return Ok(());
    };
    let folder = gate.tools().join("go");
    let helm = folder.join("bin/helm");
    if !helm.is_file() {
        let build = |command: &mut Command| {
            for (name, place) in [("GOBIN", "bin"), ("GOPATH", "path"), ("GOCACHE", "cache")] {
                command.env(name, folder.join(place));
            }
        };
        let mut install = gate.runner.command(&go);
        install.args(["install", "-modcacherw", MODULE]);
        build(&mut install);
        gate.runner.run(install)?;
        for left in ["path", "cache"] {
            let left = folder.join(left);
            if left.exists() {
                std::fs::remove_dir_all(left)?;
            }
        }
    }
    super::note(outcome, helm.is_file(), &format!("helm is missing: go install {MODULE}"));
    Ok(())
}

/// A Go that can build it: an old one in PATH does not hide a newer one where its own archive puts it.
fn go(gate: &Gate) -> Option<PathBuf> {
    let can = |go: &PathBuf| {
        let said = Command::new(go).arg("version").output().ok()?;
        version(&String::from_utf8_lossy(&said.stdout)).filter(|minor| *minor >= GO)
    };
    let mut places = ["go", "/usr/local/go/bin/go"].into_iter().filter_map(|place| gate.runner.find(place));
    places.find(|go| can(go).is_some())
}

/// The N of `go version go1.N.M linux/amd64`.
fn version(said: &str) -> Option<u32> {
    said.split("go1.").nth(1)?.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn a_version_is_found_in_what_go_says() {
        assert_eq!(version("go version go1.26.8 linux/amd64"), Some(26));
        assert_eq!(version("go version go1.19 linux/amd64"), Some(19));
        assert_eq!(version("go version devel"), None);
    }
}
