//! The chart, rendered by `helm`: the golden manifests are what it makes of the values in `ci/`. Where there is no Go that could
//! build `helm`, the golden manifests are all that there is. What is refused is in `refused.rs`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::manifest::{Release, documents, list};
use crate::{repository, skipped};

/// The version of Kubernetes that the manifests are for.
const KUBERNETES: &str = "1.33.0";
/// With this in the environment the golden manifests are written anew.
const UPDATE: &str = "QUELEA_UPDATE_GOLDEN";

/// The Go that `helm` wants, as 1.N: the setup builds it where there is one.
const GO: u32 = 26;

/// `helm`, where it is or could be; elsewhere it is said that the golden manifests stand alone.
pub(crate) fn helm() -> Option<PathBuf> {
    let tools = std::env::var_os("QUELEA_TEST_TOOLS").map(PathBuf::from);
    let helm = tools.unwrap_or_else(|| repository("target/test-tools")).join("go/bin/helm");
    if helm.is_file() {
        return Some(helm);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::env::split_paths(&path).chain(["/usr/local/go/bin".into()]);
    if places.any(|dir| version(&dir.join("go")).is_some_and(|minor| minor >= GO)) {
        skipped("there is Go, but no helm below QUELEA_TEST_TOOLS: cargo xtask test --stage setup");
    } else {
        println!("without Go 1.{GO} there is no helm: the golden manifests are taken for what it makes");
    }
    None
}

/// The N of a Go that says `go version go1.N.M linux/amd64`.
fn version(go: &Path) -> Option<u32> {
    let said = Command::new(go).arg("version").output().ok()?;
    let said = String::from_utf8_lossy(&said.stdout);
    said.split("go1.").nth(1)?.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[test]
fn helm_is_missed_where_the_setup_builds_it() {
    let setup = fs::read_to_string(repository("xtask/src/stage/setup/helm.rs")).unwrap();
    assert!(setup.contains(&format!("const GO: u32 = {GO};")), "the setup wants another Go");
}

/// Renders the chart, with more arguments.
pub(crate) fn render(helm: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(helm);
    command.arg("template");
    if !arguments.contains(&"--name-template") {
        command.arg("quelea");
    }
    command.arg(repository("helm/quelea"));
    if !arguments.contains(&"--namespace") {
        command.args(["--namespace", "iot"]);
    }
    command.args(["--kube-version", KUBERNETES]).args(arguments);
    command.output().unwrap()
}

/// The sets of values, by name.
pub(crate) fn cases() -> Vec<(String, PathBuf)> {
    let folder = repository("helm/quelea/ci");
    let mut cases: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            let name = path.file_stem().expect("a name").to_string_lossy().replace("-values", "");
            (name, path)
        })
        .collect();
    cases.sort();
    assert!(cases.len() >= 4, "{cases:?}");
    cases
}

#[test]
fn the_golden_manifests_are_what_the_chart_says() {
    let Some(helm) = helm() else { return };
    for (name, values) in cases() {
        let done = render(&helm, &["--values", values.to_str().unwrap()]);
        assert!(done.status.success(), "{name}: {}", String::from_utf8_lossy(&done.stderr));
        let golden = repository("tests/deploy/golden").join(&name).with_extension("yaml");
        if std::env::var_os(UPDATE).is_some() {
            fs::write(&golden, &done.stdout).unwrap();
        }
        let before = fs::read_to_string(&golden).unwrap_or_default();
        let now = String::from_utf8(done.stdout).unwrap();
        assert!(before == now, "{name} is made otherwise now: set {UPDATE}=1 and look at the difference");
    }
}

#[test]
fn helm_finds_nothing_wrong_with_the_chart() {
    let Some(helm) = helm() else { return };
    for (name, values) in cases() {
        let mut command = Command::new(&helm);
        command.args(["lint", "--strict", "--kube-version", KUBERNETES, "--values"]).arg(values);
        let done = command.arg(repository("helm/quelea")).output().unwrap();
        let said = String::from_utf8_lossy(&done.stdout);
        assert!(done.status.success() && !said.contains("WARNING"), "{name}: {said}");
    }
}

