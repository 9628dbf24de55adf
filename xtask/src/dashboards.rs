//! `cargo xtask dashboards`: writes the Grafana dashboards in `deploy/grafana/dashboards/` from the panels that are listed in the
//! files beside this one. A test holds the files to the lists; the panels' queries are tested in `tests/operate`.

mod cluster;
mod node;
mod sessions;
mod storage;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// Where they are, from the root of the repository.
const FOLDER: &str = "deploy/grafana/dashboards";
/// What a panel's description ends with that shows nothing but zeros as long as nothing is wrong.
const QUIET: &str = "Zero when all is well.";
/// Columns of a dashboard.
const COLUMNS: u64 = 24;

/// One dashboard.
struct Dashboard {
    file: &'static str,
    title: &'static str,
    /// It is about one node: which one is chosen.
    one_node: bool,
    rows: &'static [Row],
}

/// Panels under a heading.
struct Row {
    title: &'static str,
    panels: &'static [Panel],
}

/// What a panel looks like.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    /// A number.
    Number,
    /// Lines over time.
    Lines,
    /// Lines over time, one upon the other.
    Stack,
}

/// One panel.
struct Panel {
    title: &'static str,
    look: Look,
    /// As Grafana calls it.
    unit: &'static str,
    says: &'static str,
    /// It shows zeros as long as nothing is wrong.
    quiet: bool,
    /// Queries, with what each line is called.
    queries: &'static [(&'static str, &'static str)],
}

/// A panel of lines; the tables read better without the names of fields.
const fn lines(
    title: &'static str,
    unit: &'static str,
    says: &'static str,
    queries: &'static [(&'static str, &'static str)],
) -> Panel {
    Panel { title, look: Look::Lines, unit, says, quiet: false, queries }
}

/// The same, one upon the other.
const fn stack(
    title: &'static str,
    unit: &'static str,
    says: &'static str,
    queries: &'static [(&'static str, &'static str)],
) -> Panel {
    Panel { title, look: Look::Stack, unit, says, quiet: false, queries }
}

/// A panel of one number.
const fn number(
    title: &'static str,
    unit: &'static str,
    says: &'static str,
    queries: &'static [(&'static str, &'static str)],
) -> Panel {
    Panel { title, look: Look::Number, unit, says, quiet: false, queries }
}

/// A panel about what goes wrong.
const fn quiet(panel: Panel) -> Panel {
    Panel { quiet: true, ..panel }
}

const DASHBOARDS: &[&Dashboard] =
    &[&cluster::DASHBOARD, &node::DASHBOARD, &sessions::DASHBOARD, &storage::DASHBOARD];

/// Writes all of them.
pub(crate) fn main(arguments: &[String]) -> Result<bool> {
    if let Some(argument) = arguments.first() {
        bail!("unexpected {argument:?}: dashboards takes no arguments");
    }
    for dashboard in DASHBOARDS {
        let path = path(dashboard);
        fs::write(&path, text(dashboard)?).with_context(|| format!("cannot write {}", path.display()))?;
        println!("{}", path.display());
    }
    Ok(true)
}

fn path(dashboard: &Dashboard) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(FOLDER).join(dashboard.file)
}

fn text(dashboard: &Dashboard) -> Result<String> {
    Ok(serde_json::to_string_pretty(&json(dashboard))? + "\n")
}

fn json(dashboard: &Dashboard) -> Value {
    let name = dashboard.file.trim_end_matches(".json");
    json!({
        "uid": format!("quelea-{name}"),
        "title": dashboard.title,
        "tags": ["quelea", "mqtt"],
        "schemaVersion": 39,
        "version": 1,
        "editable": true,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": { "from": "now-1h", "to": "now" },
        "timezone": "browser",
        "templating": { "list": variables(dashboard.one_node) },
        "links": [{ "type": "dashboards", "tags": ["quelea"], "title": "Quelea", "asDropdown": true, "includeVars": true, "keepTime": true }],
        "panels": panels(dashboard.rows),
    })
}

