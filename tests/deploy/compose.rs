//! `compose.yaml` as processes: its nodes with their environment, its HAProxy with the file that it mounts. It changes no value but
//! addresses, and adds that nodes log more, and listen for WebSocket too.

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;

use crate::container::{Container, Image, USER, volume};
use crate::lan::Lan;
use crate::manifest::{documents, list, text};
use crate::{repository, until};

/// The one user's password.
pub(crate) const PASSWORD: &str = "of compose";
/// The network that the file gives its containers.
const SUBNET: &str = "10.177.0";

/// The nodes and HAProxy of the file.
pub(crate) struct Composed {
    file: Value,
    pub(crate) nodes: BTreeMap<String, (Container, String)>,
    pub(crate) balancer: Option<(Container, String)>,
    pub(crate) lan: Lan,
}

/// Takes what `<<` says into the tables that say it.
pub(crate) fn merged(value: &Value) -> Value {
    let Some(table) = value.as_object() else { return value.clone() };
    let mut all = table.get("<<").map_or_else(serde_json::Map::new, |base| match merged(base) {
        Value::Object(base) => base,
        other => panic!("no table: {other}"),
    });
    all.extend(table.iter().filter(|(key, _)| *key != "<<").map(|(key, value)| (key.clone(), merged(value))));
    Value::Object(all)
}

impl Composed {
    /// Nothing runs yet; nothing where there can be no network, which is said.
    pub(crate) fn new() -> Option<Self> {
        let lan = Lan::new()?;
        let text = fs::read_to_string(repository("deploy/compose.yaml")).unwrap();
        let text = text.replace(SUBNET, &lan.subnet());
        fs::write(lan.dir.join("password.txt"), format!("{PASSWORD}\n")).unwrap();
        fs::write(lan.dir.join("cluster.txt"), "a secret of the nodes of the file alone\n").unwrap();
        let file = merged(&documents(&text).remove(0));
        Some(Self { file, nodes: BTreeMap::new(), balancer: None, lan })
    }

    /// What the file says of a service.
    fn image(&self, name: &str, program: &[&str]) -> Image {
        let service = &self.file["services"][name];
        let command = list(&service["command"]).iter().map(text);
        let mut mounts: Vec<_> = list(&service["volumes"])
            .iter()
            .map(|mount| {
                let mount = text(mount);
                let mut parts = mount.split(':');
                let (source, target) = (parts.next().unwrap(), parts.next().unwrap().to_owned());
                let source = match source.strip_prefix("./") {
                    Some(file) => repository("deploy").join(file),
                    None => volume(self.lan.dir.join("volumes").join(source)),
                };
                (source, target, parts.next() != Some("ro"))
            })
            .collect();
        for secret in list(&service["secrets"]).iter().map(text) {
            mounts.push((
                self.lan.dir.join(format!("{secret}.txt")),
                format!("/run/secrets/{secret}"),
                false,
            ));
        }
        let mut env: Vec<(String, String)> = service["environment"]
            .as_object()
            .map(|env| env.iter().map(|(name, value)| (name.clone(), text(value))).collect())
            .unwrap_or_default();
        let more = [
            ("LOG__LEVEL", "info,quelea=debug"),
            ("LISTENER__WS__PROTOCOL", "ws"),
            ("LISTENER__WS__ADDRESS", ":8083"),
        ];
        env.extend(more.map(|(key, value)| (format!("QUELEA__{key}"), value.to_owned())));
        let command = program.iter().map(|word| (*word).to_owned()).chain(command).collect();
        Image { command, env, mounts, user: Some(USER) }
    }

    /// The image's entry point and what it does unless it is told otherwise, as the Dockerfile says.
    fn dockerfile() -> (Vec<String>, Vec<String>) {
        let text = fs::read_to_string(repository("deploy/Dockerfile")).unwrap();
        let words = |key: &str| -> Vec<String> {
            let line = text.lines().find_map(|line| line.strip_prefix(key)).expect("the Dockerfile has it");
            serde_json::from_str(line.trim()).unwrap()
        };
        (words("ENTRYPOINT"), words("CMD"))
    }

    /// Starts the service that makes the users' file, and waits for its end.
    pub(crate) fn make_users(&mut self) {
        let (entry, _) = Self::dockerfile();
        let entry: Vec<&str> = entry.iter().map(String::as_str).collect();
        let image = self.image("users", &entry);
        let address = self.lan.address();
        let mut users = Container::start(&self.lan, &address, &image);
        let status = users.until_ended();
        assert!(status.success(), "{status}: {}", users.log());
    }

