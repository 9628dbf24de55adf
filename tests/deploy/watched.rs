//! What compose watches its nodes with: Prometheus runs with the files that it mounts, and Grafana, which Debian has not, is told of
//! paths and names that the file has. The queries of dashboards and rules are tested in `operate/`.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;

use e2e_tests::PATIENCE;
use serde_json::Value;

use crate::compose::Composed;
use crate::lan::run;
use crate::manifest::{documents, list, text};
use crate::{repository, skipped, until};

/// What Prometheus says to a question of its API. By HTTP/1.0 the answer comes in one piece.
fn ask(address: &str, path: &str) -> Option<Value> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: x\r\n\r\n").as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (_, body) = answer.split_once("\r\n\r\n")?;
    let said: Value = serde_json::from_str(body).ok()?;
    (said["status"] == "success").then(|| said["data"].clone())
}

#[test]
fn compose_s_prometheus_hears_of_all_nodes() {
    if run("prometheus", &["--version"]).is_err() {
        return skipped("prometheus is missing: apt-get install prometheus");
    }
    let Some(mut composed) = Composed::up() else { return };
    let (mut prometheus, address) = composed.prometheus();
    let up = until("word from Prometheus of three nodes that are up", || {
        assert!(!prometheus.has_ended(), "{}", prometheus.log());
        let data = ask(&address, "/api/v1/query?query=up%7Bjob%3D%22quelea%22%7D%20%3D%3D%201")?;
        let series = data["result"].as_array()?;
        (series.len() == 3).then(|| series.clone())
    });
    let names = up.iter().map(|series| series["metric"]["instance"].as_str().unwrap().to_owned());
    let mut names: Vec<_> = names.collect();
    names.sort();
    assert_eq!(names, ["quelea-0:8080", "quelea-1:8080", "quelea-2:8080"]);
    let rules = until("rules", || ask(&address, "/api/v1/rules"));
    let files: BTreeSet<_> = list(&rules["groups"]).iter().map(|group| text(&group["file"])).collect();
    let all =
        ["quelea-alerts.yml", "quelea-recording.yml"].map(|name| format!("/etc/prometheus/rules/{name}"));
    assert_eq!(files, BTreeSet::from(all));
}

#[test]
fn grafana_is_told_of_what_compose_has() {
    let read = |path: &str| documents(&fs::read_to_string(repository(path)).unwrap()).remove(0);
    let compose = read("deploy/compose.yaml");
    let grafana = list(&compose["services"]["grafana"]["volumes"]).iter().map(text);
    let mounts: Vec<(String, String)> = grafana
        .map(|mount| {
            let mut parts = mount.split(':').map(str::to_owned);
            (parts.next().unwrap(), parts.next().unwrap())
        })
        .collect();
    let mounted =
        |target: &str| mounts.iter().find(|(_, place)| place == target).map(|(from, _)| from.as_str());
    assert_eq!(mounted("/etc/grafana/provisioning"), Some("./grafana/provisioning"));
    let provisioning = repository("deploy/grafana/provisioning");
    let one = |folder: &str| {
        let mut files = fs::read_dir(provisioning.join(folder)).unwrap().map(|entry| entry.unwrap().path());
        let file = files.next().expect("one file");
        assert!(files.next().is_none(), "one file in {folder}");
        documents(&fs::read_to_string(file).unwrap()).remove(0)
    };
    let dashboards = one("dashboards");
    let path = text(&dashboards["providers"][0]["options"]["path"]);
    assert_eq!(mounted(&path), Some("./grafana/dashboards"), "{path}");
    assert!(fs::read_dir(repository("deploy/grafana/dashboards")).unwrap().count() > 0);
    let url = text(&one("datasources")["datasources"][0]["url"]);
    let service = url.strip_prefix("http://").and_then(|rest| rest.strip_suffix(":9090")).unwrap();
    assert!(compose["services"].get(service).is_some(), "{url}");
}