/// Where the data is, which job scrapes the cluster, and of it which nodes.
fn variables(one_node: bool) -> Vec<Value> {
    let query = |name: &str, label: &str, query: &str, many: bool| {
        json!({
            "name": name, "label": label, "type": "query", "datasource": source(),
            "query": { "query": query, "refId": name }, "refresh": 2, "sort": 1,
            "multi": many, "includeAll": many,
            "current": if many { json!({ "text": ["All"], "value": ["$__all"] }) } else { json!({}) },
        })
    };
    vec![
        json!({ "name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "current": {} }),
        query("job", "Cluster", "label_values(quelea_build_info, job)", false),
        query("instance", "Node", "label_values(quelea_build_info{job=\"$job\"}, instance)", !one_node),
    ]
}

fn source() -> Value {
    json!({ "type": "prometheus", "uid": "${datasource}" })
}

fn panels(rows: &[Row]) -> Vec<Value> {
    let mut panels: Vec<Value> = Vec::new();
    let mut y = 0;
    for row in rows {
        let id = panels.len() + 1;
        let at = json!({ "h": 1, "w": COLUMNS, "x": 0, "y": y });
        panels.push(json!({ "id": id, "type": "row", "title": row.title, "collapsed": false, "gridPos": at, "panels": [] }));
        y += 1;
        let (mut x, mut height) = (0, 0);
        for panel in row.panels {
            let (w, h) = if panel.look == Look::Number { (4, 4) } else { (8, 8) };
            if x + w > COLUMNS {
                (x, y, height) = (0, y + height, 0);
            }
            let at = json!({ "h": h, "w": w, "x": x, "y": y });
            panels.push(panel_json(panel, panels.len() + 1, &at));
            (x, height) = (x + w, height.max(h));
        }
        y += height;
    }
    panels
}

fn panel_json(panel: &Panel, id: usize, at: &Value) -> Value {
    let Panel { title, look, unit, says, quiet, queries } = *panel;
    let description = if quiet { format!("{says} {QUIET}") } else { says.to_owned() };
    let names = ('A'..='Z').map(String::from);
    let target = |(name, (expr, legend)): (String, &(&str, &str))| {
        let instant = look == Look::Number;
        json!({ "refId": name, "expr": expr, "legendFormat": legend, "datasource": source(), "instant": instant, "range": !instant })
    };
    let targets: Vec<Value> = names.zip(queries).map(target).collect();
    let stacking = if look == Look::Stack { "normal" } else { "none" };
    let (kind, custom, options) = match look {
        Look::Number => {
            let options = json!({ "reduceOptions": { "calcs": ["lastNotNull"] }, "graphMode": "area", "colorMode": "value" });
            ("stat", json!({}), options)
        }
        Look::Lines | Look::Stack => {
            let custom = json!({ "fillOpacity": if look == Look::Stack { 30 } else { 5 }, "showPoints": "never", "stacking": { "mode": stacking } });
            let options = json!({ "legend": { "displayMode": "list", "placement": "bottom" }, "tooltip": { "mode": "multi", "sort": "desc" } });
            ("timeseries", custom, options)
        }
    };
    json!({
        "id": id, "type": kind, "title": title, "description": description, "datasource": source(), "gridPos": at,
        "fieldConfig": { "defaults": { "unit": unit, "min": 0, "custom": custom }, "overrides": [] },
        "options": options, "targets": targets,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_files_are_what_the_lists_say() {
        for dashboard in DASHBOARDS {
            let found = fs::read_to_string(path(dashboard)).unwrap_or_default();
            let made = text(dashboard).unwrap();
            assert!(found == made, "{} is not up to date: run cargo xtask dashboards", dashboard.file);
        }
    }

    #[test]
    fn each_panel_says_what_it_shows_and_of_which_cluster() {
        for dashboard in DASHBOARDS {
            let panels: Vec<&Panel> = dashboard.rows.iter().flat_map(|row| row.panels).collect();
            let titles: BTreeSet<&str> = panels.iter().map(|panel| panel.title).collect();
            assert_eq!(titles.len(), panels.len(), "{}: titles are unique", dashboard.file);
            for panel in panels {
                assert!(panel.says.ends_with('.') && !panel.queries.is_empty(), "{}", panel.title);
                for (query, _) in panel.queries {
                    assert!(query.contains("job=\"$job\""), "{}: {query}", panel.title);
                    assert_eq!(
                        query.contains("$instance"),
                        query.contains("instance=~\"$instance\""),
                        "{query}"
                    );
                }
            }
        }
    }

    #[test]
    fn panels_do_not_lie_upon_each_other() {
        for dashboard in DASHBOARDS {
            let mut taken = BTreeSet::new();
            for panel in panels(dashboard.rows) {
                let at = |key: &str| panel["gridPos"][key].as_u64().unwrap();
                for (x, y) in (0..at("w")).flat_map(|x| (0..at("h")).map(move |y| (x, y))) {
                    assert!(at("x") + x < COLUMNS && taken.insert((at("x") + x, at("y") + y)), "{panel}");
                }
            }
        }
    }
}
