//! What Helm does with the chart where there is a Kubernetes: passwords and secrets that were drawn stay as they are (`lookup`), and
//! whoever installs it is told what to do next (`NOTES.txt`). Helm asks a server that knows a few objects and nothing else.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use e2e_tests::process::fresh_dir;
use serde_json::{Value, json};

use crate::chart::{helm, render};
use crate::manifest::{documents, text};
use crate::repository;

/// The kinds of objects that the server knows, by their group.
const KINDS: [(&str, &[(&str, &str)]); 5] = [
    (
        "",
        &[
            ("secrets", "Secret"),
            ("services", "Service"),
            ("configmaps", "ConfigMap"),
            ("serviceaccounts", "ServiceAccount"),
            ("pods", "Pod"),
        ],
    ),
    ("apps", &[("statefulsets", "StatefulSet")]),
    ("batch", &[("jobs", "Job")]),
    ("policy", &[("poddisruptionbudgets", "PodDisruptionBudget")]),
    ("networking.k8s.io", &[("networkpolicies", "NetworkPolicy"), ("ingresses", "Ingress")]),
];

/// What the server says of itself, by path.
fn discovery() -> Vec<(String, Value)> {
    let kinds = KINDS.iter().map(|(group, kinds)| {
        let (path, version) = match *group {
            "" => ("/api/v1".to_owned(), "v1".to_owned()),
            group => (format!("/apis/{group}/v1"), format!("{group}/v1")),
        };
        let one = |(name, kind): &(&str, &str)| {
            json!({ "name": name, "singularName": "", "namespaced": true, "kind": kind, "verbs": ["get"] })
        };
        let resources: Vec<Value> = kinds.iter().map(one).collect();
        let list = json!({ "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": resources });
        (path, list)
    });
    let mut all: Vec<(String, Value)> = kinds.collect();
    let groups = KINDS.iter().map(|(group, _)| *group).filter(|group| !group.is_empty());
    let groups = groups.map(|group| {
        let version = json!({ "groupVersion": format!("{group}/v1"), "version": "v1" });
        json!({ "name": group, "versions": [version], "preferredVersion": version })
    });
    let groups: Vec<Value> = groups.collect();
    let version = json!({ "major": "1", "minor": "33", "gitVersion": "v1.33.0" });
    all.push(("/version".to_owned(), version));
    all.push(("/api".to_owned(), json!({ "kind": "APIVersions", "versions": ["v1"] })));
    all.push(("/apis".to_owned(), json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups })));
    all
}

/// The Secrets of a namespace, at a port that speaks as Kubernetes does.
struct Api {
    dir: PathBuf,
    /// The file by which Helm finds it.
    config: String,
}

impl Api {
    /// With Secrets of these names, each with one key.
    fn new(secrets: &[(&str, &str, &str)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let object = |(name, key, value): &(&str, &str, &str)| {
            let path = format!("/api/v1/namespaces/iot/secrets/{name}");
            let metadata = json!({ "name": name, "namespace": "iot" });
            let data = json!({ *key: STANDARD.encode(value) });
            (path, json!({ "apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data }))
        };
        let mut objects: Vec<(String, Value)> = secrets.iter().map(object).collect();
        objects.extend(discovery());
        let objects = Arc::new(objects);
        // It ends with the process.
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let objects = Arc::clone(&objects);
                thread::spawn(move || answer(stream, &objects));
            }
        });
        let dir = fresh_dir();
        let config = dir.join("kubeconfig");
        let cluster = json!({ "name": "here", "cluster": { "server": format!("http://{address}") } });
        let context = json!({ "name": "here", "context": { "cluster": "here", "user": "nobody" } });
        let all = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "here",
            "clusters": [cluster], "contexts": [context], "users": [{ "name": "nobody", "user": {} }],
        });
        fs::write(&config, all.to_string()).unwrap();
        Self { config: config.display().to_string(), dir }
    }

    /// What whoever installs the chart is told.
    fn notes(&self, helm: &Path, values: &[&str]) -> String {
        let mut command = Command::new(helm);
        command.args(["install", "quelea"]).arg(repository("helm/quelea")).args(["--namespace", "iot"]);
        command.args(["--dry-run=client", "--disable-openapi-validation", "--kubeconfig", &self.config]);
        command.args(values.iter().flat_map(|value| ["--set", value]));
        let done = command.output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let said = String::from_utf8(done.stdout).unwrap();
        said.split_once("\nNOTES:\n").expect("notes").1.to_owned()
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.dir));
    }
}

