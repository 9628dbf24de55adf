//! `cargo xtask test`: runs the stages in order, times them, prints the table, and fails when anything did.
//! Called by `main`; the stages are in `stage/`. It never stops at the first failure: one run tells all.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::report::{Outcome, Row, render};
use crate::runner::Runner;
use crate::scratch::Scratch;
use crate::stage::{STAGES, Stage};

/// A run that takes longer is ended and has failed.
const MINUTES_MAX: u64 = 85;
/// Open files that a test process may ask for; more makes programs slow that close all they could have open.
const DESCRIPTORS_MAX: u64 = 20_000;

/// What every stage can see.
pub(crate) struct Gate {
    /// The repository.
    pub(crate) root: PathBuf,
    /// Cargo's target folder.
    pub(crate) target: PathBuf,
    /// Nothing may be missing or left out.
    pub(crate) require_all: bool,
    /// Only cases whose name contains this.
    pub(crate) filter: Option<String>,
    pub(crate) runner: Runner,
    pub(crate) scratch: Scratch,
}

impl Gate {
    /// Where the tests' own tools are installed, out of the system's and the repository's way.
    pub(crate) fn tools(&self) -> PathBuf {
        self.target.join("test-tools")
    }
}

/// What the command line asks for.
#[derive(Default, PartialEq, Eq, Debug)]
struct Options {
    stages: Vec<String>,
    filter: Option<String>,
}

/// Runs the gate; `Ok(false)` when something failed.
pub(crate) fn main(arguments: &[String]) -> Result<bool> {
    let started = Instant::now();
    let options = parse(arguments)?;
    let stages = select(&options)?;
    raise_descriptor_limit();
    let root = root()?;
    let runner = Runner::new(&root, started + Duration::from_secs(MINUTES_MAX * 60))?;
    let target = target_folder(&root);
    let gate = Gate {
        scratch: Scratch::new(&target)?,
        require_all: std::env::var("REQUIRE_ALL").is_ok_and(|value| value == "1"),
        filter: options.filter,
        root,
        target,
        runner,
    };
    let rows = run(&gate, &stages);
    print!("{}", render(&rows, started.elapsed()));
    Ok(rows.iter().all(|row| row.outcome.failures.is_empty()))
}

fn run(gate: &Gate, stages: &[&'static Stage]) -> Vec<Row> {
    let mut rows = Vec::new();
    for stage in stages {
        println!("\n=== {}: {}", stage.name, stage.help);
        let started = Instant::now();
        let mut outcome =
            (stage.run)(gate).unwrap_or_else(|error| Outcome::check(false, &format!("{error:#}")));
        if gate.require_all && !stage.may_skip {
            // Nothing may be left out: then what was left out has failed.
            outcome.failures.extend(outcome.skipped.drain(..).map(|reason| format!("skipped: {reason}")));
        }
        for failure in &outcome.failures {
            println!("FAILED: {failure}");
        }
        let failed = outcome.failures.len();
        println!("=== {}: {} passed, {failed} failed, {:.0?}", stage.name, outcome.passed, started.elapsed());
        rows.push(Row { stage: stage.name, outcome, took: started.elapsed() });
        if gate.runner.is_interrupted() {
            break;
        }
    }
    rows
}

fn parse(arguments: &[String]) -> Result<Options> {
    let mut options = Options::default();
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--stage" => options.stages.push(arguments.next().context("--stage needs a name")?.clone()),
            flag if flag.starts_with('-') => bail!("unknown option `{flag}`; `cargo xtask help` lists them"),
            filter if options.filter.is_none() => options.filter = Some(filter.to_owned()),
            extra => bail!("one filter at a time: `{extra}` is one too many"),
        }
    }
    Ok(options)
}

/// The stages asked for and those they need; with a filter alone, those that run tests.
fn select(options: &Options) -> Result<Vec<&'static Stage>> {
    let mut names = BTreeSet::new();
    for name in &options.stages {
        let known = || STAGES.iter().map(|stage| stage.name).collect::<Vec<_>>().join(", ");
        let stage = STAGES.iter().find(|stage| stage.name == name);
        let stage = stage.with_context(|| format!("no stage `{name}`; there are {}", known()))?;
        names.insert(stage.name);
        names.extend(stage.needs);
    }
    if options.stages.is_empty() && options.filter.is_some() {
        names.extend(STAGES.iter().filter(|stage| stage.takes_filter).flat_map(|stage| stage.needs));
        names.extend(STAGES.iter().filter(|stage| stage.takes_filter).map(|stage| stage.name));
    }
    let all = options.stages.is_empty() && options.filter.is_none();
    Ok(STAGES.iter().filter(|stage| all || names.contains(stage.name)).collect())
}

/// The repository: cargo says where this package is, and it is one folder up from there.
pub(crate) fn root() -> Result<PathBuf> {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").context("run it as `cargo xtask`")?;
    let root = Path::new(&package).parent().context("the package has no parent folder")?;
    Ok(root.to_path_buf())
}

/// Cargo's target folder: this program was built into it.
pub(crate) fn target_folder(root: &Path) -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => root.join(folder),
        None => root.join("target"),
    }
}

/// The tests hold thousands of sockets; many shells allow 1,024. What is inherited by all children is set here once.
pub(crate) fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.unwrap_or(DESCRIPTORS_MAX).min(DESCRIPTORS_MAX);
    if limit.current.is_some_and(|current| current < wanted) {
        let raised = Rlimit { current: Some(wanted), maximum: limit.maximum };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            eprintln!("xtask: open files stay limited to {:?}: {error}", limit.current);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(words: &[&str]) -> Vec<String> {
        words.iter().map(|&word| word.to_owned()).collect()
    }

    fn names(words: &[&str]) -> Vec<&'static str> {
        let options = parse(&strings(words)).unwrap();
        select(&options).unwrap().iter().map(|stage| stage.name).collect()
    }

    #[test]
    fn without_arguments_every_stage_runs() {
        assert_eq!(names(&[]).len(), STAGES.len());
    }

    #[test]
    fn a_stage_brings_what_it_needs_in_order() {
        assert_eq!(names(&["--stage", "e2e"]), ["setup", "broker", "sensor", "e2e"]);
        assert_eq!(names(&["--stage", "tidy", "--stage", "fmt"]), ["fmt", "tidy"]);
    }

    #[test]
    fn a_filter_runs_only_tests() {
        assert_eq!(names(&["retained"]), ["setup", "crates", "broker", "sensor", "e2e"]);
    }

    #[test]
    fn wrong_arguments_are_named() {
        assert!(parse(&strings(&["--fast"])).unwrap_err().to_string().contains("--fast"));
        let options = parse(&strings(&["--stage", "tody"])).unwrap();
        assert!(select(&options).err().unwrap().to_string().contains("tidy"));
    }
}
