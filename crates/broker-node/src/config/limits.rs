//! `[limits]`: bounds of connections, and of what one client, user or address may take of a node. Read by `listener`, `limits` and
//! the connections; what is 0 is no limit where the key says so.

use super::{
    ConfigError,
    check::{DAY, duration_range, range, size_range},
    units::{duration, size},
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The most that a rate, or a number of connections, may be set to.
const COUNT_MAX: u32 = 100_000_000;
/// The most bytes a second that a rate may be set to.
const BYTES_MAX: u64 = 1 << 50;
/// The least memory that a node can be told to have: without a client it takes more.
const MEMORY_MIN: u64 = 16 << 20;
/// A thread that is less late is in time: timers are not more exact.
const LAG_MIN: Duration = Duration::from_millis(10);

/// `[limits]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LimitSettings {
    /// Connections of all listeners together; the open-file limit of the process lowers it. At the limit accepting
    /// pauses. Default 1,000,000.
    pub(crate) connections_max: u32,
    /// From accept to the end of CONNECT, all handshakes included, whatever trickles in meanwhile. Default 10 s.
    #[serde(with = "duration")]
    pub(crate) connect_timeout: Duration,
    /// How long a client may read nothing while there is something for it. Default 30 s.
    #[serde(with = "duration")]
    pub(crate) write_timeout: Duration,
    /// PINGREQs a client may send in a second; 0 means no limit. Default 0.
    pub(crate) pings_per_second_max: u32,
    /// Connections that the node accepts in a second; what is more waits in the kernel. 0 means no limit. Default 0.
    pub(crate) connects_per_second_max: u32,
    /// Connections that one address may open in a second; more are closed at once. 0 means no limit. Default 0.
    pub(crate) connects_per_second_per_address_max: u32,
    /// Clients that may be connected from one address; 0 means no limit. Default 0.
    pub(crate) connections_per_address_max: u32,
    /// Clients of one user that may be connected; 0 means no limit. Default 0.
    pub(crate) connections_per_user_max: u32,
    /// PUBLISHes of one client that are taken in a second; it is read from no faster. 0 means no limit. Default 0.
    pub(crate) publishes_per_second_max: u32,
    /// Bytes of its PUBLISHes, likewise. 0 means no limit. Default 0.
    #[serde(with = "size")]
    pub(crate) publish_bytes_per_second_max: u64,
    /// Memory of the node in bytes: with nine tenths of it in use new connections are refused. 0 is what the control group of the
    /// process may have, and no limit where that is not told. Default 0.
    #[serde(with = "size")]
    pub(crate) memory_max: u64,
    /// How late a thread may be for half a second before new connections are refused; 0 means no limit. Default 0.
    #[serde(with = "duration")]
    pub(crate) lag_max: Duration,
    /// Who connects too often.
    pub(crate) flapping: FlappingSettings,
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self {
            connections_max: 1_000_000,
            connect_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(30),
            pings_per_second_max: 0,
            connects_per_second_max: 0,
            connects_per_second_per_address_max: 0,
            connections_per_address_max: 0,
            connections_per_user_max: 0,
            publishes_per_second_max: 0,
            publish_bytes_per_second_max: 0,
            memory_max: 0,
            lag_max: Duration::ZERO,
            flapping: FlappingSettings::default(),
        }
    }
}

/// `[limits.flapping]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct FlappingSettings {
    /// CONNECTs in a window; whoever sends more is banned for a while. 0 means that nobody is. Default 0.
    pub(crate) connects_max: u32,
    /// The window, which begins with the first of them. Default 1 min.
    #[serde(with = "duration")]
    pub(crate) window: Duration,
    /// How long a ban is. Default 5 min.
    #[serde(with = "duration")]
    pub(crate) ban: Duration,
    /// Who is counted and banned. Default clients.
    pub(crate) by: Vec<FlappingBy>,
}

impl Default for FlappingSettings {
    fn default() -> Self {
        let (window, ban) = (Duration::from_secs(60), Duration::from_secs(300));
        Self { connects_max: 0, window, ban, by: vec![FlappingBy::Client] }
    }
}

/// Who is counted for connecting too often.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum FlappingBy {
    /// A client identifier of one user, or of those without a name.
    Client,
    /// A user.
    User,
    /// An address; of IPv6 a network of 64 bits.
    Address,
}

/// Refuses the first value that is not allowed.
pub(super) fn check(limits: &LimitSettings) -> Result<(), ConfigError> {
    range("limits.connections_max", limits.connections_max, 1..=COUNT_MAX)?;
    let least = Duration::from_millis(100);
    duration_range("limits.connect_timeout", limits.connect_timeout, least..=DAY)?;
    duration_range("limits.write_timeout", limits.write_timeout, least..=DAY)?;
    let counts = [
        ("limits.connects_per_second_max", limits.connects_per_second_max),
        ("limits.connects_per_second_per_address_max", limits.connects_per_second_per_address_max),
        ("limits.connections_per_address_max", limits.connections_per_address_max),
        ("limits.connections_per_user_max", limits.connections_per_user_max),
        ("limits.publishes_per_second_max", limits.publishes_per_second_max),
        ("limits.flapping.connects_max", limits.flapping.connects_max),
    ];
    counts.into_iter().try_for_each(|(key, value)| range(key, value, 0..=COUNT_MAX))?;
    size_range("limits.publish_bytes_per_second_max", limits.publish_bytes_per_second_max, 0..=BYTES_MAX)?;
    if limits.memory_max > 0 {
        size_range("limits.memory_max", limits.memory_max, MEMORY_MIN..=BYTES_MAX)?;
    }
    if !limits.lag_max.is_zero() {
        duration_range("limits.lag_max", limits.lag_max, LAG_MIN..=DAY)?;
    }
    let flapping = &limits.flapping;
    duration_range("limits.flapping.window", flapping.window, Duration::from_secs(1)..=DAY)?;
    duration_range("limits.flapping.ban", flapping.ban, Duration::from_secs(1)..=DAY)?;
    if flapping.by.is_empty() {
        let expected = r#"at least one of "client", "user" and "address""#;
        return Err(ConfigError::value("limits.flapping.by", "[]", expected));
    }
    Ok(())
}
