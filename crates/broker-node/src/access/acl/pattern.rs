//! Topic patterns of rules: a topic filter, with `%c`, `%u` and `%cn` for who asks. What stands for them is part of one
//! level and nothing else: no `+`, `#` or `/` in a name ever matches more than itself.
//! Read by the files' parsers, used by `rights`; never looks at who may do what.

use topic_index::{Filter, PlainFilter};

/// A pattern as a rule has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template(Box<[TemplateLevel]>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum TemplateLevel {
    Plus,
    Hash,
    Parts(Box<[Part]>),
}

/// A piece of a level.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Box<str>),
    Name(Placeholder),
}

/// What stands for something of who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placeholder {
    /// `%c`
    ClientId,
    /// `%u`
    User,
    /// `%cn`
    CommonName,
}

impl Placeholder {
    /// All of our own format; what begins like another one comes first.
    pub(crate) const ALL: &'static [(&'static str, Self)] =
        &[("%cn", Self::CommonName), ("%c", Self::ClientId), ("%u", Self::User)];
    /// Those that Mosquitto knows.
    pub(crate) const MOSQUITTO: &'static [(&'static str, Self)] =
        &[("%c", Self::ClientId), ("%u", Self::User)];
}

/// A pattern for one client: what stood for names is text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern(Box<[Level]>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Level {
    Plus,
    Hash,
    Text(Box<str>),
}

impl Template {
    /// Reads a pattern with these placeholders.
    ///
    /// # Errors
    /// It is no topic filter, or one of a shared group.
    pub(crate) fn parse(text: &str, known: &[(&str, Placeholder)]) -> Result<Self, String> {
        let filter = match Filter::parse(text, u16::MAX) {
            Ok(Filter::Plain(filter)) => filter,
            Ok(Filter::Shared { filter, .. }) => {
                return Err(format!(
                    "rules are for the filter inside a shared group: expected {:?}, found {text:?}",
                    filter.as_str()
                ));
            }
            Err(error) => return Err(format!("{text:?} is no topic filter: {error}")),
        };
        let levels = filter.levels().map(|level| match level {
            "+" => TemplateLevel::Plus,
            "#" => TemplateLevel::Hash,
            text => TemplateLevel::Parts(parts(text, known)),
        });
        Ok(Self(levels.collect()))
    }

    /// Whether it needs to know this of a client.
    pub(crate) fn needs(&self, name: Placeholder) -> bool {
        let mut parts = self.0.iter().filter_map(|level| match level {
            TemplateLevel::Parts(parts) => Some(parts),
            TemplateLevel::Plus | TemplateLevel::Hash => None,
        });
        parts.any(|parts| parts.contains(&Part::Name(name)))
    }

    /// The pattern for a client. `None` where it has no such name, an empty one, or one that would make this a pattern for
    /// the broker's own topics.
    pub(crate) fn of<'a>(&self, name: impl Fn(Placeholder) -> Option<&'a str>) -> Option<Pattern> {
        let levels = self.0.iter().map(|level| match level {
            TemplateLevel::Plus => Some(Level::Plus),
            TemplateLevel::Hash => Some(Level::Hash),
            TemplateLevel::Parts(parts) => {
                let texts = parts.iter().map(|part| match part {
                    Part::Text(text) => Some(&**text),
                    Part::Name(placeholder) => name(*placeholder).filter(|name| !name.is_empty()),
                });
                texts.collect::<Option<String>>().map(|text| Level::Text(text.into()))
            }
        });
        let pattern = Pattern(levels.collect::<Option<_>>()?);
        (pattern.is_of_broker() == self.is_of_broker()).then_some(pattern)
    }

    /// Whether its own text names topics like `$SYS`.
    fn is_of_broker(&self) -> bool {
        let Some(TemplateLevel::Parts(parts)) = self.0.first() else { return false };
        matches!(parts.first(), Some(Part::Text(text)) if text.starts_with('$'))
    }
}

/// The pieces of one level. What is behind a placeholder is not looked at again, and what stands for one never is.
fn parts(level: &str, known: &[(&str, Placeholder)]) -> Box<[Part]> {
    let (mut parts, mut text, mut rest) = (Vec::new(), String::new(), level);
    while let Some(next) = rest.chars().next() {
        let found = known.iter().find_map(|(spelled, name)| Some((rest.strip_prefix(spelled)?, *name)));
        if let Some((behind, name)) = found {
            if !text.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut text).into()));
            }
            parts.push(Part::Name(name));
            rest = behind;
        } else {
            text.push(next);
            rest = rest.get(next.len_utf8()..).unwrap_or_default();
        }
    }
    if !text.is_empty() || parts.is_empty() {
        parts.push(Part::Text(text.into()));
    }
    parts.into()
}

