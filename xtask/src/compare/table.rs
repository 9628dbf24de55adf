//! The result of a comparison: medians over the rounds, ratios to mosquitto, as Markdown or JSON.
//! Filled and printed by `compare`. It measures nothing.

use std::collections::BTreeMap;

use anyhow::Result;
use serde_json::{Value, json};

use super::broker::{Broker, Kind};
use super::measure::{Measurement, Metric};
use super::rows::{ROWS, Row};

/// What ratios refer to.
const REFERENCE: Kind = Kind::Mosquitto;

/// The values of all rounds.
pub(crate) struct Table {
    brokers: Vec<Kind>,
    /// By row name, in rounds' order.
    values: BTreeMap<(&'static str, Metric, Kind), Vec<f64>>,
    /// Rounds in which a broker could not do a row.
    failed: BTreeMap<(&'static str, Kind), usize>,
}

impl Table {
    pub(crate) fn new(brokers: &[Broker]) -> Self {
        let brokers = brokers.iter().map(|broker| broker.kind).collect();
        Self { brokers, values: BTreeMap::new(), failed: BTreeMap::new() }
    }

    /// Notes what a round has measured; nothing means that the broker could not do it.
    pub(crate) fn add(&mut self, row: &Row, kind: Kind, measured: &[Measurement]) {
        if measured.is_empty() {
            *self.failed.entry((row.name, kind)).or_default() += 1;
        }
        for (metric, value) in measured {
            self.values.entry((row.name, *metric, kind)).or_default().push(*value);
        }
    }

    /// A table for people, with the command that made it.
    pub(crate) fn markdown(&self, arguments: &[String]) -> String {
        let names: Vec<_> = self.brokers.iter().map(|kind| kind.name()).collect();
        let mut ratios: Vec<_> = self.brokers.iter().filter(|kind| **kind != REFERENCE).collect();
        ratios.sort();
        let ratio_names: Vec<_> =
            ratios.iter().map(|kind| format!("{} / {}", kind.name(), REFERENCE.name())).collect();
        let command = ["cargo xtask compare".to_owned(), arguments.join(" ")].join(" ");
        let mut text = format!("Made by `{}`.\n\n", command.trim_end());
        text += &format!("| row | | {} | {} |\n", names.join(" | "), ratio_names.join(" | "));
        text += &format!("| --- | --- |{}\n", " ---: |".repeat(names.len() + ratio_names.len()));
        for (row, metric) in self.lines() {
            let values = self.brokers.iter().map(|kind| show(self.median(row.name, metric, *kind)));
            let ratios = ratios.iter().map(|kind| show(self.ratio(row.name, metric, **kind)));
            let cells: Vec<_> = values.chain(ratios).collect();
            text += &format!("| {} | {} | {} |\n", row.title, metric.name(), cells.join(" | "));
        }
        for ((row, kind), rounds) in &self.failed {
            text += &format!("\n{} could not do `{row}` in {rounds} round(s).\n", kind.name());
        }
        text
    }

    /// The same for programs, with the values of each round.
    pub(crate) fn json(&self) -> Result<String> {
        let lines = self.lines().map(|(row, metric)| {
            let brokers: serde_json::Map<String, Value> = self
                .brokers
                .iter()
                .map(|kind| {
                    let rounds = self.values.get(&(row.name, metric, *kind)).cloned().unwrap_or_default();
                    let value = json!({
                        "median": self.median(row.name, metric, *kind),
                        "ratio": self.ratio(row.name, metric, *kind),
                        "rounds": rounds,
                    });
                    (kind.name().to_owned(), value)
                })
                .collect();
            json!({ "row": row.name, "metric": metric.name(), "brokers": brokers })
        });
        Ok(serde_json::to_string_pretty(&lines.collect::<Vec<_>>())?)
    }

    /// Rows in their own order, with the metrics that somebody has measured.
    fn lines(&self) -> impl Iterator<Item = (&'static Row, Metric)> {
        ROWS.iter().flat_map(|row| {
            let metrics = self.values.keys().filter(|(name, ..)| *name == row.name);
            let mut metrics: Vec<_> = metrics.map(|(_, metric, _)| *metric).collect();
            metrics.sort();
            metrics.dedup();
            metrics.into_iter().map(move |metric| (row, metric))
        })
    }

    fn median(&self, row: &'static str, metric: Metric, kind: Kind) -> Option<f64> {
        median(self.values.get(&(row, metric, kind))?)
    }

    /// How many times the reference's value; not of percentages and losses, which may be 0.
    fn ratio(&self, row: &'static str, metric: Metric, kind: Kind) -> Option<f64> {
        let counts = matches!(metric, Metric::Spread | Metric::Lost);
        let reference = self.median(row, metric, REFERENCE).filter(|_| !counts)?;
        (reference != 0.0).then_some(self.median(row, metric, kind)? / reference)
    }
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    let lower = *sorted.get((sorted.len() - 1) / 2)?;
    Some(f64::midpoint(lower, upper))
}

/// Three digits, thousands in groups; a dash where there is nothing.
pub(crate) fn show(value: Option<f64>) -> String {
    match value {
        None => "–".to_owned(),
        Some(value) if value.abs() >= 1000.0 => grouped(value),
        Some(value) if value.abs() >= 100.0 => format!("{value:.0}"),
        Some(value) if value.abs() >= 10.0 => format!("{value:.1}"),
        Some(value) if value.abs() >= 1.0 => format!("{value:.2}"),
        Some(0.0) => "0".to_owned(),
        Some(value) => format!("{value:.3}"),
    }
}

fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        let rest = digits.len() - index;
        if index > 0 && rest.is_multiple_of(3) && digit.is_ascii_digit() {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    #[test]
    fn numbers_for_people() {
        assert_eq!(show(Some(1_234_567.8)), "1,234,568");
        assert_eq!(show(Some(1000.0)), "1,000");
        assert_eq!(show(Some(123.4)), "123");
        assert_eq!(show(Some(0.0456)), "0.046");
        assert_eq!(show(None), "–");
    }

    #[test]
    fn ratios_refer_to_mosquitto() {
        let mut table = Table {
            brokers: vec![Kind::Quelea, Kind::Mosquitto],
            values: BTreeMap::new(),
            failed: BTreeMap::new(),
        };
        let row = &ROWS[0];
        table.add(row, Kind::Quelea, &[(Metric::CpuPerMillion, 0.5)]);
        table.add(row, Kind::Mosquitto, &[(Metric::CpuPerMillion, 8.0)]);
        table.add(row, Kind::Mosquitto, &[(Metric::CpuPerMillion, 12.0)]);
        let text = table.markdown(&["--quick".to_owned()]);
        assert!(text.contains("| 10 pairs, QoS 0 | CPU s per million | 0.500 | 10.0 | 0.050 |"), "{text}");
        assert!(text.contains("cargo xtask compare --quick"));
        let json: Value = serde_json::from_str(&table.json().unwrap()).unwrap();
        assert_eq!(json[0]["brokers"]["Quelea"]["ratio"], 0.05);
        table.add(row, Kind::Quelea, &[]);
        assert!(table.markdown(&[]).contains("Quelea could not do `pairs-qos0` in 1 round(s)"));
    }
}
