//! Where the clients of others are on this machine.
//! Used by every module here; installs nothing: that is the work of `cargo xtask test`.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use e2e_tests::process;

/// Ends a test early when something it needs is not there: `let python = need!(tools::python());`.
macro_rules! need {
    ($tool:expr) => {
        match $tool {
            Ok(found) => found,
            Err(reason) => {
                assert!(
                    std::env::var_os("REQUIRE_ALL").is_none_or(|value| value != "1"),
                    "REQUIRE_ALL is set, and {reason}"
                );
                println!("SKIPPED: {reason}");
                return;
            }
        }
    };
}
pub(crate) use need;

/// A program in PATH, or why there is none.
pub(crate) fn program(name: &str) -> Result<PathBuf, String> {
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path).chain(["/usr/sbin".into()]).map(|dir| dir.join(name));
    found.into_iter().find(|file| file.is_file()).ok_or_else(|| format!("{name} is not installed"))
}

/// A file below the directory that `cargo xtask test` fills: `QUELEA_TEST_TOOLS`, else `target/test-tools`.
fn provided(file: &str) -> Result<PathBuf, String> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let given = env::var_os("QUELEA_TEST_TOOLS").map(PathBuf::from);
    let path = given.unwrap_or_else(|| workspace.join("target/test-tools")).join(file);
    path.exists().then_some(path).ok_or_else(|| format!("QUELEA_TEST_TOOLS has no {file}"))
}

/// A file of this directory.
fn ours(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(file)
}

/// A command that dies with this process.
pub(crate) fn command(program: &Path) -> Command {
    process::bound_to_us(program)
}

/// A script of `py/`, run by the Python that has paho.
pub(crate) fn python(script: &str) -> Result<Command, String> {
    let mut command = command(&provided("venv/bin/python")?);
    command.env("PYTHONDONTWRITEBYTECODE", "1").arg(ours("py").join(script));
    Ok(command)
}

/// A script of `js/`, run by Node with mqtt.js at hand.
pub(crate) fn node(script: &str) -> Result<Command, String> {
    let modules = provided("js/node_modules")?;
    let mut command = command(&program("node")?);
    // The brokers listen on IPv4, and Debian's Node tries just one address of `localhost`.
    command.arg("--dns-result-order=ipv4first");
    command.env("NODE_PATH", modules).arg(ours("js").join(script));
    Ok(command)
}

/// One of mosquitto's clients, writing each line at once.
pub(crate) fn mosquitto(name: &str) -> Result<Command, String> {
    let program = program(name)?;
    let mut command = command(Path::new("stdbuf"));
    command.arg("-oL").arg(program);
    Ok(command)
}
