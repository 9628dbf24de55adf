//! What a node says before it belongs to a cluster, and that it joins the one that an operator names.

use std::process::{Child, Stdio};
use std::time::Duration;

use e2e_tests::dev::alone;
use e2e_tests::pause;
use e2e_tests::process::{binary, bound_to_us, fresh_dir, spawn};

use crate::ctl::{get, node, refuses, run, says, status, until};
use crate::nodes::free_ports;

/// A node that was told nothing of a cluster, with its ports.
pub(crate) struct Waiting {
    child: Child,
    data: std::path::PathBuf,
    pub(crate) admin: String,
    pub(crate) http: String,
    cluster: String,
}

impl Waiting {
    fn start(name: &str, more: &[&str]) -> Self {
        let cluster = format!("127.0.0.1:{}", free_ports(1)[0]);
        Self::start_at(&cluster, name, more, &[])
    }

    /// A node with its port for others there.
    pub(crate) fn start_at(cluster: &str, name: &str, more: &[&str], environment: &[(&str, &str)]) -> Self {
        let data = fresh_dir();
        let ports = free_ports(3).into_iter().map(|port| format!("127.0.0.1:{port}"));
        let [mqtt, http, admin] = <[String; 3]>::try_from(ports.collect::<Vec<_>>()).unwrap();
        let cluster = cluster.to_owned();
        let mut command = bound_to_us(&binary());
        command
            .args(["run", "--node-name", name, "--mqtt", &mqtt, "--http", &http, "--admin", &admin])
            .args(["--cluster", &cluster, "--data-dir"])
            .arg(&data)
            .args(more)
            .env("QUELEA__CLUSTER__PROFILE", "zones")
            .envs(environment.iter().copied())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Self { child: spawn(command).unwrap(), data, admin, http, cluster }
    }

    pub(crate) fn is_ready(&self) -> bool {
        get(&self.http, "/readyz").is_some_and(|answer| answer.starts_with("HTTP/1.1 200"))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        drop(std::fs::remove_dir_all(&self.data));
    }
}

#[test]
fn a_node_that_waits_says_for_what_and_joins_the_cluster_that_it_is_told_of() {
    let _alone = alone();
    let founder = Waiting::start("first", &["--bootstrap"]);
    until("founder", || founder.is_ready().then_some(()));
    let second = Waiting::start("second", &[]);
    let answer = until("word of what it waits for", || {
        get(&second.http, "/readyz").filter(|answer| answer.contains("waits for a cluster"))
    });
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("quelea ctl join"), "{answer}");
    assert!(get(&second.http, "/healthz").unwrap().starts_with("HTTP/1.1 200"));
    assert!(get(&second.http, "/metrics").unwrap().contains("\nquelea_uptime_seconds "));
    assert!(says(&second.admin, &["status"]).contains("belongs to no cluster yet"));
    let (code, why) = refuses(&second.admin, &["nodes"]);
    assert!(code == 1 && why.contains("waits for a cluster"), "{code}: {why}");
    for bad in ["nowhere", "127.0.0.1:0", "a b:1"] {
        let (code, why) = refuses(&second.admin, &["join", "--via", bad]);
        assert!(code == 1 && why.contains(bad) && why.contains("HOST:PORT"), "{code}: {why}");
    }
    pause(Duration::from_millis(500));
    assert!(!second.is_ready(), "it was told of nobody");

    says(&second.admin, &["join", "--via", &founder.cluster]);
    until("join", || second.is_ready().then_some(()));
    let told = status(&second.admin);
    assert_eq!(told["cluster"]["id"], status(&founder.admin)["cluster"]["id"]);
    assert_eq!(node(&told, "first")["number"], 1);
    let (code, why) = refuses(&second.admin, &["join", "--via", &founder.cluster]);
    assert!(code == 1 && why.contains(told["cluster"]["id"].as_str().unwrap()), "{code}: {why}");
    // Nobody listens at a port that was just given back.
    let nobody = format!("127.0.0.1:{}", free_ports(1)[0]);
    assert_eq!(run(&nobody, &["status"]).status.code(), Some(3));
}
