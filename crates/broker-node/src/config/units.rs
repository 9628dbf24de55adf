//! Durations and sizes as people write them: `"30s"`, `"1h 30m"`, `"64 MiB"`.
//! Used by the serde attributes of the configuration sections; never by anything that talks to a client.

use serde::{Deserialize, Deserializer, Serializer, de::Error};
use std::time::Duration;

/// The units of a size, largest first, so that the largest that divides a value evenly is printed.
const SIZE_UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];

const DURATION_EXPECTED: &str = r#"a duration such as "500ms", "10s", "5m" or "1h""#;
const SIZE_EXPECTED: &str = r#"a size such as "512 B", "64 KiB", "1 MiB" or "2 GiB""#;

/// Bytes of a size such as `64 KiB`; a bare number is bytes. `None` where it is not one or does not fit.
pub(super) fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits_end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at_checked(digits_end)?;
    let number: u64 = digits.parse().ok()?;
    let unit = unit.trim();
    if unit.is_empty() {
        return Some(number);
    }
    let (_, factor) = SIZE_UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?;
    number.checked_mul(*factor)
}

/// The shortest exact way to write `bytes`.
pub(super) fn format_size(bytes: u64) -> String {
    SIZE_UNITS
        .iter()
        .find(|(_, factor)| bytes >= *factor && bytes.is_multiple_of(*factor))
        .map_or_else(|| format!("{bytes} B"), |(name, factor)| format!("{} {name}", bytes / factor))
}

/// `#[serde(with)]` for a duration.
pub(super) mod duration {
    use super::*;

    pub(in crate::config) fn serialize<S: Serializer>(
        value: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(*value))
    }

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        humantime::parse_duration(&text).map_err(|_| {
            D::Error::custom(format!("{text:?} is not allowed here: expected {DURATION_EXPECTED}"))
        })
    }
}

/// `#[serde(with)]` for a duration that may be absent.
pub(super) mod optional_duration {
    use super::*;

    pub(in crate::config) fn serialize<S: Serializer>(
        value: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => duration::serialize(value, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        duration::deserialize(deserializer).map(Some)
    }
}

/// `#[serde(with)]` for a size in bytes that fits `T`.
pub(super) mod size {
    use super::*;

    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a size")]
    enum TextOrNumber {
        Number(u64),
        Text(String),
    }

    pub(in crate::config) fn serialize<T: Copy + Into<u64>, S: Serializer>(
        value: &T,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format_size((*value).into()))
    }

    pub(in crate::config) fn deserialize<'de, T: TryFrom<u64>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<T, D::Error> {
        let (parsed, text) = match TextOrNumber::deserialize(deserializer)? {
            TextOrNumber::Number(number) => (Some(number), number.to_string()),
            TextOrNumber::Text(text) => (parse_size(&text), text),
        };
        parsed.and_then(|bytes| T::try_from(bytes).ok()).ok_or_else(|| {
            D::Error::custom(format!("{text:?} is not allowed here: expected {SIZE_EXPECTED}"))
        })
    }
}
