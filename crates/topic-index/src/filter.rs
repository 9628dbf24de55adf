//! Topic filters: their syntax, checked once, and the plain truth of what a filter matches.
//! Called where SUBSCRIBE and UNSUBSCRIBE are handled, and by both indexes of this crate.
//! It never stores subscriptions and never decides who may subscribe.

use std::fmt;
use std::str::Split;
use std::sync::Arc;

/// The longest topic filter of the standard, in bytes (`[MQTT-4.7.3-3]`).
const FILTER_BYTES_MAX: usize = 65_535;

/// The group of every subscription to `$queue/FILTER`, as `$share/NAME/FILTER` has `NAME`.
const QUEUE_GROUP: &str = "$queue";

/// What is wrong with a topic filter; each is reason code 0x8F (topic filter invalid) in SUBACK and UNSUBACK.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// Nothing at all (`[MQTT-4.7.3-1]`).
    #[error("a topic filter has at least one character, found none")]
    Empty,
    /// Longer than a string of the protocol can be (`[MQTT-4.7.3-3]`).
    #[error("a topic filter has at most 65535 bytes, found {found}")]
    TooLong {
        /// Its length in bytes.
        found: usize,
    },
    /// Not UTF-8.
    #[error("a topic filter is UTF-8 text, found other bytes")]
    NotUtf8,
    /// The character U+0000 in it (`[MQTT-4.7.3-2]`).
    #[error("a topic filter has no U+0000, found one")]
    NulCharacter,
    /// More levels than this broker takes.
    #[error("a topic filter has at most {max} levels here, found more")]
    TooManyLevels {
        /// The limit that was asked for.
        max: u16,
    },
    /// `#` before the last level, as in `#/a` (`[MQTT-4.7.1-1]`).
    #[error("`#` is the last level of a topic filter, found another level behind it")]
    MultiLevelNotLast,
    /// `#` beside other characters of its level, as in `a#` (`[MQTT-4.7.1-1]`).
    #[error("`#` stands alone in its level, found other characters beside it")]
    MultiLevelNotAlone,
    /// `+` beside other characters of its level, as in `a+` (`[MQTT-4.7.1-2]`).
    #[error("`+` stands alone in its level, found other characters beside it")]
    SingleLevelNotAlone,
    /// `$share` without a name: `$share/`, `$share//t` (`[MQTT-4.8.2-1]`).
    #[error("`$share/` is followed by the name of a group, found none")]
    ShareNameMissing,
    /// A wildcard in the name of the group: `$share/a+/t` (`[MQTT-4.8.2-2]`).
    #[error("the name of a shared group has no `+` and no `#`, found one")]
    ShareNameWildcard,
    /// A group and no filter: `$share/g`, `$share/g/`, `$queue/` (`[MQTT-4.8.2-2]`).
    #[error("the name of a shared group is followed by `/` and a topic filter, found no filter")]
    ShareFilterMissing,
    /// A shared filter inside a shared filter: `$share/g/$share/h/t`.
    #[error("the topic filter of a shared group is a plain one, found another `$share/` or `$queue/`")]
    ShareNested,
}

/// A topic filter as a client sends it in SUBSCRIBE and UNSUBSCRIBE, with its syntax checked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Filter {
    /// An ordinary topic filter.
    Plain(PlainFilter),
    /// `$share/GROUP/FILTER`, or `$queue/FILTER` with the group `$queue` (section 4.8.2).
    Shared {
        /// The name of the group: at least one character, none of them `/`, `+` or `#`.
        group: Arc<str>,
        /// What the group subscribes to; an ACL is applied to this.
        filter: PlainFilter,
    },
}

impl Filter {
    /// Checks the syntax of a topic filter of at most `levels_max` levels (those of the inner filter, where
    /// it is shared).
    ///
    /// # Errors
    ///
    /// The first offence found, as a [`FilterError`] (sections 4.7 and 4.8.2 of MQTT 5).
    pub fn parse(text: impl AsRef<[u8]>, levels_max: u16) -> Result<Self, FilterError> {
        let bytes = text.as_ref();
        if bytes.len() > FILTER_BYTES_MAX {
            return Err(FilterError::TooLong { found: bytes.len() });
        }
        let text = std::str::from_utf8(bytes).map_err(|_| FilterError::NotUtf8)?;
        match text.split_once('/').unwrap_or((text, "")) {
            ("$share", rest) => Self::parse_share(rest, levels_max),
            ("$queue", filter) => Self::shared(QUEUE_GROUP, filter, levels_max),
            _ => Ok(Self::Plain(PlainFilter::parse(text, levels_max)?)),
        }
    }

