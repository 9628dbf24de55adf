//! The one check of a whole configuration: ranges, and keys that must agree with each other.
//! Called by `load` at the end. Looks at values only: no file is opened and no name is resolved here.

use super::{
    AdminSettings, ConfigError, HttpSettings, ListenAddress, ListenerSettings, ProxyProtocol, Settings,
    access, check_cluster, limits, listener::ADDRESS_EXPECTED, units::format_size,
};
use std::{fmt::Display, ops::RangeInclusive, time::Duration};
use tracing_subscriber::EnvFilter;

pub(super) const SECOND: Duration = Duration::from_secs(1);
/// The longest keep alive that a CONNECT or CONNACK can carry.
const KEEP_ALIVE_MAX: Duration = Duration::from_secs(u16::MAX as u64);
/// Bytes of a Server Reference: it has to fit into small packets.
const REFERENCE_BYTES_MAX: usize = 256;
pub(super) const DAY: Duration = Duration::from_hours(24);

/// Refuses the first value that is not allowed.
pub(super) fn check(settings: &Settings) -> Result<(), ConfigError> {
    check_node(settings)?;
    check_mqtt(settings)?;
    check_storage(settings)?;
    limits::check(&settings.limits)?;
    duration_range("sys.interval", settings.sys.interval, SECOND..=DAY)?;
    check_log(settings)?;
    check_cluster::check(settings)?;
    access::check(settings)?;
    check_drain(settings)?;
    settings.http.listen_address()?;
    settings.admin.listen_address()?;
    settings.admin_cluster_address()?;
    for listener in settings.listener.values() {
        check_listener(settings, listener)?;
    }
    Ok(())
}

fn check_node(settings: &Settings) -> Result<(), ConfigError> {
    check_name("node.name", &settings.node.name)?;
    if settings.node.data_dir.as_os_str().is_empty() {
        return Err(ConfigError::value("node.data_dir", "\"\"", "the path of a directory"));
    }
    range("node.worker_threads", settings.node.worker_threads, 0..=1024)
}

fn check_name(key: &str, name: &str) -> Result<(), ConfigError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if (1..=64).contains(&name.len()) && name.chars().all(allowed) {
        return Ok(());
    }
    Err(ConfigError::value(key, &format!("{name:?}"), "1 to 64 of the characters a-z A-Z 0-9 . _ -"))
}

fn check_mqtt(settings: &Settings) -> Result<(), ConfigError> {
    let mqtt = &settings.mqtt;
    size_range("mqtt.max_packet_size", mqtt.max_packet_size.into(), 128..=256 << 20)?;
    range("mqtt.receive_maximum", mqtt.receive_maximum, 1..=u16::MAX)?;
    if let Some(keep_alive) = mqtt.max_keep_alive {
        duration_range("mqtt.max_keep_alive", keep_alive, SECOND..=KEEP_ALIVE_MAX)?;
    }
    if let Some(expiry) = mqtt.max_session_expiry {
        let max = Duration::from_secs(u32::MAX.into());
        duration_range("mqtt.max_session_expiry", expiry, Duration::ZERO..=max)?;
    }
    range("mqtt.topic_levels_max", mqtt.topic_levels_max, 1..=u16::MAX)?;
    size_range("mqtt.user_properties_bytes_max", mqtt.user_properties_bytes_max.into(), 0..=256 << 20)?;
    range("mqtt.subscriptions_per_client_max", mqtt.subscriptions_per_client_max, 1..=u32::MAX)?;
    range("session.queue_messages_max", settings.session.queue_messages_max, 1..=u32::MAX)?;
    size_range("session.queue_bytes_max", settings.session.queue_bytes_max, 1 << 10..=1 << 50)?;
    size_range("session.qos0_queue_bytes_max", settings.session.qos0_queue_bytes_max, 0..=1 << 50)?;
    range("session.sessions_max", settings.session.sessions_max, 1..=u32::MAX)?;
    size_range("retained.bytes_max", settings.retained.bytes_max, 0..=1 << 50)
}

fn check_storage(settings: &Settings) -> Result<(), ConfigError> {
    let storage = &settings.storage;
    size_range("storage.segment_size", storage.segment_size, 1 << 20..=1 << 30)?;
    size_range("storage.log_bytes_max", storage.log_bytes_max, 8 * storage.segment_size..=1 << 50)
}