/// Answers one request, and closes.
fn answer(mut stream: TcpStream, objects: &[(String, Value)]) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    let request = lines.next().unwrap_or_default();
    lines.by_ref().take_while(|line| !line.is_empty()).for_each(drop);
    let path = request.split(' ').nth(1).unwrap_or_default().split('?').next().unwrap_or_default();
    let found = objects.iter().find(|(known, _)| known == path);
    let (line, body) = match found {
        Some((_, object)) => ("200 OK", object.clone()),
        None => {
            let nothing = json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404 });
            ("404 Not Found", nothing)
        }
    };
    let body = body.to_string();
    let head =
        format!("HTTP/1.1 {line}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    // Whoever has gone does not hear it.
    drop(stream.write_all(format!("{head}Connection: close\r\n\r\n{body}").as_bytes()));
}

#[test]
fn an_upgrade_keeps_what_was_drawn_unless_another_is_given() {
    let Some(helm) = helm() else { return };
    let drawn = |api: &Api, more: &[&str]| {
        let arguments = [&["--dry-run=server", "--kubeconfig", &api.config], more].concat();
        let done = render(&helm, &arguments);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let objects = documents(&String::from_utf8(done.stdout).unwrap());
        ["password", "secret"].map(|key| {
            let mut secrets = objects.iter().filter(|object| object["kind"] == "Secret");
            let secret = secrets.find(|object| object["stringData"].get(key).is_some());
            text(&secret.expect("a Secret with it")["stringData"][key])
        })
    };
    let before = Api::new(&[
        ("quelea-user", "password", "the password of before"),
        ("quelea-cluster", "secret", "the secret of before, with 32 characters or more"),
    ]);
    let kept = ["the password of before", "the secret of before, with 32 characters or more"];
    assert_eq!(drawn(&before, &[]), kept);
    assert_eq!(drawn(&before, &["--set", "auth.password=another"]), ["another", kept[1]]);
    // One of another release counts for nothing, and a new release has nothing before.
    let others = Api::new(&[("other-user", "password", "of another release")]);
    let (one, other) = (drawn(&others, &[]), drawn(&others, &[]));
    assert!(one[0].len() == 32 && one[1].len() == 48, "{one:?}");
    assert!(one[0] != other[0] && one[1] != other[1], "each is drawn");
}

#[test]
fn whoever_installs_it_is_told_what_to_do_next_and_what_is_unwise() {
    let Some(helm) = helm() else { return };
    let api = Api::new(&[]);
    let notes = api.notes(&helm, &[]);
    for said in [
        "quelea: 3 nodes in namespace iot.",
        "kubectl -n iot rollout status statefulset/quelea",
        "kubectl -n iot exec quelea-0 -c quelea -- quelea ctl status",
        "quelea.iot.svc.cluster.local:\n\n    mqtt (tcp): 1883\n",
        "as user quelea",
        "helm test quelea --namespace iot",
        "kubectl -n iot get secret quelea-user -o jsonpath='{.data.password}'",
    ] {
        assert!(notes.contains(said), "no {said:?} in {notes}");
    }
    assert!(!notes.contains("WARNING"), "{notes}");
    assert!(notes.contains("To remove nodes, have a smaller replicaCount"), "{notes}");
    let notes = api.notes(&helm, &["scaleDown.enabled=false"]);
    assert!(notes.contains("have the last ones leave before replicaCount becomes smaller"), "{notes}");
    let unwise = [
        ("replicaCount=4", "an even number of nodes survives the death of no more"),
        ("replicaCount=1,persistence.enabled=false", "everything is lost when the pod is made anew"),
        (
            "networkPolicy.enabled=false",
            "everybody in this Kubernetes cluster reaches the port for other nodes",
        ),
    ];
    for (values, said) in unwise {
        let notes = api.notes(&helm, &[values]);
        assert!(notes.contains("WARNING: ") && notes.contains(said), "{values}: {notes}");
    }
    let notes = api.notes(&helm, &["auth.existingSecret=users"]);
    assert!(!notes.contains("get secret"), "nobody knows those passwords here: {notes}");
    assert!(notes.contains("`helm test` has nothing to run here"), "{notes}");
}
