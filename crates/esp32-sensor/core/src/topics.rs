//! The topics of a device, all below its prefix. Used by the application; made once, at start.

use heapless::String;

use crate::reading::Quantity;

/// Bytes of a prefix.
pub(crate) const PREFIX_MAX: usize = 48;

/// Room for a prefix and the longest `/STATUS`.
type Topic = String<{ PREFIX_MAX + 8 }>;

/// `ESP32/TEM` and its neighbours.
#[derive(Debug)]
pub(crate) struct Topics {
    temperature: Topic,
    humidity: Topic,
    /// `online`, or the will's `offline`, retained.
    pub(crate) status: Topic,
    /// What is asked of the device.
    pub(crate) command: Topic,
}

impl Topics {
    /// `None` for a prefix that is too long.
    pub(crate) fn new(prefix: &str) -> Option<Self> {
        Some(Self {
            temperature: join(prefix, "/TEM")?,
            humidity: join(prefix, "/HUM")?,
            status: join(prefix, "/STATUS")?,
            command: join(prefix, "/CMD")?,
        })
    }

    /// Where a measurement goes.
    pub(crate) fn of(&self, quantity: Quantity) -> &str {
        match quantity {
            Quantity::Temperature => &self.temperature,
            Quantity::Humidity => &self.humidity,
        }
    }
}

fn join(prefix: &str, name: &str) -> Option<Topic> {
    let mut topic = Topic::new();
    topic.push_str(prefix).ok()?;
    topic.push_str(name).ok()?;
    Some(topic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_below_the_prefix() {
        let topics = Topics::new("ESP32").unwrap();
        assert_eq!(topics.of(Quantity::Temperature), "ESP32/TEM");
        assert_eq!(topics.of(Quantity::Humidity), "ESP32/HUM");
        assert_eq!((topics.status.as_str(), topics.command.as_str()), ("ESP32/STATUS", "ESP32/CMD"));
    }

    #[test]
    fn the_longest_prefix_fits() {
        assert!(Topics::new(&"p".repeat(PREFIX_MAX)).is_some());
        assert!(Topics::new(&"p".repeat(PREFIX_MAX + 2)).is_none());
    }
}