fn check_drain(settings: &Settings) -> Result<(), ConfigError> {
    let drain = &settings.drain;
    range("drain.clients_per_second", drain.clients_per_second, 1..=1_000_000)?;
    duration_range("drain.timeout", drain.timeout, SECOND..=DAY)?;
    let reference = &drain.server_reference;
    if reference.len() > REFERENCE_BYTES_MAX || reference.chars().any(char::is_control) {
        let expected = format!("a server's name and port, {REFERENCE_BYTES_MAX} bytes at most");
        return Err(ConfigError::value("drain.server_reference", &format!("{reference:?}"), expected));
    }
    Ok(())
}

fn check_log(settings: &Settings) -> Result<(), ConfigError> {
    let level = &settings.log.level;
    EnvFilter::builder().parse(level).map(drop).map_err(|_| {
        let expected = r#""error", "warn", "info", "debug", "trace" or "off", also by target: "info,quelea::listener=debug""#;
        ConfigError::value("log.level", &format!("{level:?}"), expected)
    })
}

fn check_listener(settings: &Settings, listener: &ListenerSettings) -> Result<(), ConfigError> {
    let key = |last: &str| format!("listener.{}.{last}", listener.name);
    check_name("listener", &listener.name)?;
    let address = listener.listen_address()?;
    if let Some(max) = listener.max_connections {
        range(&key("max_connections"), max, 1..=100_000_000)?;
    }
    if listener.protocol.has_tls() && listener.tls.is_none() {
        let expected = format!("certificate and key, as protocol is {:?}", listener.protocol.as_str());
        return Err(ConfigError::value(key("tls"), "nothing", expected));
    }
    if !listener.protocol.has_tls() && listener.tls.is_some() {
        let protocol = listener.protocol.as_str();
        return Err(ConfigError::value(
            key("protocol"),
            &format!("{protocol:?}"),
            r#""tls" or "wss", as tls is set"#,
        ));
    }
    if listener.tls.as_ref().is_some_and(|tls| tls.crl.is_some() && tls.client_ca.is_none()) {
        return Err(ConfigError::value(key("tls.client_ca"), "nothing", "a file, as tls.crl is set"));
    }
    if listener.tls.as_ref().is_some_and(|tls| tls.user_name_from.is_some() && tls.client_ca.is_none()) {
        let expected = "a file, as tls.user_name_from is set";
        return Err(ConfigError::value(key("tls.client_ca"), "nothing", expected));
    }
    check_proxy(listener, &address)?;
    if !listener.ws_path.0.starts_with('/') {
        return Err(ConfigError::value(
            key("ws_path"),
            &format!("{:?}", listener.ws_path.0),
            "a path such as \"/mqtt\"",
        ));
    }
    let open = !settings.auth.is_configured() && !listener.names_clients();
    if !address.is_local() && !settings.auth.allow_anonymous && open {
        let (name, address) = (listener.name.clone(), listener.address.clone());
        return Err(ConfigError::AnonymousNotAllowed { name, address });
    }
    Ok(())
}

fn check_proxy(listener: &ListenerSettings, address: &ListenAddress) -> Result<(), ConfigError> {
    let key = |last: &str| format!("listener.{}.{last}", listener.name);
    let accepts = listener.proxy_protocol == ProxyProtocol::Accept;
    match (accepts, listener.proxy_trusted.is_empty(), address) {
        (true, _, ListenAddress::Path(_)) => {
            Err(ConfigError::value(key("proxy_protocol"), "\"accept\"", "\"off\", as protocol is \"unix\""))
        }
        (true, true, _) => {
            let expected = "the addresses of the load balancers, as proxy_protocol is \"accept\"";
            Err(ConfigError::value(key("proxy_trusted"), "[]", expected))
        }
        (false, false, _) => {
            Err(ConfigError::value(key("proxy_protocol"), "\"off\"", "\"accept\", as proxy_trusted is set"))
        }
        _ => Ok(()),
    }
}

