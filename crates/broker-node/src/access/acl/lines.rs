//! Quelea's own form of rules: a line for each, such as `allow publish sensors/%u/# user=ann qos=1`. Cut off anywhere, a
//! file allows less than the whole, never more: rules say all about themselves in one line, the first that fits decides,
//! and a group is complete before a rule names it.

use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use mqtt_codec::QoS;

use super::pattern::{Placeholder, Template};
use super::rights::Actions;
use super::{Rule, Who, words};

/// What a line may be.
const EXPECTED: &str = "\"allow\" or \"deny\", then \"publish\", \"subscribe\" or \"all\", a topic filter, and whom it is about; \
                        or \"group\", its name and its users";

/// The groups so far.
type Groups = HashMap<String, Arc<HashSet<Box<str>>>>;

/// Reads all lines.
///
/// # Errors
/// What is wrong with which line.
pub(super) fn parse(text: &str) -> Result<Vec<Rule>, String> {
    let (mut rules, mut groups) = (Vec::new(), Groups::new());
    for (number, line) in text.lines().enumerate() {
        let at = |why: String| format!("line {}: {why}", number + 1);
        let words = words(line).map_err(at)?;
        match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            [] => {}
            ["group", name, users @ ..] => {
                let users = users.iter().map(|user| Box::from(*user)).collect();
                if groups.insert((*name).to_owned(), Arc::new(users)).is_some() {
                    return Err(at(format!(
                        "the group {name:?} has a line before: it has one line for all its users"
                    )));
                }
            }
            [verb @ ("allow" | "deny"), actions, filter, rest @ ..] => {
                let rule = rule(*verb == "allow", (actions, filter), rest, &groups);
                rules.push(rule.map_err(at)?);
            }
            [first, ..] => return Err(at(format!("expected {EXPECTED}, found {first:?}"))),
        }
    }
    Ok(rules)
}

fn rule(
    allows: bool,
    (actions, filter): (&str, &str),
    rest: &[&str],
    groups: &Groups,
) -> Result<Rule, String> {
    let actions = match actions {
        "publish" => Actions { publish: true, subscribe: false },
        "subscribe" => Actions { publish: false, subscribe: true },
        "all" => Actions { publish: true, subscribe: true },
        other => return Err(format!("expected \"publish\", \"subscribe\" or \"all\", found {other:?}")),
    };
    let template = Template::parse(filter, Placeholder::ALL)?;
    let (mut who, mut qos, mut retain) = (Vec::new(), QoS::ExactlyOnce, true);
    for condition in rest {
        match condition.split_once('=').unwrap_or((condition, "")) {
            ("qos" | "retain", _) if !allows => {
                return Err(format!("{condition:?} limits what is allowed, and this rule denies"));
            }
            ("qos", "0") => qos = QoS::AtMostOnce,
            ("qos", "1") => qos = QoS::AtLeastOnce,
            ("qos", "2") => qos = QoS::ExactlyOnce,
            ("qos", other) => return Err(format!("expected qos=0, qos=1 or qos=2, found {other:?}")),
            ("retain", "no") if actions.publish => retain = false,
            ("retain", _) => {
                return Err(format!("expected retain=no in a rule about publishing, found {condition:?}"));
            }
            condition => who.push(one_of(condition, groups)?),
        }
    }
    Ok(Rule { allows, actions, template, who: who.into(), qos, retain })
}

fn one_of((key, value): (&str, &str), groups: &Groups) -> Result<Who, String> {
    if value.is_empty() && key != "anonymous" {
        return Err(format!(
            "expected user=NAME, group=NAME, client=ID, address=NETWORK, cn=NAME, anonymous, qos=N or retain=no, found {key:?}"
        ));
    }
    Ok(match key {
        "anonymous" if value.is_empty() => Who::Anonymous,
        "user" => Who::User(value.into()),
        "client" => Who::Client(value.into()),
        "cn" => Who::CommonName(value.into()),
        "group" => {
            let group = groups.get(value).ok_or_else(|| format!("no group {value:?} in the lines before"))?;
            Who::Group { name: value.into(), members: Arc::clone(group) }
        }
        "address" => {
            let single = value.parse().map(|address: IpAddr| address.to_canonical()).map(Into::into);
            let network = single.or_else(|_| value.parse());
            Who::Address(
                network.map_err(|_| {
                    format!("{value:?} is neither an address nor a network such as 10.0.0.0/8")
                })?,
            )
        }
        other => {
            return Err(format!(
                "unknown word {other:?}: expected user, group, client, address, cn, anonymous, qos or retain"
            ));
        }
    })
}