#[test]
fn a_password_that_nobody_gave_is_drawn() {
    let Some(helm) = helm() else { return };
    let drawn = || {
        let done = render(&helm, &[]);
        let objects = documents(&String::from_utf8(done.stdout).unwrap());
        let secret = objects
            .iter()
            .find(|object| object["kind"] == "Secret" && object["metadata"]["name"] == "quelea-user");
        let secret = secret.expect("a Secret");
        secret["stringData"]["password"].as_str().expect("a password").to_owned()
    };
    let (one, other) = (drawn(), drawn());
    assert!(one.len() == 32 && one != other, "{one} {other}");
}

#[test]
fn every_value_has_a_comment_and_a_place_in_the_schema() {
    let text = fs::read_to_string(repository("helm/quelea/values.yaml")).unwrap();
    let schema: Value =
        serde_json::from_slice(&fs::read(repository("helm/quelea/values.schema.json")).unwrap()).unwrap();
    let values = documents(&text).remove(0);
    in_schema("", &values, &schema);
    let lines: Vec<&str> = text.lines().collect();
    for (at, line) in lines.iter().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let indent = line.len() - line.trim_start().len();
        if !line.trim_start().starts_with('#') {
            let before = lines[at - 1];
            assert!(before.trim_start().starts_with("# "), "line {}: {line:?} has no comment", at + 1);
            assert_eq!(before.len() - before.trim_start().len(), indent, "line {}", at);
        }
    }
}

/// Each key of the values is named by the schema, or one of any number of keys.
fn in_schema(path: &str, values: &Value, schema: &Value) {
    let (Some(values), Some(named)) = (values.as_object(), schema["properties"].as_object()) else { return };
    assert_eq!(schema["additionalProperties"], false, "{path} takes any key");
    for (key, value) in values {
        let path = format!("{path}.{key}");
        in_schema(&path, value, named.get(key).unwrap_or_else(|| panic!("{path} is not in the schema")));
    }
}

#[test]
fn alerts_and_dashboards_are_those_of_deploy() {
    for (copies, originals) in [
        ("helm/quelea/files/rules", "deploy/prometheus/rules"),
        ("helm/quelea/files/dashboards", "deploy/grafana/dashboards"),
    ] {
        let files = |folder: &str| -> BTreeMap<OsString, String> {
            let entries = fs::read_dir(repository(folder)).unwrap().map(Result::unwrap);
            entries.map(|entry| (entry.file_name(), fs::read_to_string(entry.path()).unwrap())).collect()
        };
        let (copies_are, originals_are) = (files(copies), files(originals));
        assert!(!originals_are.is_empty(), "{originals}");
        assert!(copies_are == originals_are, "copy {originals} to {copies}");
    }
}

#[test]
fn a_node_is_ready_by_readyz_and_alive_by_healthz() {
    for (name, _) in cases() {
        let release = Release::golden(&name);
        let set = release.set();
        let main = &set["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(main["readinessProbe"]["httpGet"]["path"], "/readyz", "{name}");
        // What other nodes do restarts nobody.
        for probe in ["livenessProbe", "startupProbe"] {
            assert_eq!(main[probe]["httpGet"]["path"], "/healthz", "{name}");
        }
        assert_eq!(set["spec"]["podManagementPolicy"], "Parallel", "{name}");
        let services: Vec<&Value> = release.of("Service").collect();
        let unready: Vec<_> =
            services.iter().filter(|service| service["spec"]["publishNotReadyAddresses"] == true).collect();
        assert!(unready.len() == 1 && unready[0]["spec"]["clusterIP"] == "None", "{name}");
        assert_eq!(unready[0]["metadata"]["name"], set["spec"]["serviceName"], "{name}");
        let ports: Vec<&Value> = list(&main["ports"]).iter().map(|port| &port["name"]).collect();
        for service in services {
            for port in list(&service["spec"]["ports"]) {
                assert!(ports.contains(&&port["targetPort"]), "{name}: no port {port}");
            }
        }
    }
}
