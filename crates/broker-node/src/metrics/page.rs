//! Holds docs/metrics.md to the table of metrics: the page is made of it, by the test below with `QUELEA_WRITE_DOCS=1`.
//! In no binary.

use super::{Metric, table};
use crate::sys::Snapshot;

const HEAD: &str = "\
# Metrics

`/metrics` of a node's HTTP port (`http.address`) has these, in the text format of Prometheus. Each node tells of itself; what
is about the cluster as a whole is a sum over its nodes, or the same on all of them. Counters begin at 0 when the node starts.
Histograms have buckets from 100 \u{b5}s to 10 s. No label has values without a bound: no client, topic or address is one.

Dashboards, alerts and rules that are made of them are in `deploy/`: see [operations](operations.md#watching-it).

This page is made of the table in `crates/broker-node/src/metrics/`:
`QUELEA_WRITE_DOCS=1 cargo test -p broker-node docs_metrics`.
";

fn page() -> String {
    let mut page = HEAD.to_owned();
    for (title, metrics) in table::sections(&Snapshot::default()) {
        page += &format!("\n## {title}\n\n| metric | kind | unit | meaning |\n| --- | --- | --- | --- |\n");
        page.extend(metrics.iter().map(row));
    }
    page
}

fn row(metric: &Metric) -> String {
    let Metric { name, kind, unit, help, labels, .. } = metric;
    let mut meaning = help.clone();
    for (label, says) in labels {
        meaning += &format!(" Label `{label}`: {says}.");
    }
    format!("| `{name}` | {} | {unit} | {meaning} |\n", kind.name())
}

#[test]
fn docs_metrics_is_what_the_table_says() {
    crate::testing::page_is("docs/metrics.md", &page());
}
