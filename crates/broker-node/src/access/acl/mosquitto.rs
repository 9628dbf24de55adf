//! The `acl_file` of Mosquitto 2, with its meaning: lines `topic` are about the user of the last line `user`, before the
//! first one about those without a user name; lines `pattern` are about everybody. What is denied counts before what is
//! allowed, and a user's own lines count before the patterns.

use mqtt_codec::QoS;

use super::pattern::{Placeholder, Template};
use super::rights::Actions;
use super::{Rule, Who};

/// Reads all lines.
///
/// # Errors
/// What is wrong with which line.
pub(super) fn parse(text: &str) -> Result<Vec<Rule>, String> {
    let (mut topics, mut patterns) = (Vec::new(), Vec::new());
    let mut user: Option<Box<str>> = None;
    for (number, line) in text.lines().enumerate() {
        let at = |why: String| format!("line {}: {why}", number + 1);
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (word, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        match (word, rest.trim_start()) {
            ("user", name) if !name.is_empty() => user = Some(name.into()),
            ("topic", rest) => {
                let who = user.clone().map_or(Who::Anonymous, Who::User);
                topics.push(rule(rest, &[], Some(who)).map_err(at)?);
            }
            ("pattern", rest) => {
                let rule = rule(rest, Placeholder::MOSQUITTO, None).map_err(at)?;
                if !Placeholder::MOSQUITTO.iter().any(|(_, name)| rule.template.needs(*name)) {
                    return Err(at(
                        "a pattern has %c or %u in it: expected a line \"topic\" for all else".into()
                    ));
                }
                patterns.push(rule);
            }
            (other, _) => {
                return Err(at(format!(
                    "expected \"user NAME\", \"topic [ACCESS] TOPIC\" or \"pattern [ACCESS] TOPIC\", found {other:?}"
                )));
            }
        }
    }
    // Stable: what is denied comes first, all else in its order.
    topics.sort_by_key(|rule: &Rule| rule.allows);
    patterns.sort_by_key(|rule: &Rule| rule.allows);
    Ok(topics.into_iter().chain(patterns).collect())
}

/// `[read|write|readwrite|deny] TOPIC`; a topic may have blanks in it.
fn rule(text: &str, known: &[(&str, Placeholder)], who: Option<Who>) -> Result<Rule, String> {
    let both = Actions { publish: true, subscribe: true };
    let (access, topic) = text.split_once([' ', '\t']).unwrap_or(("", text));
    let (allows, actions, topic) = match access {
        "read" => (true, Actions { publish: false, ..both }, topic),
        "write" => (true, Actions { subscribe: false, ..both }, topic),
        "readwrite" => (true, both, topic),
        "deny" => (false, both, topic),
        _ => (true, both, text),
    };
    let template = Template::parse(topic.trim_start(), known)?;
    Ok(Rule {
        allows,
        actions,
        template,
        who: who.into_iter().collect(),
        qos: QoS::ExactlyOnce,
        retain: true,
    })
}