impl AdminSettings {
    /// Where the admin API is served; `None` for nowhere.
    ///
    /// # Errors
    /// Where the address is none of the forms that are allowed, or one that other machines reach without showing who they are.
    pub(crate) fn listen_address(&self) -> Result<Option<ListenAddress>, ConfigError> {
        let error =
            |expected: String| ConfigError::value("admin.listen", &format!("{:?}", self.listen), expected);
        if self.listen == "off" {
            let set = [("admin.tokens_file", self.tokens_file.is_some()), ("admin.tls", self.tls.is_some())];
            return match set.iter().find(|(_, set)| *set) {
                Some((key, _)) => Err(error(format!("{ADDRESS_EXPECTED}, as {key} is set"))),
                None => Ok(None),
            };
        }
        let address = ListenAddress::parse(&self.listen)
            .ok_or_else(|| error(format!("{ADDRESS_EXPECTED} or \"off\"")))?;
        if !address.is_local() && (self.tokens_file.is_none() || self.tls.is_none()) {
            let expected = "\"localhost:PORT\" or a loopback address with its port, as whoever reaches it elsewhere has to show a \
                            token over TLS: set admin.tokens_file to a file made with `quelea token`, and admin.tls to a \
                            certificate and its key";
            return Err(error(expected.to_owned()));
        }
        if self.tls.as_ref().is_some_and(|tls| tls.crl.is_some() && tls.client_ca.is_none()) {
            return Err(ConfigError::value(
                "admin.tls.client_ca",
                "nothing",
                "a file, as admin.tls.crl is set",
            ));
        }
        Ok(Some(address))
    }
}

impl Settings {
    /// Where the admin API is served to those who show what nodes know each other by; `None` for nowhere.
    ///
    /// # Errors
    /// Where the address is none of the forms that are allowed, or nodes know each other by nothing.
    pub(crate) fn admin_cluster_address(&self) -> Result<Option<ListenAddress>, ConfigError> {
        let text = &self.admin.cluster_listen;
        let error =
            |expected: String| ConfigError::value("admin.cluster_listen", &format!("{text:?}"), expected);
        if text == "off" {
            return Ok(None);
        }
        if !self.cluster.is_secured() {
            let expected =
                "\"off\", as nodes know each other by nothing: set cluster.secret_file or cluster.tls";
            return Err(error(expected.to_owned()));
        }
        let address = ListenAddress::parse(text);
        address.map(Some).ok_or_else(|| error(format!("{ADDRESS_EXPECTED} or \"off\"")))
    }
}

impl HttpSettings {
    /// Where HTTP is served; `None` for nowhere.
    ///
    /// # Errors
    /// Where the address is none of the forms that are allowed.
    pub(crate) fn listen_address(&self) -> Result<Option<ListenAddress>, ConfigError> {
        if self.address == "off" {
            return Ok(None);
        }
        let expected = || format!("{ADDRESS_EXPECTED} or \"off\"");
        let error = || ConfigError::value("http.address", &format!("{:?}", self.address), expected());
        ListenAddress::parse(&self.address).map(Some).ok_or_else(error)
    }
}

pub(super) fn range<T: PartialOrd + Display>(
    key: &str,
    value: T,
    allowed: RangeInclusive<T>,
) -> Result<(), ConfigError> {
    if allowed.contains(&value) {
        return Ok(());
    }
    Err(ConfigError::value(key, &value.to_string(), format!("{} to {}", allowed.start(), allowed.end())))
}

pub(super) fn size_range(key: &str, value: u64, allowed: RangeInclusive<u64>) -> Result<(), ConfigError> {
    if allowed.contains(&value) {
        return Ok(());
    }
    let expected = format!("{:?} to {:?}", format_size(*allowed.start()), format_size(*allowed.end()));
    Err(ConfigError::value(key, &format!("{:?}", format_size(value)), expected))
}

pub(super) fn duration_range(
    key: &str,
    value: Duration,
    allowed: RangeInclusive<Duration>,
) -> Result<(), ConfigError> {
    if allowed.contains(&value) {
        return Ok(());
    }
    let text = |duration: Duration| format!("{:?}", humantime::format_duration(duration).to_string());
    let expected = format!("{} to {}", text(*allowed.start()), text(*allowed.end()));
    Err(ConfigError::value(key, &text(value), expected))
}