impl Pattern {
    fn is_of_broker(&self) -> bool {
        matches!(self.0.first(), Some(Level::Text(text)) if text.starts_with('$'))
    }

    /// Whether a wildcard at its beginning keeps it from topics that begin like this (`[MQTT-4.7.2-1]`).
    fn leaves_out(&self, first: &[u8]) -> bool {
        first.starts_with(b"$") && !matches!(self.0.first(), Some(Level::Text(_)))
    }

    /// Whether it matches a topic.
    pub(crate) fn matches(&self, topic: &[u8]) -> bool {
        if self.leaves_out(topic) {
            return false;
        }
        let mut levels = topic.split(|byte| *byte == b'/');
        for level in &self.0 {
            let fits = match level {
                Level::Hash => return true,
                Level::Plus => levels.next().is_some(),
                Level::Text(text) => levels.next() == Some(text.as_bytes()),
            };
            if !fits {
                return false;
            }
        }
        levels.next().is_none()
    }

    /// Whether it matches every topic that a filter matches; says no where that is hard to tell.
    pub(crate) fn covers(&self, filter: &PlainFilter) -> bool {
        if self.leaves_out(filter.as_str().as_bytes()) {
            return false;
        }
        let mut levels = filter.levels();
        for level in &self.0 {
            let fits = match (level, levels.next()) {
                (Level::Hash, _) => return true,
                (_, None | Some("#")) => false,
                (Level::Plus, Some(_)) => true,
                (Level::Text(text), Some(asked)) => asked != "+" && asked == &**text,
            };
            if !fits {
                return false;
            }
        }
        levels.next().is_none()
    }

