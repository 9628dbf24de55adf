//! What one kind of broker was measured to do, as Markdown or JSON. Filled and printed by `durable` and `clustered`. It
//! compares nothing.

use anyhow::Result;
use serde_json::json;

use super::table::show;

/// What was measured of what: name, with unit, and value.
pub(crate) struct Row {
    pub(crate) title: String,
    pub(crate) values: Vec<(String, f64)>,
}

impl Row {
    pub(crate) fn new<const N: usize>(title: impl Into<String>, values: [(&str, f64); N]) -> Self {
        let values = values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Self { title: title.into(), values }
    }
}

/// A table for people, with the task that made it.
pub(crate) fn markdown(rows: &[Row], task: &str, arguments: &[String]) -> String {
    let command = format!("cargo xtask {task} {}", arguments.join(" "));
    let mut text = format!("Made by `{}`.\n\n| row | | |\n| --- | --- | ---: |\n", command.trim_end());
    text.extend(rows.iter().map(lines));
    text
}

/// The lines of one row.
pub(crate) fn lines(row: &Row) -> String {
    let values = row.values.iter().enumerate();
    values
        .map(|(index, (name, value))| {
            let title = if index == 0 { row.title.as_str() } else { "" };
            format!("| {title} | {name} | {} |\n", show(Some(*value)))
        })
        .collect()
}

/// The same for programs.
///
/// # Errors
/// A value is no number.
pub(crate) fn as_json(rows: &[Row]) -> Result<String> {
    let rows = rows.iter().map(|row| {
        let values: serde_json::Map<_, _> =
            row.values.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        json!({ "row": row.title, "values": values })
    });
    Ok(serde_json::to_string_pretty(&rows.collect::<Vec<_>>())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_for_people_and_one_for_programs() {
        let rows = [Row::new("many", [("a/s", 1234.0), ("b", 0.5)])];
        let text = markdown(&rows, "durable", &["--quick".to_owned()]);
        assert!(text.contains("`cargo xtask durable --quick`"), "{text}");
        assert!(text.contains("| many | a/s | 1,234 |\n|  | b | 0.500 |\n"), "{text}");
        let json: serde_json::Value = serde_json::from_str(&as_json(&rows).unwrap()).unwrap();
        assert_eq!(json[0]["values"]["b"], 0.5);
    }
}
