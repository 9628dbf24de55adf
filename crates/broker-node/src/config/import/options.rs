//! What the options of a `mosquitto.conf` that are about the whole broker mean here: one row each, by the names of
//! mosquitto.conf(5). Used by the import alone; those of a listener are in `listeners`.

use toml::Value;

use super::ImportError;
use super::lines::Line;

/// What an option means.
pub(super) enum Meaning {
    /// A key of the configuration.
    Key(&'static str, Kind),
    /// Nothing that anybody has to know.
    NotNeeded,
    /// Something that is otherwise here.
    Differs(&'static str),
    /// Something that is not there: is noted where it is switched on.
    Off(&'static str),
    /// Something that cannot be switched off: is noted where it is.
    On(&'static str),
    /// Something without which clients could do more than before, or nothing.
    Refused(&'static str),
}

/// The form of a value.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// A file.
    Path,
    /// A number; 0 and below mean what the text says.
    Count(&'static str),
    /// A number, 0 among them.
    Plain,
    /// A number up to 65,535, which 0, "no bound", is here.
    Small,
    /// Bytes; 0 means what the text says.
    Bytes(&'static str),
    /// Seconds; 0 means what the text says.
    Seconds(&'static str),
    /// A number with `h`, `d`, `w`, `m` or `y` behind it.
    Age,
}

/// What an option means; `None` where it is none, or one of listeners.
pub(super) fn meaning(option: &str) -> Option<Meaning> {
    key(option).or_else(|| otherwise(option))
}

/// What has a key here.
fn key(option: &str) -> Option<Meaning> {
    use Kind::{Age, Bytes, Count, Path, Plain, Seconds, Small};
    use Meaning::Key;
    Some(match option {
        "password_file" => Key("auth.password.file", Path),
        "acl_file" => Key("acl.mosquitto_file", Path),
        "max_inflight_messages" => Key("mqtt.receive_maximum", Small),
        "max_queued_messages" => Key(
            "session.queue_messages_max",
            Count("each queue has a bound here: 100,000 messages unless it is set"),
        ),
        "max_queued_bytes" => {
            Key("session.queue_bytes_max", Bytes("each queue has a bound here: 256 MiB unless it is set"))
        }
        "max_packet_size" => Key(
            "mqtt.max_packet_size",
            Bytes("each packet has a bound here: 1 MiB unless it is set, 256 MiB at most"),
        ),
        "max_keepalive" => {
            Key("mqtt.max_keep_alive", Seconds("clients of 5.0 may have an hour at most here"))
        }
        "max_topic_alias" => Key("mqtt.topic_alias_maximum", Plain),
        "persistent_client_expiration" => Key("mqtt.max_session_expiry", Age),
        "sys_interval" => Key("sys.interval", Seconds("$SYS cannot be switched off here")),
        "global_max_connections" => {
            Key("limits.connections_max", Count("a node has a bound here: 1,000,000 unless it is set"))
        }
        _ => return None,
    })
}

/// What is otherwise here.
fn otherwise(option: &str) -> Option<Meaning> {
    use Meaning::{Differs, NotNeeded, Off, On, Refused};
    const NO_PLUGINS: &str = "plugins are not run here, and what this one decided nobody would: take its lines out, and set auth and acl instead";
    Some(match option {
        "allow_anonymous"
        | "log_type"
        | "per_listener_settings"
        | "auto_id_prefix"
        | "autosave_interval"
        | "autosave_on_changes"
        | "check_retain_source"
        | "connection_messages"
        | "log_timestamp"
        | "log_timestamp_format"
        | "max_inflight_bytes"
        | "max_topic_alias_broker"
        | "persistence_file"
        | "persistence_location"
        | "pid_file"
        | "set_tcp_nodelay"
        | "user"
        | "websockets_log_level" => NotNeeded,
        "allow_duplicate_messages" => {
            Differs("a client with overlapping subscriptions gets a message once, with all their identifiers")
        }
        "allow_zero_length_clientid" => On("clients may leave their identifier empty here"),
        "enable_control_api" => Off("$CONTROL topics are not there: see quelea ctl"),
        "log_dest" => Differs("the log goes to standard error"),
        "log_facility" => Differs("the log goes to standard error"),
        "memory_limit" => {
            Differs("has no key here: what waits is bounded by the keys of session and retained")
        }
        "message_size_limit" => {
            Differs("has no key here: mqtt.max_packet_size bounds whole packets, and refuses what is larger")
        }
        "persistence" => On("what is to outlive its connection is always kept"),
        "queue_qos0_messages" => Off("messages at QoS 0 are not queued for clients that are away"),
        "retain_available" => On("retained messages are always there; rules may deny them"),
        "retain_expiry_interval" => Differs("retained messages expire as their publishers say"),
        "retained_persistence" => On("what is retained is always kept"),
        "upgrade_outgoing_qos" => Off("a message goes out with the lower of its QoS and the subscription's"),
        "accept_protocol_versions" => Differs("3.1, 3.1.1 and 5.0 are accepted on all listeners"),
        "clientid_prefixes" => {
            Refused("identifiers are bound by auth.client_ids and by rules here: take it out")
        }
        "auth_plugin"
        | "plugin"
        | "global_plugin"
        | "plugin_load"
        | "plugin_use"
        | "auth_plugin_deny_special_chars" => Refused(NO_PLUGINS),
        _ if option.starts_with("auth_opt_") || option.starts_with("plugin_opt_") => Refused(NO_PLUGINS),
        _ => return None,
    })
}

impl Kind {
    /// The value on a line as that of a key, or what "no bound" means here.
    pub(super) fn value(self, line: &Line) -> Result<Result<Value, &'static str>, ImportError> {
        let bounded = |note: &'static str, value: fn(i64) -> Value| {
            Ok(match line.number()? {
                ..=0 => Err(note),
                number => Ok(value(number)),
            })
        };
        match self {
            Self::Path => Ok(Ok(Value::String(line.text()?.to_owned()))),
            Self::Plain => Ok(Ok(Value::Integer(line.number()?))),
            Self::Small => Ok(Ok(Value::Integer(match line.number()? {
                ..=0 => i64::from(u16::MAX),
                number => number,
            }))),
            Self::Count(note) => bounded(note, Value::Integer),
            Self::Bytes(note) => bounded(note, |bytes| Value::String(format!("{bytes} B"))),
            Self::Seconds(note) => bounded(note, |seconds| Value::String(format!("{seconds}s"))),
            Self::Age => age(line).map(Ok),
        }
    }
}

/// `14d` and the like, as humans write it here too; Mosquitto's month is `m`.
fn age(line: &Line) -> Result<Value, ImportError> {
    let expected =
        || line.wrong(format!("the value is {:?}: expected a number and h, d, w, m or y", line.value));
    let (number, unit) =
        line.value.split_at_checked(line.value.len().saturating_sub(1)).ok_or_else(expected)?;
    let number: u32 = number.parse().map_err(|_| expected())?;
    let unit = match unit {
        "h" => "h",
        "d" => "days",
        "w" => "weeks",
        "m" => "months",
        "y" => "years",
        _ => return Err(expected()),
    };
    Ok(Value::String(format!("{number}{unit}")))
}

/// The level that shows what these values of `log_type` do; `None` where that is what is shown anyway.
pub(super) fn log_level(types: &[String]) -> Option<&'static str> {
    let has = |names: &[&str]| types.iter().any(|name| names.contains(&name.as_str()));
    if types.is_empty() || has(&["notice", "information", "subscribe", "unsubscribe", "websockets"]) {
        // Together with others: whoever asks for all wants to see what goes on.
        return has(&["all", "debug"]).then_some("debug");
    }
    match types {
        _ if has(&["all", "debug"]) => Some("debug"),
        _ if has(&["warning"]) => Some("warn"),
        _ if has(&["error"]) => Some("error"),
        _ if has(&["none"]) => Some("off"),
        _ => None,
    }
}
