//! Who may publish and subscribe to what: rules from a file, in order, the first that fits decides, and what no rule is
//! about is denied. `Access` makes `Rights` of them for each connection; nothing here knows connections or files.

mod granted;
mod lines;
mod mosquitto;
mod pattern;
mod rights;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use ipnet::IpNet;
use mqtt_codec::QoS;

pub(crate) use self::granted::Granted;
use self::pattern::{Placeholder, Template};
use self::rights::Actions;
pub(crate) use self::rights::{Clause, Rights};
use super::Principal;

/// A rule as a file has it.
#[derive(Debug)]
struct Rule {
    allows: bool,
    actions: Actions,
    template: Template,
    /// About whom: all of it has to hold; nothing is everybody.
    who: Box<[Who]>,
    qos: QoS,
    retain: bool,
}

/// Whom a rule is about.
#[derive(Debug)]
enum Who {
    /// Whoever has no user name.
    Anonymous,
    /// This user.
    User(Box<str>),
    /// Users of this group: those that the file names, and whose token does.
    Group { name: Box<str>, members: Arc<HashSet<Box<str>>> },
    /// The client with this identifier.
    Client(Box<str>),
    /// Clients with such an address.
    Address(IpNet),
    /// Whoever has a certificate with this common name.
    CommonName(Box<str>),
}

impl Who {
    fn is(&self, who: &Principal, client: &str) -> bool {
        let user = who.user.as_deref();
        match self {
            Self::Anonymous => user.is_none(),
            Self::User(name) => user == Some(name),
            Self::Group { name, members } => {
                user.is_some_and(|user| members.contains(user))
                    || who.token.as_ref().is_some_and(|token| token.is_of(name))
            }
            Self::Client(id) => client == &**id,
            Self::Address(network) => who.address.is_some_and(|address| network.contains(&address)),
            Self::CommonName(name) => who.common_name.as_deref() == Some(name),
        }
    }
}

/// All rules.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    rules: Vec<Rule>,
    /// Places of the rules about one user each.
    by_user: HashMap<Box<str>, Vec<usize>>,
    /// Places of all others.
    others: Vec<usize>,
}

impl Rules {
    /// Reads a file of Quelea's own form.
    ///
    /// # Errors
    /// What is wrong with which line.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        lines::parse(text).map(Self::new)
    }

    /// Reads an `acl_file` of Mosquitto.
    ///
    /// # Errors
    /// What is wrong with which line.
    pub(crate) fn parse_mosquitto(text: &str) -> Result<Self, String> {
        mosquitto::parse(text).map(Self::new)
    }

    fn new(rules: Vec<Rule>) -> Self {
        let mut this = Self::default();
        for (place, rule) in rules.iter().enumerate() {
            let user = rule.who.iter().find_map(|who| match who {
                Who::User(name) => Some(name),
                _ => None,
            });
            match user {
                Some(name) => this.by_user.entry(name.clone()).or_default().push(place),
                None => this.others.push(place),
            }
        }
        Self { rules, ..this }
    }

    /// What a client may do.
    #[cfg(test)]
    pub(crate) fn rights_of(&self, who: &Principal, client: &str) -> Rights {
        Rights::new(self.clauses_of(who, client))
    }

    /// The rules that are about a client, in their order.
    pub(crate) fn clauses_of(&self, who: &Principal, client: &str) -> Vec<Clause> {
        let own = who.user.as_deref().and_then(|user| self.by_user.get(user));
        let mut places: Vec<usize> = own.into_iter().flatten().chain(&self.others).copied().collect();
        places.sort_unstable();
        let rules = places.into_iter().filter_map(|place| self.rules.get(place));
        let theirs = rules.filter(|rule| rule.who.iter().all(|one| one.is(who, client)));
        let clauses = theirs.filter_map(|rule| {
            Some(Clause {
                allows: rule.allows,
                actions: rule.actions,
                pattern: rule.template.of(names(who, client))?,
                qos: rule.qos,
                retain: rule.retain,
            })
        });
        clauses.collect()
    }
}

/// What stands for placeholders.
fn names<'a>(who: &'a Principal, client: &'a str) -> impl Fn(Placeholder) -> Option<&'a str> {
    move |placeholder| match placeholder {
        Placeholder::ClientId => Some(client),
        Placeholder::User => who.user.as_deref(),
        Placeholder::CommonName => who.common_name.as_deref(),
    }
}

/// The words of a line: apart by blanks, or in double quotes, in which `\"` and `\\` stand for themselves.
///
/// # Errors
/// A quote that does not end, or that something is stuck to.
pub(super) fn words(line: &str) -> Result<Vec<String>, String> {
    let (mut words, mut characters) = (Vec::new(), line.chars().peekable());
    loop {
        while characters.next_if(|c| c.is_ascii_whitespace()).is_some() {}
        let mut word = String::new();
        let mut quoted = false;
        match characters.peek() {
            None | Some('#') if words.is_empty() => return Ok(words),
            None => return Ok(words),
            Some(_) => {}
        }
        while let Some(next) = characters.next_if(|c| quoted || !c.is_ascii_whitespace()) {
            match next {
                '"' => quoted = !quoted,
                '\\' if quoted => match characters.next() {
                    Some(next @ ('"' | '\\')) => word.push(next),
                    _ => return Err("in quotes, \\ is followed by \" or \\".into()),
                },
                next => word.push(next),
            }
        }
        if quoted {
            return Err("a quote has no end".into());
        }
        words.push(word);
    }
}