    /// The filter that topics are matched with: itself, or the inner one of a shared filter.
    #[must_use]
    pub fn plain(&self) -> &PlainFilter {
        match self {
            Self::Plain(filter) | Self::Shared { filter, .. } => filter,
        }
    }

    fn parse_share(rest: &str, levels_max: u16) -> Result<Self, FilterError> {
        let (group, filter) = rest.split_once('/').unwrap_or((rest, ""));
        if group.is_empty() {
            return Err(FilterError::ShareNameMissing);
        }
        if group.contains(['+', '#']) {
            return Err(FilterError::ShareNameWildcard);
        }
        if group.contains('\0') {
            return Err(FilterError::NulCharacter);
        }
        Self::shared(group, filter, levels_max)
    }

    fn shared(group: &str, filter: &str, levels_max: u16) -> Result<Self, FilterError> {
        if filter.is_empty() {
            return Err(FilterError::ShareFilterMissing);
        }
        if matches!(filter.split('/').next(), Some("$share" | "$queue")) {
            return Err(FilterError::ShareNested);
        }
        Ok(Self::Shared { group: group.into(), filter: PlainFilter::parse(filter, levels_max)? })
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(filter) => filter.fmt(out),
            Self::Shared { group, filter } if &**group == QUEUE_GROUP => write!(out, "{group}/{filter}"),
            Self::Shared { group, filter } => write!(out, "$share/{group}/{filter}"),
        }
    }
}

/// A topic filter that is not shared and whose syntax was checked; a clone shares the text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlainFilter(Arc<str>);

