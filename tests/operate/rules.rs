//! The recording rules and alerts in `deploy/prometheus`, as Prometheus understands them.

use std::fs;

use serde_json::Value;

use crate::prometheus::Prometheus;
use crate::repository;

/// A rule.
pub(crate) struct Rule {
    name: String,
    query: String,
    /// It is an alert; else its name is that of what it records.
    alerts: bool,
}

/// All rules.
pub(crate) fn all(prometheus: &Prometheus) -> Vec<Rule> {
    let rules: Vec<Rule> = prometheus.rules().iter().map(rule).collect();
    let alerts = rules.iter().filter(|rule| rule.alerts).count();
    assert!(alerts > 20 && rules.len() > alerts + 10, "{alerts} of {}", rules.len());
    rules
}

fn rule(rule: &Value) -> Rule {
    let text = |key: &str| rule[key].as_str().unwrap().to_owned();
    let (name, alerts) = (text("name"), rule["type"] == "alerting");
    for annotation in ["summary", "description", "runbook"].iter().filter(|_| alerts) {
        let said = rule["annotations"][annotation].as_str().unwrap_or_default();
        assert!(said.len() > 15, "{name} has no {annotation}");
    }
    let severity = rule["labels"]["severity"].as_str().unwrap_or_default();
    assert!(!alerts || ["critical", "warning", "info"].contains(&severity), "{name}: severity {severity:?}");
    Rule { name, query: text("query"), alerts }
}

impl Rule {
    /// What it asks.
    pub(crate) fn query(&self) -> String {
        self.query.clone()
    }

    /// What it has no data for, by now: what it records, or both sides of what it compares.
    pub(crate) fn lacks(&self, prometheus: &Prometheus) -> Option<String> {
        let query = if self.alerts { compared(&self.query) } else { self.name.clone() };
        let values = prometheus.query(&query);
        let some = values.iter().any(|value| value.is_finite());
        (!some).then(|| format!("{}: {query} is empty: {values:?}", self.name))
    }
}

/// The query, telling what its comparisons find in the place of leaving out what does not fit.
fn compared(query: &str) -> String {
    let signs = [" > ", " < ", " == ", " >= "];
    assert!(signs.iter().any(|sign| query.contains(sign)), "an alert that compares nothing: {query}");
    signs.iter().fold(query.to_owned(), |query, sign| query.replace(sign, &format!("{sign}bool ")))
}

/// Of each alert there is a test in which it fires, and one in which it does not.
pub(crate) fn have_tests(rules: &[Rule]) {
    let tests = fs::read_to_string(repository("deploy/prometheus/tests/quelea-alerts.test.yml")).unwrap();
    for Rule { name, .. } in rules.iter().filter(|rule| rule.alerts) {
        let expected = |what: &str| tests.contains(&format!("alertname: {name}\n        exp_alerts:{what}"));
        assert!(expected("\n          - exp_labels:"), "{name} has no test in which it fires");
        assert!(expected(" []\n"), "{name} has no test in which it does not fire");
    }
}
