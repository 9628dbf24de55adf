//! What one or two brokers were measured to do as a cluster, as Markdown or JSON: two beside each other, with ratios to
//! rmqttd. Filled by the rows, printed by `clustered`. It measures nothing.

use anyhow::Result;
use serde_json::{Value, json};

use super::super::listing::{self, Row};
use super::super::table::show;
use super::trio::Kind;

/// What a broker was measured to do, and sentences about what it could not.
pub(super) struct Report {
    pub(super) kind: Kind,
    pub(super) rows: Vec<Row>,
    pub(super) failed: Vec<String>,
}

impl Report {
    pub(super) fn new(kind: Kind) -> Self {
        Self { kind, rows: Vec::new(), failed: Vec::new() }
    }

    /// Notes a row, or that the broker could not do it, and shows which on standard error.
    pub(super) fn note<const N: usize>(
        &mut self,
        title: impl Into<String>,
        measured: Result<[(&str, f64); N]>,
    ) {
        let title = title.into();
        match measured {
            Ok(values) => {
                let row = Row::new(title, values);
                eprint!("{}", listing::lines(&row));
                self.rows.push(row);
            }
            Err(error) => self.fail(&title, &error),
        }
    }

    /// Notes what the broker could not do.
    pub(super) fn fail(&mut self, what: &str, error: &anyhow::Error) {
        let sentence = format!("{} could not do `{what}`: {error:#}.", self.kind.name());
        eprintln!("{sentence}");
        self.failed.push(sentence);
    }
}

/// A table for people, with the command that made it.
pub(super) fn markdown(reports: &[Report], arguments: &[String]) -> String {
    if let [report] = reports {
        return listing::markdown(&report.rows, "clustered", arguments);
    }
    let names: Vec<_> = reports.iter().map(|report| report.kind.name()).collect();
    let command = format!("cargo xtask clustered {}", arguments.join(" "));
    let mut text = format!("Made by `{}`.\n\n", command.trim_end());
    text += &format!("| row | | {} | {} |\n", names.join(" | "), names.join(" / "));
    text += &format!("| --- | --- |{}\n", " ---: |".repeat(names.len() + 1));
    for (title, lines) in merged(reports) {
        for (index, line) in lines.iter().enumerate() {
            let title = if index == 0 { title } else { "" };
            let cells = line.values.iter().copied().chain([line.ratio()]).map(show);
            text += &format!("| {title} | {} | {} |\n", line.name, cells.collect::<Vec<_>>().join(" | "));
        }
    }
    for sentence in reports.iter().flat_map(|report| &report.failed) {
        text += &format!("\n{sentence}\n");
    }
    text
}

/// The same for programs.
///
/// # Errors
/// A value is no number.
pub(super) fn as_json(reports: &[Report]) -> Result<String> {
    if let [report] = reports {
        return listing::as_json(&report.rows);
    }
    let rows = merged(reports).into_iter().map(|(title, lines)| {
        let values = lines.into_iter().map(|line| {
            let names = reports.iter().map(|report| report.kind.name().to_owned());
            let mut value: serde_json::Map<String, Value> =
                names.zip(line.values.iter().map(|value| json!(value))).collect();
            value.insert("ratio".to_owned(), json!(line.ratio()));
            (line.name.to_owned(), Value::Object(value))
        });
        json!({ "row": title, "values": values.collect::<serde_json::Map<_, _>>() })
    });
    Ok(serde_json::to_string_pretty(&rows.collect::<Vec<_>>())?)
}

/// One value of each broker.
struct Line<'a> {
    name: &'a str,
    values: Vec<Option<f64>>,
}

impl Line<'_> {
    /// How many times the second's the first's is; not of what may be 0 by its nature.
    fn ratio(&self) -> Option<f64> {
        let [Some(first), Some(second)] = self.values.as_slice() else { return None };
        let counts = self.name.contains("% of mean") || self.name.contains(", of ");
        (!counts && *second != 0.0).then_some(first / second)
    }
}

/// Rows by their titles, in the order in which they were measured, each with the values that somebody has.
fn merged(reports: &[Report]) -> Vec<(&str, Vec<Line<'_>>)> {
    let mut merged: Vec<(&str, Vec<Line<'_>>)> = Vec::new();
    for (broker, report) in reports.iter().enumerate() {
        for row in &report.rows {
            let title = row.title.as_str();
            let at = merged.iter().position(|(known, _)| *known == title).unwrap_or(merged.len());
            if at == merged.len() {
                merged.push((title, Vec::new()));
            }
            let Some((_, lines)) = merged.get_mut(at) else { continue };
            for (name, value) in &row.values {
                let at = lines.iter().position(|line| line.name == name).unwrap_or(lines.len());
                if at == lines.len() {
                    lines.push(Line { name, values: vec![None; reports.len()] });
                }
                if let Some(slot) = lines.get_mut(at).and_then(|line| line.values.get_mut(broker)) {
                    *slot = Some(*value);
                }
            }
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> [Report; 2] {
        let (mut ours, mut theirs) = (Report::new(Kind::Quelea), Report::new(Kind::Rmqttd));
        ours.note("many", Ok([("a/s", 3000.0), ("most - fewest, % of mean", 0.5)]));
        ours.note("alone", Ok([("b", 7.0)]));
        theirs.note("many", Ok([("a/s", 1500.0), ("most - fewest, % of mean", 1.0)]));
        theirs.note::<0>("alone", Err(anyhow::anyhow!("it ended")));
        [ours, theirs]
    }

    #[test]
    fn two_brokers_side_by_side_with_ratios() {
        let text = markdown(&two(), &["--quick".to_owned()]);
        assert!(text.contains("`cargo xtask clustered --quick`"), "{text}");
        assert!(text.contains("| row | | Quelea | rmqttd | Quelea / rmqttd |\n"), "{text}");
        assert!(text.contains("| many | a/s | 3,000 | 1,500 | 2.00 |\n"), "{text}");
        assert!(text.contains("|  | most - fewest, % of mean | 0.500 | 1.00 | – |\n"), "{text}");
        assert!(text.contains("| alone | b | 7.00 | – | – |\n"), "{text}");
        assert!(text.contains("\nrmqttd could not do `alone`: it ended.\n"), "{text}");
    }

    #[test]
    fn the_same_for_programs() {
        let json: Value = serde_json::from_str(&as_json(&two()).unwrap()).unwrap();
        assert_eq!(json[0]["values"]["a/s"]["rmqttd"], 1500.0);
        assert_eq!(json[0]["values"]["a/s"]["ratio"], 2.0);
        assert_eq!(json[1]["values"]["b"]["rmqttd"], Value::Null);
    }

    #[test]
    fn one_broker_has_no_ratios() {
        let [ours, _] = two();
        let text = markdown(&[ours], &[]);
        assert!(text.contains("| alone | b | 7.00 |\n"), "{text}");
    }
}