    /// Whether there may be a topic that both it and a filter match.
    pub(crate) fn overlaps(&self, filter: &PlainFilter) -> bool {
        if self.leaves_out(filter.as_str().as_bytes())
            || self.is_of_broker() && filter.as_str().starts_with(['+', '#'])
        {
            return false;
        }
        let mut levels = filter.levels();
        for level in &self.0 {
            let fits = match (level, levels.next()) {
                (Level::Hash, _) | (_, Some("#")) => return true,
                (_, None) => false,
                (Level::Plus, Some(_)) | (Level::Text(_), Some("+")) => true,
                (Level::Text(text), Some(asked)) => asked == &**text,
            };
            if !fits {
                return false;
            }
        }
        matches!(levels.next(), None | Some("#"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern_for(text: &str, id: &str, user: &str) -> Option<Pattern> {
        let template = Template::parse(text, Placeholder::ALL).unwrap();
        template.of(|name| match name {
            Placeholder::ClientId => Some(id),
            Placeholder::User => Some(user),
            Placeholder::CommonName => None,
        })
    }

    fn pattern(text: &str) -> Pattern {
        pattern_for(text, "id", "user").unwrap()
    }

    fn filter(text: &str) -> PlainFilter {
        Filter::parse(text, 128).unwrap().plain().clone()
    }

    /// Every topic and filter of up to three levels out of few words.
    fn all(words: &[&str]) -> Vec<String> {
        let mut all: Vec<String> = words.iter().map(ToString::to_string).collect();
        for _ in 0..2 {
            let longer: Vec<String> =
                all.iter().flat_map(|text| words.iter().map(move |word| format!("{text}/{word}"))).collect();
            all.extend(longer);
        }
        all.sort();
        all.dedup();
        all
    }

    /// The plain truth of filters is that of `topic_index`; a pattern without names is a filter.
    #[test]
    fn patterns_match_cover_and_overlap_as_filters_do() {
        let topics = all(&["a", "b", "$s", ""]);
        let topics: Vec<&String> = topics.iter().filter(|topic| !topic.is_empty()).collect();
        let filters: Vec<String> = all(&["a", "$s", "+", "#", ""])
            .into_iter()
            .filter(|text| Filter::parse(text, 128).is_ok())
            .collect();
        let matched = |text: &str| {
            let filter = filter(text);
            topics.iter().map(|topic| topic_index::matches(&filter, topic.as_bytes())).collect::<Vec<bool>>()
        };
        for rule in &filters {
            let (pattern, by_rule) = (pattern(rule), matched(rule));
            let found: Vec<bool> = topics.iter().map(|topic| pattern.matches(topic.as_bytes())).collect();
            assert_eq!(found, by_rule, "{rule}");
            for asked in &filters {
                let by_asked = matched(asked);
                let both = by_rule.iter().zip(&by_asked);
                let asked_filter = filter(asked);
                if pattern.covers(&asked_filter) {
                    assert!(both.clone().all(|(rule, asked)| *rule || !asked), "{rule} covers {asked}");
                }
                if !pattern.overlaps(&asked_filter) {
                    assert!(!both.clone().any(|(rule, asked)| *rule && *asked), "{rule} overlaps {asked}");
                }
            }
        }
    }

    #[test]
    fn a_filter_is_covered_by_what_matches_all_of_it() {
        for (rule, asked) in [
            ("a/#", "a/#"),
            ("a/#", "a"),
            ("a/#", "a/+/c"),
            ("a/+", "a/b"),
            ("a/+", "a/+"),
            ("#", "a/b"),
            ("#", "#"),
            ("#", "+/+"),
            ("$SYS/#", "$SYS/broker/+"),
            ("a//b", "a//b"),
        ] {
            assert!(pattern(rule).covers(&filter(asked)), "{rule} covers {asked}");
        }
        for (rule, asked) in [
            ("a/b", "a/+"),
            ("a/b", "#"),
            ("a/+", "a/#"),
            ("a/+", "#"),
            ("+", "#"),
            ("a", "a/#"),
            ("a/+/c", "a/#"),
            ("#", "$SYS/#"),
            ("+/x", "$SYS/x"),
            ("a/b", "a"),
            ("a", "a/b"),
        ] {
            assert!(!pattern(rule).covers(&filter(asked)), "{rule} does not cover {asked}");
        }
    }

    /// RabbitMQ CVE-2026-44838, Mosquitto CVE-2017-7650: names are text, whatever is in them.
    #[test]
    fn a_name_never_matches_more_than_itself() {
        for hostile in ["+", "#", "a/b", "+/+", "a/#", "/", ".*", "%u", "%c", "*", "$SYS"] {
            for rule in ["dev/%c/data", "dev/%c", "dev/x%c/#", "dev/%c/+"] {
                let Some(pattern) = pattern_for(rule, hostile, "other") else { continue };
                for topic in [
                    "dev/victim/data",
                    "dev/victim",
                    "dev/a/b",
                    "dev/xa/b",
                    "dev",
                    "dev/other/data",
                    "$SYS/x",
                ] {
                    assert!(!pattern.matches(topic.as_bytes()), "{rule} for {hostile} matches {topic}");
                }
                for asked in ["dev/+/data", "dev/#", "#", "dev/+", "dev/victim/data", "dev/a/b", "dev/a/#"] {
                    assert!(!pattern.covers(&filter(asked)), "{rule} for {hostile} covers {asked}");
                }
            }
        }
        // Nor does it lead to the broker's own topics, or to nothing at all.
        assert_eq!(pattern_for("%c/#", "$SYS", "u"), None);
        assert_eq!(pattern_for("%u%c/#", "SYS", "$"), None);
        assert_eq!(pattern_for("%c/#", "", "u"), None);
        assert_eq!(pattern_for("%cn/#", "c", "u"), None, "no certificate, no name of one");
        assert!(pattern_for("$SYS/%c", "c", "u").is_some());
    }

    #[test]
    fn names_stand_inside_a_level_too() {
        let own = pattern_for("fleet/%u-%c/100%/%x", "7", "truck").unwrap();
        assert!(own.matches(b"fleet/truck-7/100%/%x"));
        assert!(!own.matches(b"fleet/truck-8/100%/%x"));
        let mosquitto = Template::parse("%cn/%u", Placeholder::MOSQUITTO).unwrap();
        assert!(mosquitto.of(|_| Some("x")).unwrap().matches(b"xn/x"), "Mosquitto knows no %cn");
        assert!(mosquitto.needs(Placeholder::User) && !mosquitto.needs(Placeholder::CommonName));
    }

    #[test]
    fn what_is_no_filter_is_no_pattern() {
        for text in ["", "a/#/b", "a+", "$share/g/a", "$queue/a"] {
            assert!(Template::parse(text, Placeholder::ALL).is_err(), "{text}");
        }
    }
}