    /// Starts a node.
    pub(crate) fn start(&mut self, name: &str) {
        let (mut command, arguments) = Self::dockerfile();
        command.extend(arguments);
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        let image = self.image(name, &command);
        let address = self.lan.address();
        let container = Container::start(&self.lan, &address, &image);
        self.lan.name(name, &[&address]);
        self.nodes.insert(name.to_owned(), (container, address));
    }

    /// Starts users, nodes and HAProxy, and waits until that lets clients through to each node.
    pub(crate) fn up() -> Option<Self> {
        let mut all = Self::new()?;
        all.make_users();
        ["quelea-2", "quelea-0", "quelea-1"].into_iter().for_each(|name| all.start(name));
        for name in ["quelea-0", "quelea-1", "quelea-2"] {
            until("ready nodes", || all.is_ready(name).then_some(()));
        }
        let program = ["haproxy", "-W", "-db", "-f", "/usr/local/etc/haproxy/haproxy.cfg"];
        let mut image = all.image("haproxy", &program);
        // The machine's own, which its image has.
        image.mounts.push(("/usr/sbin/haproxy".into(), "/usr/sbin/haproxy".to_owned(), false));
        let address = all.lan.address();
        let container = Container::start(&all.lan, &address, &image);
        all.balancer = Some((container, address));
        ["quelea-0", "quelea-1", "quelea-2"].into_iter().for_each(|name| all.until_taken(name, true));
        Some(all)
    }

    /// Starts Prometheus with the files that are mounted for it, told what its image tells it; and where it answers.
    pub(crate) fn prometheus(&mut self) -> (Container, String) {
        let program = [
            "/usr/bin/prometheus",
            "--config.file=/etc/prometheus/prometheus.yml",
            "--storage.tsdb.path=/prometheus",
        ];
        let mut image = self.image("prometheus", &program);
        image.mounts.push(("/usr/bin/prometheus".into(), "/usr/bin/prometheus".to_owned(), false));
        let address = self.lan.address();
        (Container::start(&self.lan, &address, &image), format!("{address}:9090"))
    }

    /// Whether a node says that it serves clients.
    fn is_ready(&self, name: &str) -> bool {
        let answer = get(&format!("{}:8080", self.nodes[name].1), "/readyz");
        answer.is_some_and(|answer| answer.starts_with("HTTP/1.1 200"))
    }

    /// Waits until HAProxy sends clients to a node, or sends none there.
    pub(crate) fn until_taken(&self, node: &str, wanted: bool) {
        let what = format!("word from HAProxy that {node} takes clients: {wanted}");
        until(&what, || (self.is_taken(node)? == wanted).then_some(()));
    }

    /// Whether HAProxy sends clients to a node.
    fn is_taken(&self, node: &str) -> Option<bool> {
        Some(self.counted("haproxy_server_status", &["state=\"UP\"", &format!("server=\"{node}\"")])? == 1)
    }

    /// How many checks of a node failed while HAProxy took it for well, since it started.
    pub(crate) fn failed_checks(&self, node: &str) -> Option<u64> {
        self.counted("haproxy_server_check_failures_total", &[&format!("server=\"{node}\"")])
    }

    /// What HAProxy says of itself: the metric with these labels.
    fn counted(&self, name: &str, labels: &[&str]) -> Option<u64> {
        let metrics = get(&format!("{}:8404", self.balancer.as_ref()?.1), "/metrics")?;
        let is_it = |series: &str| labels.iter().all(|label| series.contains(label));
        let mut series =
            metrics.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('{')?.rsplit_once(' '));
        series.find(|(series, _)| is_it(series))?.1.parse().ok()
    }

    /// Where clients connect.
    pub(crate) fn mqtt(&self) -> String {
        format!("{}:1883", self.balancer.as_ref().expect("it runs").1)
    }
}

/// What an HTTP port answers, status line and body; nothing while nobody listens there.
pub(crate) fn get(address: &str, path: &str) -> Option<String> {
    get_within(address, path, e2e_tests::BOUND)
}

/// The same of somebody who does not wait longer than this for a word.
pub(crate) fn get_within(address: &str, path: &str, within: std::time::Duration) -> Option<String> {
    use std::io::{Read, Write};
    let address = address.parse().ok()?;
    let connect_within = within.min(std::time::Duration::from_secs(2));
    let mut stream = std::net::TcpStream::connect_timeout(&address, connect_within).ok()?;
    stream.set_read_timeout(Some(within)).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}
