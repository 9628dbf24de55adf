//! A device's configuration: words `key=value`, from boot arguments, a command line or the image.
//! Parsed once by each board at start. It never guesses: an unknown key or a value out of range is an error.

use core::fmt;

use crate::brokers::{Broker, Brokers};
use crate::topics::PREFIX_MAX;

/// Bytes of a client id, a user name or a password: all of CONNECT has to fit into the memory there is.
const NAME_MAX: usize = 64;
/// The shortest time between readings in milliseconds; a board's sensor may need longer.
pub const INTERVAL_MS_MIN: u32 = 100;
/// The longest: an hour.
pub const INTERVAL_MS_MAX: u32 = 3_600_000;

/// What a device was told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config<'a> {
    /// `broker=[mqtt://|mqtts://]HOST[:PORT],...`, up to eight; the one key without a default.
    pub brokers: Brokers<'a>,
    /// `client_id=`; the board's own name unless told. Two devices with one id take each other's connection.
    pub client_id: &'a str,
    /// `prefix=` of all topics; `ESP32` unless told.
    pub prefix: &'a str,
    /// `interval_ms=` between readings; 2,000 unless told.
    pub interval_ms: u32,
    /// `user=`
    pub user: Option<&'a str>,
    /// `password=`, with a user only.
    pub password: Option<&'a str>,
    /// `keep_alive_s=` from 5 s up; 20 unless told.
    pub keep_alive_s: u16,
    /// `session_expiry_s=`, how long the broker keeps the session of a device that is away; 3,600 unless told.
    pub session_expiry_s: u32,
    /// `readings=`, after how many the device ends; never unless told.
    pub readings: Option<u32>,
}

impl<'a> Config<'a> {
    /// Reads words that are separated by white space; values have none in them. `client_id` is what the board calls itself.
    ///
    /// # Errors
    /// The first word that cannot be used, or that no broker is named.
    pub fn parse(text: &'a str, client_id: &'a str) -> Result<Self, ConfigError<'a>> {
        let mut seen = Seen::default();
        for word in text.split_whitespace() {
            seen.take(word)?;
        }
        let Some(brokers) = seen.brokers else { return Err(ConfigError::Missing("broker")) };
        if seen.password.is_some() && seen.user.is_none() {
            return Err(ConfigError::Missing("user"));
        }
        Ok(Self {
            brokers,
            client_id: seen.client_id.unwrap_or(client_id),
            prefix: seen.prefix.unwrap_or("ESP32"),
            interval_ms: seen.interval_ms.unwrap_or(2_000),
            user: seen.user,
            password: seen.password,
            keep_alive_s: seen.keep_alive_s.unwrap_or(20),
            session_expiry_s: seen.session_expiry_s.unwrap_or(3_600),
            readings: seen.readings,
        })
    }

    /// The same, for a board that has no TLS: it is not to find out when it connects.
    ///
    /// # Errors
    /// A broker is asked for over TLS.
    pub fn without_tls(self) -> Result<Self, ConfigError<'a>> {
        match self.brokers.first_over_tls() {
            Some(broker) => Err(ConfigError::NoTls(broker)),
            None => Ok(self),
        }
    }
}

/// What has been told so far.
#[derive(Default)]
struct Seen<'a> {
    brokers: Option<Brokers<'a>>,
    client_id: Option<&'a str>,
    prefix: Option<&'a str>,
    interval_ms: Option<u32>,
    user: Option<&'a str>,
    password: Option<&'a str>,
    keep_alive_s: Option<u16>,
    session_expiry_s: Option<u32>,
    readings: Option<u32>,
}

impl<'a> Seen<'a> {
    fn take(&mut self, word: &'a str) -> Result<(), ConfigError<'a>> {
        let Some((key, value)) = word.split_once('=') else { return Err(ConfigError::NoValue(word)) };
        let entry = Entry { key, value };
        match key {
            "broker" => entry.put(&mut self.brokers, "1 to 8 of HOST[:PORT], with commas", Brokers::parse),
            "client_id" => entry.put(&mut self.client_id, "1 to 64 bytes", name),
            "prefix" => entry.put(&mut self.prefix, "a topic of 1 to 48 bytes without + and #", prefix),
            "interval_ms" => entry.put(&mut self.interval_ms, "100 to 3600000", interval_ms),
            "user" => entry.put(&mut self.user, "1 to 64 bytes", name),
            "password" => entry.put(&mut self.password, "1 to 64 bytes", name),
            "keep_alive_s" => entry.put(&mut self.keep_alive_s, "5 to 65535", |text| {
                text.parse().ok().filter(|seconds| *seconds >= 5)
            }),
            "session_expiry_s" => {
                entry.put(&mut self.session_expiry_s, "0 to 4294967295", |text| text.parse().ok())
            }
            "readings" => entry.put(&mut self.readings, "1 to 4294967295", |text| {
                text.parse().ok().filter(|count| *count > 0)
            }),
            _ => Err(ConfigError::UnknownKey(key)),
        }
    }
}

/// One word.
#[derive(Clone, Copy)]
struct Entry<'a> {
    key: &'a str,
    value: &'a str,
}

