//! The brokers a device may talk to, and whose turn it is: after each failure the next one's.
//! Used by the configuration and the uplink. It never looks a name up: that is the board's.

use core::fmt;

use heapless::Vec;

/// Brokers in a list.
pub const BROKERS_MAX: usize = 8;
/// Where no port is given: MQTT's registered ones.
const PORT: u16 = 1883;
const PORT_TLS: u16 = 8883;

/// Where a broker listens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Broker<'a> {
    /// A name or an address, without brackets.
    pub host: &'a str,
    /// TCP port.
    pub port: u16,
    /// Over TLS, for boards that can.
    pub tls: bool,
}

impl<'a> Broker<'a> {
    /// From `[mqtt://|mqtts://]HOST[:PORT]`; an IPv6 address with a port is in brackets. `None` where it is not that.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (tls, text) = match text.strip_prefix("mqtts://") {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix("mqtt://").unwrap_or(text)),
        };
        let (host, port) = split_port(text)?;
        if host.is_empty() || !host.chars().all(is_host_character) {
            return None;
        }
        let port = match port {
            Some(port) => port.parse().ok().filter(|port| *port != 0)?,
            None if tls => PORT_TLS,
            None => PORT,
        };
        Some(Self { host, port, tls })
    }
}

fn split_port(text: &str) -> Option<(&str, Option<&str>)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, after) = rest.split_once(']')?;
        return match after.strip_prefix(':') {
            Some(port) => Some((host, Some(port))),
            None => after.is_empty().then_some((host, None)),
        };
    }
    match text.split_once(':') {
        // More than one colon: an IPv6 address by itself.
        Some((_, rest)) if rest.contains(':') => Some((text, None)),
        Some((host, port)) => Some((host, Some(port))),
        None => Some((text, None)),
    }
}

fn is_host_character(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '.' | '-' | '_' | ':')
}

impl fmt::Display for Broker<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "mqtts://" } else { "" };
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        write!(f, "{scheme}{open}{}{close}:{}", self.host, self.port)
    }
}

/// A list that is not empty, and the one whose turn it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Brokers<'a> {
    first: Broker<'a>,
    others: Vec<Broker<'a>, { BROKERS_MAX - 1 }>,
    turn: usize,
}

impl<'a> Brokers<'a> {
    /// From a list with commas; `None` when one is not a broker, or there are none or more than [`BROKERS_MAX`].
    pub fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.split(',').map(Broker::parse);
        let first = parts.next()??;
        let mut others = Vec::new();
        for broker in parts {
            others.push(broker?).ok()?;
        }
        Some(Self { first, others, turn: 0 })
    }

    /// Whose turn it is.
    pub fn current(&self) -> Broker<'a> {
        self.turn.checked_sub(1).and_then(|other| self.others.get(other)).copied().unwrap_or(self.first)
    }

    /// The first in the list that is to be reached over TLS.
    pub(crate) fn first_over_tls(&self) -> Option<Broker<'a>> {
        core::iter::once(&self.first).chain(&self.others).find(|broker| broker.tls).copied()
    }

    /// The next one's turn, after the last one the first one's.
    pub fn rotate(&mut self) {
        self.turn = if self.turn == self.others.len() { 0 } else { self.turn + 1 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn a_broker_has_a_host_and_maybe_a_port() {
        for (text, shown) in [
            ("10.0.2.2:1884", "10.0.2.2:1884"),
            ("quelea.lan", "quelea.lan:1883"),
            ("mqtt://quelea.lan", "quelea.lan:1883"),
            ("mqtts://quelea.lan", "mqtts://quelea.lan:8883"),
            ("mqtts://10.0.0.1:1", "mqtts://10.0.0.1:1"),
            ("[::1]:1883", "[::1]:1883"),
            ("[::1]", "[::1]:1883"),
            ("fd00::7", "[fd00::7]:1883"),
        ] {
            assert_eq!(Broker::parse(text).unwrap().to_string(), shown);
        }
    }

    #[test]
    fn what_is_not_a_broker_is_refused() {
        for text in ["", ":1883", "a:", "a:0", "a:65536", "a b", "http://a", "[::1", "[::1]x", "[]:1", "a/b"]
        {
            assert_eq!(Broker::parse(text), None, "{text}");
        }
        assert_eq!(Brokers::parse("a,,b"), None);
        assert_eq!(Brokers::parse("a,b,c,d,e,f,g,h,i"), None);
    }

    #[test]
    fn each_has_its_turn_and_then_the_first_again() {
        let mut brokers = Brokers::parse("a,b,c").unwrap();
        let mut turns = std::vec::Vec::new();
        for _ in 0..5 {
            turns.push(brokers.current().host);
            brokers.rotate();
        }
        assert_eq!(turns, ["a", "b", "c", "a", "b"]);
        let mut alone = Brokers::parse("a").unwrap();
        alone.rotate();
        assert_eq!(alone.current().host, "a");
    }
}
