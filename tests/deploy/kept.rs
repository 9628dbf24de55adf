//! What the chart finds in a Kubernetes before it makes it anew (`lookup`): passwords and secrets that were drawn stay as they are.
//! Helm asks a server that knows a few objects and nothing else. It decides nothing about what is right.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use e2e_tests::process::fresh_dir;
use serde_json::{Value, json};

use crate::chart::{helm, render};
use crate::manifest::{documents, text};

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
        let secret = json!({ "name": "secrets", "singularName": "secret", "namespaced": true, "kind": "Secret", "verbs": ["get"] });
        let kinds = json!({ "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "v1", "resources": [secret] });
        let mut objects: Vec<(String, Value)> = secrets.iter().map(object).collect();
        objects.push(("/api/v1".to_owned(), kinds));
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
