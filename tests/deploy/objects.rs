//! Every object of the golden manifests is one that Kubernetes knows: read with its types and written again it is the same, so
//! that no field is misspelled or of the wrong kind. For the objects of others there are small types here.

use std::fs;
use std::process::Command;

use e2e_tests::process;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::chart::cases;
use crate::manifest::{Release, list, text};

/// Metadata, as all objects have it.
type Metadata = k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
type LabelSelector = k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

/// An object of another API, by what this chart uses of it.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Custom<S> {
    api_version: String,
    kind: String,
    metadata: Metadata,
    spec: S,
}

/// `monitoring.coreos.com/v1`
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ServiceMonitor {
    selector: LabelSelector,
    namespace_selector: Namespaces,
    endpoints: Vec<Endpoint>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Namespaces {
    match_names: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Endpoint {
    port: String,
    path: String,
    interval: String,
    scrape_timeout: String,
    relabelings: Vec<Relabeling>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Relabeling {
    target_label: String,
    replacement: String,
}

/// `monitoring.coreos.com/v1`
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PrometheusRule {
    groups: Vec<Group>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    interval: Option<String>,
    rules: Vec<Rule>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    #[serde(skip_serializing_if = "Option::is_none")]
    alert: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<String>,
    expr: String,
    #[serde(rename = "for", skip_serializing_if = "Option::is_none")]
    holds: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    keep_firing_for: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<std::collections::BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    annotations: Option<std::collections::BTreeMap<String, String>>,
}

/// `cert-manager.io/v1`
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Certificate {
    secret_name: String,
    duration: String,
    renew_before: String,
    private_key: PrivateKey,
    usages: Vec<String>,
    dns_names: Vec<String>,
    issuer_ref: Issuer,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PrivateKey {
    algorithm: String,
    size: u32,
    rotation_policy: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Issuer {
    name: String,
    kind: String,
    group: String,
}

fn again<T: DeserializeOwned + Serialize>(object: &Value) -> Result<Value, serde_json::Error> {
    serde_json::to_value(serde_json::from_value::<T>(object.clone())?)
}

/// The object as its type understands it.
pub(crate) fn understood(object: &Value) -> Result<Value, serde_json::Error> {
    let kind = format!("{} {}", text(&object["apiVersion"]), text(&object["kind"]));
    match kind.as_str() {
        "apps/v1 StatefulSet" => again::<StatefulSet>(object),
        "batch/v1 Job" => again::<Job>(object),
        "v1 ConfigMap" => again::<ConfigMap>(object),
        "v1 Pod" => again::<Pod>(object),
        "v1 Secret" => again::<Secret>(object),
        "v1 Service" => again::<Service>(object),
        "v1 ServiceAccount" => again::<ServiceAccount>(object),
        "networking.k8s.io/v1 Ingress" => again::<Ingress>(object),
        "networking.k8s.io/v1 NetworkPolicy" => again::<NetworkPolicy>(object),
        "policy/v1 PodDisruptionBudget" => again::<PodDisruptionBudget>(object),
        "monitoring.coreos.com/v1 ServiceMonitor" => again::<Custom<ServiceMonitor>>(object),
        "monitoring.coreos.com/v1 PrometheusRule" => again::<Custom<PrometheusRule>>(object),
        "cert-manager.io/v1 Certificate" => again::<Custom<Certificate>>(object),
        other => panic!("nobody here knows {other}"),
    }
}

const GOLDEN: [&str; 5] = ["default", "single", "everything", "processes", "certificates"];

#[test]
fn every_object_is_what_its_type_says() {
    let mut known = GOLDEN;
    known.sort_unstable();
    let cases: Vec<String> = cases().into_iter().map(|(name, _)| name).collect();
    assert_eq!(cases, known, "all golden manifests are looked at");
    for name in GOLDEN {
        let release = Release::golden(name);
        assert!(release.objects().len() >= 5, "{name}");
        for object in release.objects() {
            let understood = understood(object).unwrap_or_else(|error| panic!("{name}: {error}: {object:#}"));
            assert_eq!(&understood, object, "{name}");
        }
    }
}

#[test]
fn a_field_that_is_misspelled_or_wrong_is_noticed() {
    let release = Release::golden("default");
    let changed = |change: fn(&mut Value)| {
        let mut set = release.set().clone();
        change(&mut set);
        understood(&set).is_ok_and(|understood| understood == set)
    };
    assert!(changed(|_| {}));
    assert!(!changed(|set| set["spec"]["replica"] = 3.into()));
    assert!(!changed(|set| set["spec"]["replicas"] = "3".into()));
    assert!(!changed(|set| {
        set["spec"]["template"]["spec"]["containers"][0]["livenessProbe"]["httpGet"]["pathe"] = "/x".into();
    }));
}

#[test]
fn every_configuration_is_one_that_the_broker_takes() {
    let dir = process::fresh_dir();
    for name in GOLDEN {
        let release = Release::golden(name);
        let fullname = text(&release.set()["metadata"]["name"]);
        let file = dir.join("quelea.toml");
        fs::write(&file, text(&release.object("ConfigMap", &fullname)["data"]["quelea.toml"])).unwrap();
        let main = &release.set()["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(main["env"][1]["name"], "QUELEA__CLUSTER__ADVERTISE");
        let mut command = Command::new(process::binary());
        command.args(["config", "show", "--config"]).arg(&file);
        command.env(
            "QUELEA__CLUSTER__ADVERTISE",
            text(&main["env"][1]["value"]).replace("$(", "").replace(')', ""),
        );
        let done = command.output().unwrap();
        assert!(done.status.success(), "{name}: {}", String::from_utf8_lossy(&done.stderr));
    }
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn everything_that_a_pod_refers_to_is_there() {
    for name in GOLDEN {
        let release = Release::golden(name);
        let template = &release.set()["spec"]["template"];
        let spec = &template["spec"];
        let mut volumes: Vec<String> =
            list(&spec["volumes"]).iter().map(|volume| text(&volume["name"])).collect();
        let claims = list(&release.set()["spec"]["volumeClaimTemplates"]).iter();
        volumes.extend(claims.map(|claim| text(&claim["metadata"]["name"])));
        for container in list(&spec["containers"]).iter().chain(list(&spec["initContainers"])) {
            for mount in list(&container["volumeMounts"]) {
                assert!(volumes.contains(&text(&mount["name"])), "{name}: {mount}");
            }
        }
        let own = text(&release.set()["metadata"]["name"]);
        for volume in list(&spec["volumes"]) {
            for (kind, object) in
                [("ConfigMap", &volume["configMap"]["name"]), ("Secret", &volume["secret"]["secretName"])]
            {
                // Certificates are made by others, and so is what values name.
                let ours = object.as_str().filter(|object| object.starts_with(&own));
                if let Some(object) = ours.filter(|object| !object.ends_with("-tls")) {
                    release.object(kind, object);
                }
            }
        }
        selects(&release, &template["metadata"]["labels"], name);
        // Where a machine takes one node, it takes a pod of a test all the same.
        for rule in [
            "requiredDuringSchedulingIgnoredDuringExecution",
            "preferredDuringSchedulingIgnoredDuringExecution",
        ] {
            for term in list(&spec["affinity"]["podAntiAffinity"][rule]) {
                let term = term.get("podAffinityTerm").unwrap_or(term);
                let labels = &term["labelSelector"]["matchLabels"];
                assert_eq!(labels["app.kubernetes.io/component"], "node", "{name}");
            }
        }
    }
}

/// Whatever selects pods selects these.
fn selects(release: &Release, labels: &Value, name: &str) {
    let mut selectors: Vec<&Value> =
        release.of("Service").map(|service| &service["spec"]["selector"]).collect();
    selectors.extend(release.of("StatefulSet").map(|set| &set["spec"]["selector"]["matchLabels"]));
    selectors.extend(release.of("PodDisruptionBudget").map(|pdb| &pdb["spec"]["selector"]["matchLabels"]));
    selectors.extend(release.of("NetworkPolicy").map(|policy| &policy["spec"]["podSelector"]["matchLabels"]));
    for selector in selectors {
        for (key, value) in selector.as_object().expect("labels") {
            assert_eq!(&labels[key], value, "{name}: {key}");
        }
    }
}

/// Whether labels are those that are wanted, and maybe more.
fn has_labels(labels: &Value, wanted: &Value) -> bool {
    wanted.as_object().expect("labels").iter().all(|(key, value)| &labels[key] == value)
}

#[test]
fn whatever_leads_to_a_port_leads_to_one_that_is_there() {
    for name in GOLDEN {
        let release = Release::golden(name);
        let port = |service: &Value, port: &Value| {
            let mut ports = list(&service["spec"]["ports"]).iter();
            ports.find(|one| one["name"] == *port).unwrap_or_else(|| panic!("{name}: no port {port}")).clone()
        };
        for rule in release.of("Ingress").flat_map(|ingress| list(&ingress["spec"]["rules"])) {
            for path in list(&rule["http"]["paths"]) {
                let backend = &path["backend"]["service"];
                port(release.object("Service", &text(&backend["name"])), &backend["port"]["name"]);
            }
        }
        for monitor in release.of("ServiceMonitor").map(|monitor| &monitor["spec"]) {
            let wanted = &monitor["selector"]["matchLabels"];
            let is_found = |service: &&Value| has_labels(&service["metadata"]["labels"], wanted);
            let found: Vec<&Value> = release.of("Service").filter(is_found).collect();
            assert_eq!(found.len(), 1, "{name}: each node is asked once");
            assert_eq!(port(found[0], &monitor["endpoints"][0]["port"])["targetPort"], "http", "{name}");
        }
    }
}

#[test]
fn ports_for_nodes_are_reached_by_those_alone_that_they_are_for() {
    for name in GOLDEN {
        let release = Release::golden(name);
        let template = &release.set()["spec"]["template"];
        let ports: Vec<String> = list(&template["spec"]["containers"][0]["ports"])
            .iter()
            .map(|port| text(&port["name"]))
            .collect();
        let job = release.of("Job").next().map(|job| &job["spec"]["template"]);
        let own = [("cluster", "node", Some(template)), ("scale-down", "scale-down", job)];
        for policy in release.of("NetworkPolicy").map(|policy| &policy["spec"]) {
            assert_eq!(policy["policyTypes"], serde_json::json!(["Ingress"]), "{name}");
            let mut open: Vec<String> = Vec::new();
            for rule in list(&policy["ingress"]) {
                let names: Vec<String> =
                    list(&rule["ports"]).iter().map(|port| text(&port["port"])).collect();
                for (port, component, pod) in own {
                    if names.iter().any(|name| name == port) {
                        assert_eq!(names.len(), 1, "{name}");
                        let pod = pod.expect("somebody whom it is for");
                        is_for_one(rule, component, &pod["metadata"]["labels"], name);
                    }
                }
                open.extend(names);
            }
            let is_open = |port: &String| open.contains(port);
            assert!(
                ports.iter().all(is_open) && open.iter().all(|port| ports.contains(port)),
                "{name}: {open:?}"
            );
        }
    }
}

/// A rule lets in pods of one component, which those with these labels are.
#[track_caller]
fn is_for_one(rule: &Value, component: &str, labels: &Value, name: &str) {
    let [from] = list(&rule["from"]) else { panic!("{name}: {rule}") };
    assert_eq!(from.as_object().map(serde_json::Map::len), Some(1), "{name}: {from}");
    let wanted = &from["podSelector"]["matchLabels"];
    assert_eq!(wanted["app.kubernetes.io/component"], component, "{name}");
    assert!(has_labels(labels, wanted), "{name}: {component} itself");
}

#[test]
fn whatever_runs_beside_the_nodes_finds_machines_where_they_do() {
    for name in GOLDEN {
        let release = Release::golden(name);
        let nodes = &release.set()["spec"]["template"]["spec"];
        let jobs = release.of("Job").map(|job| &job["spec"]["template"]["spec"]);
        for pod in jobs.chain(release.of("Pod").map(|pod| &pod["spec"])) {
            for key in ["nodeSelector", "tolerations", "imagePullSecrets"] {
                assert_eq!(pod[key], nodes[key], "{name}: {key}");
            }
        }
    }
}

/// What Pod Security "restricted" wants of a pod and of each container of the chart's own.
fn is_restricted(pod: &Value) -> Result<(), String> {
    let wanted = |is: bool, what: &str| if is { Ok(()) } else { Err(what.to_owned()) };
    for key in ["hostNetwork", "hostPID", "hostIPC", "hostUsers"] {
        wanted(pod.get(key).is_none(), key)?;
    }
    let security = &pod["securityContext"];
    wanted(security["runAsNonRoot"] == true && security["runAsUser"] != 0, "runAsNonRoot")?;
    wanted(security["seccompProfile"]["type"] == "RuntimeDefault", "seccompProfile")?;
    for volume in list(&pod["volumes"]) {
        let known = ["configMap", "secret", "emptyDir"];
        wanted(known.iter().any(|kind| volume.get(kind).is_some()), &format!("{volume}"))?;
    }
    for container in list(&pod["containers"]).iter().chain(list(&pod["initContainers"])) {
        // One that values bring along.
        if container["image"] == "busybox" {
            continue;
        }
        let security = &container["securityContext"];
        wanted(security["allowPrivilegeEscalation"] == false, "allowPrivilegeEscalation")?;
        wanted(security["capabilities"] == serde_json::json!({ "drop": ["ALL"] }), "capabilities")?;
        wanted(security["readOnlyRootFilesystem"] == true, "readOnlyRootFilesystem")?;
        let ports = list(&container["ports"]);
        wanted(ports.iter().all(|port| port.get("hostPort").is_none()), "hostPort")?;
    }
    wanted(pod["automountServiceAccountToken"] == false, "automountServiceAccountToken")
}

#[test]
fn every_pod_meets_pod_security_restricted() {
    for name in GOLDEN {
        let release = Release::golden(name);
        let templates = ["StatefulSet", "Job"].into_iter().flat_map(|kind| release.of(kind));
        let pods = templates.map(|object| &object["spec"]["template"]["spec"]);
        for pod in pods.chain(release.of("Pod").map(|pod| &pod["spec"])) {
            is_restricted(pod).unwrap_or_else(|why| panic!("{name}: {why}"));
        }
        let mut changed = release.set()["spec"]["template"]["spec"].clone();
        changed["containers"][0]["securityContext"]["capabilities"]["add"] = "NET_ADMIN".into();
        assert!(is_restricted(&changed).is_err(), "{name}");
    }
}