impl<'a> Entry<'a> {
    fn put<T>(
        self,
        place: &mut Option<T>,
        allowed: &'static str,
        read: impl FnOnce(&'a str) -> Option<T>,
    ) -> Result<(), ConfigError<'a>> {
        let Self { key, value } = self;
        if place.is_some() {
            return Err(ConfigError::Twice(key));
        }
        let read = read(value).ok_or(ConfigError::BadValue { key, value, allowed })?;
        *place = Some(read);
        Ok(())
    }
}

fn name(text: &str) -> Option<&str> {
    (1..=NAME_MAX).contains(&text.len()).then_some(text)
}

fn prefix(text: &str) -> Option<&str> {
    let fits = (1..=PREFIX_MAX).contains(&text.len());
    (fits && !text.contains(['+', '#', '\0']) && !text.starts_with('$')).then_some(text)
}

/// In the bounds that hold for every board.
pub(crate) fn interval_ms(text: &str) -> Option<u32> {
    text.parse().ok().filter(|interval| (INTERVAL_MS_MIN..=INTERVAL_MS_MAX).contains(interval))
}

/// Why a configuration is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConfigError<'a> {
    /// A word without `=`.
    NoValue(&'a str),
    /// Nobody reads this key.
    UnknownKey(&'a str),
    /// The key came before.
    Twice(&'a str),
    /// The key is needed.
    Missing(&'static str),
    /// The value is not one that the key can have.
    BadValue {
        /// Of this key.
        key: &'a str,
        /// What it was.
        value: &'a str,
        /// What it may be.
        allowed: &'static str,
    },
    /// The board cannot speak to this broker.
    NoTls(Broker<'a>),
}

impl fmt::Display for ConfigError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NoValue(word) => write!(f, "`{word}`: expected key=value"),
            Self::UnknownKey(key) => write!(f, "there is no key `{key}`"),
            Self::Twice(key) => write!(f, "`{key}` comes twice"),
            Self::Missing(key) => write!(f, "`{key}=` is missing"),
            // What it was is not for the log.
            Self::BadValue { key: "password", allowed, .. } => write!(f, "`password`: expected {allowed}"),
            Self::BadValue { key, value, allowed } => {
                write!(f, "`{key}={value}`: expected {allowed}")
            }
            Self::NoTls(broker) => write!(f, "`{broker}`: this board has no TLS, expected mqtt://"),
        }
    }
}

impl core::error::Error for ConfigError<'_> {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn a_broker_is_enough() {
        let config = Config::parse(" broker=10.0.2.2:1884 ", "me").unwrap();
        assert_eq!(config.brokers.current().port, 1884);
        assert_eq!((config.client_id, config.prefix, config.interval_ms), ("me", "ESP32", 2_000));
        assert_eq!((config.user, config.password, config.readings), (None, None, None));
        assert_eq!((config.keep_alive_s, config.session_expiry_s), (20, 3_600));
    }

    #[test]
    fn every_key_is_read() {
        let text = "broker=a,b client_id=c prefix=house/attic interval_ms=100 user=u password=p=q \
                    keep_alive_s=5 session_expiry_s=60 readings=7";
        let config = Config::parse(text, "me").unwrap();
        assert_eq!((config.client_id, config.prefix, config.interval_ms), ("c", "house/attic", 100));
        assert_eq!((config.user, config.password), (Some("u"), Some("p=q")));
        assert_eq!((config.keep_alive_s, config.session_expiry_s, config.readings), (5, 60, Some(7)));
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let long = std::format!("broker=a user={}", "u".repeat(65));
        for (text, named) in [
            ("", "`broker=` is missing"),
            ("broker=a verbose", "`verbose`: expected key=value"),
            ("broker=a colour=red", "no key `colour`"),
            ("broker=a broker=b", "`broker` comes twice"),
            ("broker=a,", "`broker=a,`: expected 1 to 8"),
            ("broker=a interval_ms=99", "expected 100 to 3600000"),
            ("broker=a interval_ms=3600001", "expected 100 to 3600000"),
            ("broker=a prefix=a/+", "without + and #"),
            ("broker=a prefix=$SYS", "expected a topic"),
            ("broker=a keep_alive_s=4", "expected 5 to 65535"),
            ("broker=a readings=0", "expected 1 to"),
            ("broker=a password=p", "`user=` is missing"),
            (long.as_str(), "expected 1 to 64 bytes"),
        ] {
            let error = Config::parse(text, "me").unwrap_err().to_string();
            assert!(error.contains(named), "{text}: {error}");
        }
    }

    #[test]
    fn a_board_without_tls_names_the_broker_that_wants_it() {
        let parse = |text| Config::parse(text, "me").unwrap().without_tls();
        assert!(parse("broker=a,mqtt://b").is_ok());
        for text in ["broker=mqtts://b", "broker=a,b,mqtts://b,mqtts://c"] {
            let error = parse(text).unwrap_err().to_string();
            assert_eq!(error, "`mqtts://b:8883`: this board has no TLS, expected mqtt://");
        }
    }

    #[test]
    fn a_password_is_not_repeated() {
        let error = Config::parse("broker=a user=u password=", "me").unwrap_err();
        assert_eq!(error.to_string(), "`password`: expected 1 to 64 bytes");
    }
}
