//! A Prometheus of the test's own, which scrapes every second. Its port is one that the kernel gives; it ends with the test.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use e2e_tests::process::{bound_to_us, fresh_dir, spawn};
use e2e_tests::{PATIENCE, pause};
use serde_json::Value;

use crate::repository;

/// A program in PATH.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())
}

/// What somebody's HTTP port answers: the body, of an answer that says 200.
pub(crate) fn get(address: &str, path: &str) -> String {
    let answer = try_get(address, path).unwrap_or_else(|error| panic!("{address}{path}: {error}"));
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    assert!(head.lines().next().is_some_and(|line| line.contains(" 200 ")), "{address}{path}: {answer}");
    body.to_owned()
}

/// The same with its head, or why there is none. Asked by HTTP/1.0, so that the body comes as it is.
fn try_get(address: &str, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

/// A Prometheus that runs.
pub(crate) struct Prometheus {
    child: Child,
    data: PathBuf,
    address: String,
}

impl Prometheus {
    /// Starts one that scrapes these nodes, with the rules of the repository.
    pub(crate) fn start(nodes: &[String]) -> Self {
        let data = fresh_dir();
        let rules = repository("deploy/prometheus/rules").canonicalize().unwrap();
        let config = format!(
            "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\n\
             rule_files: [\"{}/*.yml\"]\n\
             scrape_configs: [{{ job_name: quelea, static_configs: [{{ targets: {nodes:?} }}] }}]\n",
            rules.display()
        );
        fs::write(data.join("prometheus.yml"), config).unwrap();
        let mut command = bound_to_us(&program("prometheus").unwrap());
        command.arg(format!("--config.file={}", data.join("prometheus.yml").display()));
        command.arg(format!("--storage.tsdb.path={}", data.join("data").display()));
        command.arg("--web.listen-address=127.0.0.1:0");
        let mut child = spawn(command_quietly(command)).expect("prometheus can be run");
        let log = BufReader::new(child.stderr.take().unwrap());
        let address = address(log);
        let this = Self { child, data, address };
        this.until_ready();
        this
    }

    fn until_ready(&self) {
        let deadline = Instant::now() + PATIENCE;
        while !try_get(&self.address, "/-/ready").is_ok_and(|answer| answer.contains(" 200 ")) {
            assert!(Instant::now() < deadline, "prometheus does not become ready");
            pause(Duration::from_millis(50));
        }
    }

    fn ask(&self, path: &str) -> Value {
        let answer = get(&self.address, path);
        let answer: Value = serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer}"));
        assert_eq!(answer["status"], "success", "{path}: {answer}");
        answer["data"].clone()
    }

    /// The values of a query now, one of each series.
    pub(crate) fn query(&self, query: &str) -> Vec<f64> {
        let data = self.ask(&format!("/api/v1/query?query={}", escaped(query)));
        let series = data["result"].as_array().expect("a vector").iter();
        series.map(|series| series["value"][1].as_str().unwrap().parse().unwrap()).collect()
    }

    /// All rules, as Prometheus understands them.
    pub(crate) fn rules(&self) -> Vec<Value> {
        let data = self.ask("/api/v1/rules");
        let groups = data["groups"].as_array().unwrap().iter();
        groups.flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
    }

    /// Names of all metrics that there are.
    pub(crate) fn names(&self) -> BTreeSet<String> {
        let names = self.ask("/api/v1/label/__name__/values");
        names.as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        drop(fs::remove_dir_all(&self.data));
    }
}

fn command_quietly(mut command: std::process::Command) -> std::process::Command {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// The address that its log says; the rest of the log is read and forgotten.
fn address(mut log: BufReader<std::process::ChildStderr>) -> String {
    let mut said = String::new();
    loop {
        let mut line = String::new();
        assert!(log.read_line(&mut line).unwrap() > 0, "prometheus did not start:\n{said}");
        said += &line;
        let found = line.split_once("msg=\"Listening on\" address=").map(|(_, rest)| rest.trim().to_owned());
        if let Some(address) = found {
            std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
            return address;
        }
    }
}

fn escaped(query: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    query.bytes().map(escape).collect()
}
