//! Who is banned: addresses and networks, users and client identifiers, for good or until a time. Read from a file through
//! `file`, which has a line for each, or told of the cluster's by `stored`; asked by `Access`. It knows no connection.

use std::net::IpAddr;
use std::time::SystemTime;

use hashbrown::HashMap;
use ipnet::IpNet;
use raft_consensus::cluster::Banned;

use super::acl::words;

/// What a line may be.
const EXPECTED: &str =
    "\"address\", \"user\" or \"client\", whom that is about, and until=TIME where it is not for good";
/// Networks of several addresses: each is looked at for every CONNECT.
const NETWORKS_MAX: usize = 4_096;

/// Until when somebody is banned; `None` for good.
pub(super) type Until = Option<SystemTime>;

/// All bans.
#[derive(Debug, Default)]
pub(super) struct Bans {
    addresses: HashMap<IpAddr, Until>,
    networks: Vec<(IpNet, Until)>,
    users: HashMap<Box<str>, Until>,
    clients: HashMap<Box<str>, Until>,
}

/// Whom a question is about; what is not known yet is nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Suspect<'a> {
    pub(super) address: Option<IpAddr>,
    pub(super) user: Option<&'a str>,
    pub(super) client: Option<&'a str>,
}

impl Bans {
    /// Reads a file.
    ///
    /// # Errors
    /// For the first line that is wrong.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut bans = Self::default();
        for (number, line) in text.lines().enumerate() {
            let at = |why: String| format!("line {}: {why}", number + 1);
            let words = words(line).map_err(at)?;
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let (kind, whom, until) = match words.as_slice() {
                [] => continue,
                [kind, whom] => (*kind, *whom, None),
                [kind, whom, until] => (*kind, *whom, Some(time(until).map_err(at)?)),
                _ => return Err(at(format!("expected {EXPECTED}"))),
            };
            bans.add(kind, whom, until).map_err(at)?;
        }
        Ok(bans)
    }

    /// Where two lines are about the same, the later one counts.
    fn add(&mut self, kind: &str, whom: &str, until: Until) -> Result<(), String> {
        match kind {
            "user" => drop(self.users.insert(whom.into(), until)),
            "client" => drop(self.clients.insert(whom.into(), until)),
            "address" => match whom.parse::<IpAddr>() {
                Ok(address) => drop(self.addresses.insert(address.to_canonical(), until)),
                Err(_) => {
                    let network = whom.parse().map_err(|_| {
                        format!("{whom:?} is neither an address nor a network such as 10.0.0.0/8")
                    })?;
                    self.networks.push((network, until));
                    if self.networks.len() > NETWORKS_MAX {
                        return Err(format!("the file has more than {NETWORKS_MAX} networks"));
                    }
                }
            },
            other => return Err(format!("expected {EXPECTED}, found {other:?}")),
        }
        Ok(())
    }

    /// Somebody is banned so long, whatever was said before.
    pub(super) fn set(&mut self, whom: &Banned, until: Until) {
        match whom {
            Banned::Address(address) => drop(self.addresses.insert(address.to_canonical(), until)),
            Banned::User(name) => drop(self.users.insert(name.clone(), until)),
            Banned::Client(id) => drop(self.clients.insert(id.clone(), until)),
            Banned::Network(address, bits) => {
                self.lift(whom);
                self.networks.extend(IpNet::new(*address, *bits).ok().map(|network| (network, until)));
            }
        }
    }

    /// Somebody is not banned any more.
    pub(super) fn lift(&mut self, whom: &Banned) {
        match whom {
            Banned::Address(address) => drop(self.addresses.remove(&address.to_canonical())),
            Banned::User(name) => drop(self.users.remove(name)),
            Banned::Client(id) => drop(self.clients.remove(id)),
            Banned::Network(address, bits) => {
                self.networks.retain(|(known, _)| (known.addr(), known.prefix_len()) != (*address, *bits));
            }
        }
    }

    /// Whether somebody is banned now.
    pub(super) fn has(&self, who: Suspect<'_>, now: SystemTime) -> bool {
        let counts = |until: &Until| until.is_none_or(|until| now < until);
        let address = who.address.map(|address| address.to_canonical());
        address.and_then(|address| self.addresses.get(&address)).is_some_and(counts)
            || who.user.and_then(|user| self.users.get(user)).is_some_and(counts)
            || who.client.and_then(|client| self.clients.get(client)).is_some_and(counts)
            || address.is_some_and(|address| {
                self.networks.iter().any(|(network, until)| network.contains(&address) && counts(until))
            })
    }
}

fn time(word: &str) -> Result<SystemTime, String> {
    let expected = || format!("expected until=TIME, such as until=2027-01-31T12:00:00Z, found {word:?}");
    let text = word.strip_prefix("until=").ok_or_else(expected)?;
    humantime::parse_rfc3339(text).map_err(|_| expected())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const FILE: &str = "\
# who is banned
address 192.0.2.7
address 10.1.0.0/16
address 2001:db8::/32
user eve
user \"jane doe\" until=1970-01-01T00:01:00Z
client dev-1
";

    fn is_banned(bans: &Bans, who: Suspect<'_>, at: u64) -> bool {
        bans.has(who, SystemTime::UNIX_EPOCH + Duration::from_secs(at))
    }

    #[test]
    fn whoever_is_in_the_file_is_banned_until_the_time_that_it_says() {
        let bans = Bans::parse(FILE).unwrap();
        let at = |text: &str| Suspect { address: Some(text.parse().unwrap()), ..Suspect::default() };
        for bad in ["192.0.2.7", "::ffff:192.0.2.7", "10.1.255.1", "::ffff:10.1.2.3", "2001:db8::1"] {
            assert!(is_banned(&bans, at(bad), 0), "{bad}");
        }
        for good in ["192.0.2.8", "10.2.0.1", "2001:db9::1", "127.0.0.1"] {
            assert!(!is_banned(&bans, at(good), 0), "{good}");
        }
        let user = |name| Suspect { user: Some(name), ..Suspect::default() };
        let client = |name| Suspect { client: Some(name), ..Suspect::default() };
        assert!(is_banned(&bans, user("eve"), 1 << 40) && !is_banned(&bans, user("dev-1"), 0));
        assert!(is_banned(&bans, client("dev-1"), 0) && !is_banned(&bans, client("eve"), 0));
        assert!(is_banned(&bans, user("jane doe"), 59) && !is_banned(&bans, user("jane doe"), 60));
        assert!(!is_banned(&bans, Suspect::default(), 0), "of whom nothing is known");
    }

    #[test]
    fn one_bad_line_makes_a_file_unusable() {
        for (line, expected) in [
            ("address 10.0.0.0/33", "neither an address"),
            ("address", "expected \"address\""),
            ("host x", "found \"host\""),
            ("user eve tomorrow", "until=2027"),
            ("user eve until=tomorrow", "until=2027"),
            ("user eve until=2027-01-31T12:00:00Z more", "expected \"address\""),
        ] {
            let error = Bans::parse(&format!("user bob\n{line}\n")).unwrap_err();
            assert!(error.starts_with("line 2: ") && error.contains(expected), "{line}: {error}");
        }
        let many: String =
            (0..=NETWORKS_MAX).map(|at| format!("address 10.{}.{}.0/24\n", at / 256, at % 256)).collect();
        assert!(Bans::parse(&many).unwrap_err().contains("4096"));
    }
}
