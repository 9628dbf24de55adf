//! Topics that clients cannot publish to, by PUBLISH or by a will: they are the broker's own, or would be taken for
//! a shared subscription. Asked by `publish` and by CONNECT; decides nothing else.

use mqtt_codec::Version;

/// First levels of such topics.
const FIRST_LEVELS: [&[u8]; 3] = [b"$SYS", b"$share", b"$queue"];
/// Where the bridges of Mosquitto say that they are there, as retained message and as will. There is no way to
/// configure them that keeps it from the broker they connect to and not from their own.
const BRIDGE_STATES: &[u8] = b"$SYS/broker/connection";

/// What becomes of a message for a topic that is not its client's to publish to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    /// It is refused, where the client's version has a way to say so; else dropped.
    Refused,
    /// It is dropped, and answered as if it were not.
    Dropped,
}

impl Denied {
    /// What becomes of a message for this topic; `None` where it may be published.
    pub(crate) fn of(topic: &[u8]) -> Option<Self> {
        let first = topic.split(|byte| *byte == b'/').next()?;
        if !FIRST_LEVELS.contains(&first) {
            return None;
        }
        let states = topic.strip_prefix(BRIDGE_STATES).filter(|rest| matches!(rest, [] | [b'/', ..]));
        Some(if states.is_some() { Self::Dropped } else { Self::Refused })
    }

    /// Whether the client is told: 5.0 has a reason code for it (`[MQTT-3.3.5-2]` of 3.1.1).
    pub(crate) fn is_told(self, version: Version) -> bool {
        self == Self::Refused && version.is_v5()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_brokers_own_topics_are_denied() {
        let own = ["$SYS", "$SYS/broker/x", "$share/g/t", "$queue/t", "$SYS/broker/connections"];
        for topic in own {
            assert_eq!(Denied::of(topic.as_bytes()), Some(Denied::Refused), "{topic}");
        }
        for topic in ["$SYSTEM/x", "a/$SYS", "$other/x", "/$SYS", "$sys/x", "", "a/$SYS/broker/connection"] {
            assert_eq!(Denied::of(topic.as_bytes()), None, "{topic}");
        }
        for topic in ["$SYS/broker/connection", "$SYS/broker/connection/", "$SYS/broker/connection/a/state"] {
            assert_eq!(Denied::of(topic.as_bytes()), Some(Denied::Dropped), "{topic}");
        }
    }

    #[test]
    fn a_client_is_told_what_its_version_has_words_for() {
        assert!(Denied::Refused.is_told(Version::V5));
        for version in [Version::V3_1, Version::V3_1_1] {
            assert!(!Denied::Refused.is_told(version));
        }
        for version in [Version::V3_1, Version::V3_1_1, Version::V5] {
            assert!(!Denied::Dropped.is_told(version));
        }
    }
}
