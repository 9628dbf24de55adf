//! The chart, rendered by `helm`: the golden manifests are what it makes of the values in `ci/`, and what cannot work is refused
//! with a sentence. Where there is no Go of its version, and so no `helm`, the golden manifests are all that there is.

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

/// `helm`, where it is or could be; elsewhere it is said that the golden manifests stand alone.
pub(crate) fn helm() -> Option<PathBuf> {
    let tools = std::env::var_os("QUELEA_TEST_TOOLS").map(PathBuf::from);
    let helm = tools.unwrap_or_else(|| repository("target/test-tools")).join("go/bin/helm");
    if helm.is_file() {
        return Some(helm);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::env::split_paths(&path).chain(["/usr/local/go/bin".into()]);
    if places.any(|dir| dir.join("go").is_file()) {
        skipped("there is Go, but no helm below QUELEA_TEST_TOOLS: cargo xtask test --stage setup");
    } else {
        println!("without Go there is no helm: the golden manifests are taken for what it makes");
    }
    None
}

/// Renders the chart, with more arguments.
pub(crate) fn render(helm: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(helm);
    command.args(["template", "quelea"]).arg(repository("helm/quelea"));
    if !arguments.contains(&"--namespace") {
        command.args(["--namespace", "iot"]);
    }
    command.args(["--kube-version", KUBERNETES]).args(arguments);
    command.output().unwrap()
}

/// The sets of values, by name.
fn cases() -> Vec<(String, PathBuf)> {
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

/// Values, and what is said of them.
const REFUSED: [(&[&str], &str); 36] = [
    // The schema names the key.
    (&["replicas=3"], "'replicas' not allowed"),
    (&["replicaCount=0"], "/replicaCount"),
    (&["image.tagg=1"], "'tagg' not allowed"),
    (&["listeners.mqtt.prot=tcp"], "/listeners/mqtt"),
    (&["listeners.mqtt.protocol=udp"], "/listeners/mqtt/protocol"),
    (&["drain.timeoutSeconds=soon"], "/drain/timeoutSeconds"),
    (&["persistence.size=large"], "/persistence/size"),
    (&["cluster.profile=wan"], "/cluster/profile"),
    (&["config.mqtt=1"], "/config/mqtt"),
    (&["cluster.tls.enabled=true"], "/cluster/tls"),
    (&["scaleDown.timeoutSeconds=0"], "/scaleDown/timeoutSeconds"),
    // The checks say what is wrong.
    (&["replicaCount=2"], "two nodes survive the death of none"),
    (&["podDisruptionBudget.maxUnavailable=0"], "no machine could ever be emptied"),
    (&["podDisruptionBudget.maxUnavailable=2"], "survives the loss of one"),
    (&["terminationGracePeriodSeconds=30"], "nodes would be killed while they drain"),
    (&["drain.timeoutSeconds=60", "terminationGracePeriodSeconds=75"], "a stop may take 75 s"),
    (&["persistence.enabled=false"], "lost what the others count on"),
    (&["listeners.mqtts.enabled=true"], "there is no certificate"),
    (&["tls.certManager.enabled=true"], "nobody would issue"),
    (&["listeners.mqtt.proxyProtocol=true"], "no load balancer would be believed"),
    (&["listeners.mqtt.port=8080"], "taken by metrics and probes"),
    (&["listeners.mqtt.port=9884"], "taken by scaleDown.port"),
    (&["cluster.tls.certManager.enabled=true"], "cluster.tls.certManager.issuerRef.name is empty"),
    (
        &["cluster.tls.certManager.enabled=true", "cluster.tls.existingSecret=nodes"],
        "only one of them can count",
    ),
    (
        &["cluster.tls.existingSecret=nodes", "cluster.existingSecret=secret"],
        "know each other by one of them",
    ),
    (&["listeners.mqtt.enabled=false"], "nobody could connect"),
    (&["service.listeners={mqtts}"], "no listener that is enabled"),
    (&["ingress.enabled=true", "ingress.hosts={example.org}"], "no listener that is enabled"),
    (&["config.cluster.seeds=a"], "config.cluster.seeds is set by the chart itself"),
    (&["cluster.port=8080"], "cluster.port 8080 is taken"),
    (
        &["ingress.enabled=true", "ingress.listener=mqtt", "ingress.hosts={a.org}"],
        "an Ingress passes on HTTP alone",
    ),
    (&["listeners.ws.enabled=true", "ingress.enabled=true"], "ingress.hosts is empty"),
    (
        &["externalService.enabled=true"],
        "externalService.listeners names mqtts, which is no listener that is enabled",
    ),
    (
        &["tls.certManager.enabled=true", "tls.existingSecret=own"],
        "tls.existingSecret and tls.certManager.enabled are both set",
    ),
    (
        &["listeners.more.enabled=true", "listeners.more.protocol=tcp", "listeners.more.port=1883"],
        "taken by listener more",
    ),
    (&["acl.rules=allow all #", "acl.existingConfigMap=rules"], "only one of them can count"),
];

#[test]
fn what_cannot_work_is_refused_with_a_sentence() {
    let Some(helm) = helm() else { return };
    for (values, said) in REFUSED {
        let arguments: Vec<&str> = values.iter().flat_map(|value| ["--set", value]).collect();
        let done = render(&helm, &arguments);
        let error = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(!done.status.success() && error.contains(said), "{values:?}: {error}");
    }
    let allowed = render(&helm, &["--set", "replicaCount=2,allowTwoReplicas=true"]);
    assert!(allowed.status.success(), "{}", String::from_utf8_lossy(&allowed.stderr));
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
    // Below these, keys are Kubernetes' own.
    let foreign = ["resources:", "podSecurityContext:", "securityContext:", "    labels:"];
    let mut inside_foreign = None;
    for (at, line) in lines.iter().enumerate() {
        let indent = line.len() - line.trim_start().len();
        if inside_foreign.is_some_and(|outer| indent > outer) || line.trim().is_empty() {
            continue;
        }
        inside_foreign = foreign.iter().any(|key| line.starts_with(key)).then_some(indent);
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
