//! Topic aliases of one connection, both directions (section 3.3.2.3.4 of MQTT 5.0). They begin empty
//! with each connection (`[MQTT-3.3.2-7]`).

use std::num::NonZeroU16;

use hashbrown::HashMap;
use mqtt_codec::{Offence, Publish, Text};

/// Aliases that this broker assigns on one connection at most, whatever the client's maximum.
const OUTBOUND_MAX: u16 = 64;

/// Aliases that the client assigned.
#[derive(Debug)]
pub(crate) struct InboundAliases {
    maximum: u16,
    topics: HashMap<NonZeroU16, Text>,
}

impl InboundAliases {
    /// None yet; the client may use 1 to `maximum` (`[MQTT-3.3.2-12]`).
    pub(crate) fn new(maximum: u16) -> Self {
        Self { maximum, topics: HashMap::new() }
    }

    /// The topic of a publish: assigns the alias where there is a topic, looks it up where there is none.
    ///
    /// # Errors
    /// An alias above the maximum, or one that was not assigned.
    pub(crate) fn resolve(&mut self, publish: &Publish) -> Result<Text, Offence> {
        let Some(alias) = publish.topic_alias else { return Ok(publish.topic.clone()) };
        if alias.get() > self.maximum {
            return Err(Offence::TopicAliasAboveMaximum);
        }
        if publish.topic.is_empty() {
            return self.topics.get(&alias).cloned().ok_or(Offence::TopicAliasUnknown);
        }
        self.topics.insert(alias, publish.topic.detached());
        Ok(publish.topic.clone())
    }
}

/// Aliases that this broker assigned.
#[derive(Debug)]
pub(crate) struct OutboundAliases {
    maximum: u16,
    aliases: HashMap<Box<[u8]>, NonZeroU16>,
}

impl OutboundAliases {
    /// None yet; the client takes 1 to `maximum`, 0 is none at all (`[MQTT-3.1.2-26]`, `[MQTT-3.1.2-27]`).
    pub(crate) fn new(maximum: u16) -> Self {
        Self { maximum: maximum.min(OUTBOUND_MAX), aliases: HashMap::new() }
    }

    /// The alias of a topic, and whether the topic must still be sent with it, which [`Self::assign`] then
    /// makes binding. The first topics of a connection get one; the rest go without.
    pub(crate) fn of(&self, topic: &[u8]) -> Option<(NonZeroU16, bool)> {
        if self.maximum == 0 {
            return None;
        }
        if let Some(alias) = self.aliases.get(topic) {
            return Some((*alias, false));
        }
        let next = u16::try_from(self.aliases.len() + 1).ok().filter(|next| *next <= self.maximum)?;
        Some((NonZeroU16::new(next)?, true))
    }

    /// The alias was sent with its topic.
    pub(crate) fn assign(&mut self, topic: &[u8], alias: NonZeroU16) {
        self.aliases.insert(topic.into(), alias);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_topics_get_aliases_and_the_rest_go_without() {
        let mut aliases = OutboundAliases::new(2);
        let alias = |n| NonZeroU16::new(n).unwrap();
        assert_eq!(aliases.of(b"a"), Some((alias(1), true)));
        aliases.assign(b"a", alias(1));
        assert_eq!(aliases.of(b"a"), Some((alias(1), false)));
        assert_eq!(aliases.of(b"b"), Some((alias(2), true)));
        aliases.assign(b"b", alias(2));
        assert_eq!(aliases.of(b"c"), None);
        assert_eq!(OutboundAliases::new(0).of(b"a"), None);
    }

    #[test]
    fn an_alias_is_resolved_only_after_it_was_assigned() {
        let mut aliases = InboundAliases::new(1);
        let publish = |topic: &str, alias| Publish {
            topic: Text::new(topic).unwrap(),
            topic_alias: NonZeroU16::new(alias),
            ..Publish::default()
        };
        assert_eq!(aliases.resolve(&publish("", 1)), Err(Offence::TopicAliasUnknown));
        assert_eq!(aliases.resolve(&publish("t", 2)), Err(Offence::TopicAliasAboveMaximum));
        assert_eq!(aliases.resolve(&publish("t", 1)).unwrap().as_str(), "t");
        assert_eq!(aliases.resolve(&publish("", 1)).unwrap().as_str(), "t");
        assert_eq!(aliases.resolve(&publish("u", 1)).unwrap().as_str(), "u");
        assert_eq!(aliases.resolve(&publish("", 1)).unwrap().as_str(), "u");
    }
}