impl PlainFilter {
    /// The filter as the client wrote it, without the prefix of a shared one.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The levels between the slashes, at least one; each may be empty.
    pub fn levels(&self) -> Split<'_, char> {
        self.0.split('/')
    }

    /// Whether it can match more than the one topic that is spelled like it.
    #[must_use]
    pub fn has_wildcard(&self) -> bool {
        self.0.contains(['+', '#'])
    }

    /// A filter put together again from levels that were checked when it came in.
    pub(crate) fn from_checked(text: &[u8]) -> Self {
        Self(String::from_utf8_lossy(text).into())
    }

    fn parse(text: &str, levels_max: u16) -> Result<Self, FilterError> {
        if text.is_empty() {
            return Err(FilterError::Empty);
        }
        if text.contains('\0') {
            return Err(FilterError::NulCharacter);
        }
        if !topic_levels_within(text.as_bytes(), levels_max) {
            return Err(FilterError::TooManyLevels { max: levels_max });
        }
        let mut levels = text.split('/').peekable();
        while let Some(level) = levels.next() {
            if level == "#" && levels.peek().is_some() {
                return Err(FilterError::MultiLevelNotLast);
            }
            if level.len() > 1 && level.contains('#') {
                return Err(FilterError::MultiLevelNotAlone);
            }
            if level.len() > 1 && level.contains('+') {
                return Err(FilterError::SingleLevelNotAlone);
            }
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for PlainFilter {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl AsRef<str> for PlainFilter {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// Whether a topic name (or filter) has at most `levels_max` levels; the standard sets no limit, a broker does.
#[must_use]
pub fn topic_levels_within(topic: &[u8], levels_max: u16) -> bool {
    // A level is behind each slash and one is before the first, so N levels have N - 1 slashes.
    topic.iter().filter(|&&byte| byte == b'/').count() < usize::from(levels_max)
}

/// Whether `filter` matches `topic` (section 4.7): the rule itself, one pair at a time, in time linear in
/// their lengths. A wildcard in the first level matches no topic that starts with `$` (`[MQTT-4.7.2-1]`).
#[must_use]
pub fn matches(filter: &PlainFilter, topic: &[u8]) -> bool {
    let mut topic_levels = topic.split(|&byte| byte == b'/');
    if topic.first() == Some(&b'$') && filter.as_str().starts_with(['+', '#']) {
        return false;
    }
    for level in filter.levels() {
        match (level, topic_levels.next()) {
            // `a/#` is asked for the topic `a` too: the parent level is part of `#`.
            ("#", _) => return true,
            ("+", Some(_)) => {}
            (literal, Some(name)) if literal.as_bytes() == name => {}
            _ => return false,
        }
    }
    topic_levels.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::{Filter, FilterError, matches, topic_levels_within};

    fn refused(text: &str) -> FilterError {
        Filter::parse(text, 8).expect_err(text)
    }

    #[test]
    fn each_bad_form_has_its_variant() {
        assert_eq!(refused(""), FilterError::Empty);
        assert_eq!(refused("a\0b"), FilterError::NulCharacter);
        assert_eq!(Filter::parse(b"a/\xff", 8), Err(FilterError::NotUtf8));
        assert_eq!(refused("a#"), FilterError::MultiLevelNotAlone);
        assert_eq!(refused("a/#b"), FilterError::MultiLevelNotAlone);
        assert_eq!(refused("##"), FilterError::MultiLevelNotAlone);
        assert_eq!(refused("#/a"), FilterError::MultiLevelNotLast);
        assert_eq!(refused("a/#/"), FilterError::MultiLevelNotLast);
        assert_eq!(refused("a+"), FilterError::SingleLevelNotAlone);
        assert_eq!(refused("a/+b/c"), FilterError::SingleLevelNotAlone);
        assert_eq!(refused("////////"), FilterError::TooManyLevels { max: 8 });
        assert_eq!(refused(&"/".repeat(65_535)), FilterError::TooManyLevels { max: 8 });
        assert_eq!(refused(&"a".repeat(65_536)), FilterError::TooLong { found: 65_536 });
    }

    #[test]
    fn each_bad_shared_form_has_its_variant() {
        assert_eq!(refused("$share"), FilterError::ShareNameMissing);
        assert_eq!(refused("$share/"), FilterError::ShareNameMissing);
        assert_eq!(refused("$share//t"), FilterError::ShareNameMissing);
        assert_eq!(refused("$share/a+/t"), FilterError::ShareNameWildcard);
        assert_eq!(refused("$share/#/t"), FilterError::ShareNameWildcard);
        assert_eq!(refused("$share/g\0/t"), FilterError::NulCharacter);
        assert_eq!(refused("$share/g"), FilterError::ShareFilterMissing);
        assert_eq!(refused("$share/g/"), FilterError::ShareFilterMissing);
        assert_eq!(refused("$queue"), FilterError::ShareFilterMissing);
        assert_eq!(refused("$queue/"), FilterError::ShareFilterMissing);
        assert_eq!(refused("$share/g/a#"), FilterError::MultiLevelNotAlone);
        assert_eq!(refused("$queue/$share/g/t"), FilterError::ShareNested);
        assert_eq!(refused("$share/g/$queue/t"), FilterError::ShareNested);
    }

    #[test]
    fn good_forms_come_back_as_they_were_written() {
        for text in
            ["a", "/", "+", "#", "+/+/#", "a//b", "$SYS/#", "/#", "$share/g//", "$share/g/#", "$queue/a/+"]
        {
            let filter = Filter::parse(text, 8).expect(text);
            assert_eq!(filter.to_string(), text);
            assert_eq!(
                matches!(filter, Filter::Shared { .. }),
                text.starts_with("$share") || text.starts_with("$queue")
            );
        }
        assert!(Filter::parse("$shared/a", 8).is_ok_and(|filter| matches!(filter, Filter::Plain(_))));
        assert!(Filter::parse("/".repeat(65_535), u16::MAX).is_err(), "65,536 levels");
        assert!(Filter::parse("/".repeat(65_534), u16::MAX).is_ok(), "65,535 levels");
    }

    #[test]
    fn the_examples_of_the_standard_match() {
        let cases = [
            ("sport/tennis/player1/#", "sport/tennis/player1", true),
            ("sport/tennis/player1/#", "sport/tennis/player1/ranking", true),
            ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true),
            ("sport/#", "sport", true),
            ("#", "anything/at/all", true),
            ("sport/tennis/+", "sport/tennis/player1", true),
            ("sport/tennis/+", "sport/tennis/player1/ranking", false),
            ("sport/+", "sport", false),
            ("sport/+", "sport/", true),
            ("+/+", "/finance", true),
            ("/+", "/finance", true),
            ("+", "/finance", false),
            ("#", "$SYS/x", false),
            ("+/monitor/Clients", "$SYS/monitor/Clients", false),
            ("$SYS/#", "$SYS/x", true),
            ("$SYS/monitor/+", "$SYS/monitor/Clients", true),
            ("a/+", "a/$x", true),
            ("Accounts", "ACCOUNTS", false),
        ];
        for (filter, topic, expected) in cases {
            let parsed = Filter::parse(filter, 8).expect(filter);
            assert_eq!(matches(parsed.plain(), topic.as_bytes()), expected, "{filter} on {topic}");
        }
    }

    #[test]
    fn levels_are_counted_between_slashes() {
        assert!(topic_levels_within(b"a", 1));
        assert!(!topic_levels_within(b"a/", 1));
        assert!(topic_levels_within(b"a/", 2));
        assert!(!topic_levels_within(b"a", 0));
    }
}
