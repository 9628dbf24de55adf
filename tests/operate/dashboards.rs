//! The panels of the dashboards in `deploy/grafana`, and their queries as Grafana would ask them.

use std::fs;

use serde_json::Value;

use crate::prometheus::Prometheus;
use crate::repository;

/// What Grafana puts in the place of `$__rate_interval`, with a scrape each second on a busy machine.
const RATE: &str = "30s";
/// What the description of a panel ends with that may be all zeros.
const QUIET: &str = "Zero when all is well.";

/// A panel, of one node or of all.
pub(crate) struct Panel {
    name: String,
    queries: Vec<String>,
    quiet: bool,
}

impl Panel {
    /// What it has no data for, by now.
    pub(crate) fn lacks(&self, prometheus: &Prometheus) -> Option<String> {
        let mut some = self.quiet;
        for query in &self.queries {
            let values = prometheus.query(query);
            if values.iter().all(|value| !value.is_finite()) {
                return Some(format!("{}: {query} is empty: {values:?}", self.name));
            }
            some |= values.iter().any(|value| value.is_finite() && *value != 0.0);
        }
        (!some).then(|| format!("{}: all is 0: {:?}", self.name, self.queries))
    }
}

fn files() -> Vec<(String, Value)> {
    let mut files: Vec<_> =
        fs::read_dir(repository("deploy/grafana/dashboards")).unwrap().map(Result::unwrap).collect();
    files.sort_by_key(fs::DirEntry::file_name);
    let read = |file: fs::DirEntry| {
        let text = fs::read_to_string(file.path()).unwrap();
        (file.file_name().into_string().unwrap(), serde_json::from_str(&text).unwrap())
    };
    files.into_iter().map(read).collect()
}

fn panels(dashboard: &Value) -> impl Iterator<Item = &Value> {
    dashboard["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] != "row")
}

fn expressions(panel: &Value) -> Vec<String> {
    let targets = panel["targets"].as_array().unwrap();
    assert!(!targets.is_empty(), "a panel without a query: {panel}");
    targets.iter().map(|target| target["expr"].as_str().unwrap().to_owned()).collect()
}

/// All queries, with their variables.
pub(crate) fn queries() -> impl Iterator<Item = String> {
    files()
        .into_iter()
        .flat_map(|(_, dashboard)| panels(&dashboard).flat_map(expressions).collect::<Vec<_>>())
}

/// All panels. Those of a dashboard of one node are there for each of the nodes.
pub(crate) fn all(nodes: &[String]) -> Vec<Panel> {
    let files = files();
    assert_eq!(files.len(), 4);
    let mut all = Vec::new();
    for (file, dashboard) in &files {
        let variables = dashboard["templating"]["list"].as_array().unwrap();
        let node = variables.iter().find(|variable| variable["name"] == "instance").unwrap();
        let each: Vec<&str> = match node["multi"].as_bool().unwrap() {
            true => vec![".*"],
            false => nodes.iter().map(String::as_str).collect(),
        };
        for (panel, node) in panels(dashboard).flat_map(|panel| each.iter().map(move |node| (panel, *node))) {
            let asked = |query: String| {
                query.replace("$__rate_interval", RATE).replace("$job", "quelea").replace("$instance", node)
            };
            all.push(Panel {
                name: format!("{file}: {} of {node}", panel["title"]),
                queries: expressions(panel).into_iter().map(asked).collect(),
                quiet: panel["description"].as_str().unwrap().ends_with(QUIET),
            });
        }
    }
    all
}
