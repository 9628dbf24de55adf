//! The sections of the configuration, a struct each, with the default and the unit of every key.
//! Everything that needs a setting reads it here; ranges are checked in `check`, never where a value is used.

use super::{
    access::{AclSettings, AuthSettings},
    cluster_keys::{ClusterTls, SecretText},
    limits::LimitSettings,
    listener::{ListenerSettings, TlsFiles},
    operating::{AdminSettings, DrainSettings},
    units::{duration, optional_duration, size},
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, path::PathBuf, time::Duration};

/// All settings of a node, checked.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Settings {
    /// Who this node is, where its data is, how many threads it has.
    pub(crate) node: NodeSettings,
    /// Who may connect.
    pub(crate) auth: AuthSettings,
    /// What those who are connected may publish and subscribe to.
    pub(crate) acl: AclSettings,
    /// What MQTT clients may ask for.
    pub(crate) mqtt: MqttSettings,
    /// What a session may hold.
    pub(crate) session: SessionSettings,
    /// What the retained messages may hold.
    pub(crate) retained: RetainedSettings,
    /// How the node keeps what it has acknowledged.
    pub(crate) storage: StorageSettings,
    /// Bounds of connections.
    pub(crate) limits: LimitSettings,
    /// The `$SYS` topics.
    pub(crate) sys: SysSettings,
    /// The HTTP port with metrics and health.
    pub(crate) http: HttpSettings,
    /// The admin API.
    pub(crate) admin: AdminSettings,
    /// How the node sends its clients elsewhere.
    pub(crate) drain: DrainSettings,
    /// The other nodes.
    pub(crate) cluster: ClusterSettings,
    /// What is logged, and how.
    pub(crate) log: LogSettings,
    /// The sockets that MQTT clients connect to, by name. Default: `mqtt`, TCP on both loopback addresses, port 1883,
    /// as long as no listener is configured at all.
    pub(crate) listener: BTreeMap<String, ListenerSettings>,
    /// `-v`: print a line for each packet. Only a flag, not a key of the file.
    #[serde(skip)]
    pub(crate) packet_trace: bool,
}

/// `[node]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct NodeSettings {
    /// The name of this node, 1 to 64 of `a-z A-Z 0-9 . _ -`. Default `quelea-0`.
    pub(crate) name: String,
    /// The directory that holds everything the node keeps; created where it is missing. Default `./data`.
    pub(crate) data_dir: PathBuf,
    /// Threads that serve connections; 0 means one less than there are cores, at least one. Default 0.
    pub(crate) worker_threads: u16,
}

impl Default for NodeSettings {
    fn default() -> Self {
        Self { name: "quelea-0".into(), data_dir: "./data".into(), worker_threads: 0 }
    }
}

/// `[mqtt]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct MqttSettings {
    /// The largest packet taken from a connected client, in bytes, up to 256 MiB. Default 1 MiB.
    #[serde(with = "size")]
    pub(crate) max_packet_size: u32,
    /// QoS 1 and 2 publishes a client may have unacknowledged, 1 to 65,535. Default 1,024.
    pub(crate) receive_maximum: u16,
    /// Topic aliases a client may set. Default 32; 0 turns them off.
    pub(crate) topic_alias_maximum: u16,
    /// The longest keep alive, at most 65,535 s; a client that asks for more, or for none, is given this one. Default
    /// 1 h for clients of 5.0, which are told; those of older versions, which cannot be, have none unless it is set.
    #[serde(with = "optional_duration", skip_serializing_if = "Option::is_none")]
    pub(crate) max_keep_alive: Option<Duration>,
    /// The longest session expiry; a client that asks for more is given this one. Default none.
    #[serde(with = "optional_duration", skip_serializing_if = "Option::is_none")]
    pub(crate) max_session_expiry: Option<Duration>,
    /// Levels of a topic or filter. Default 128.
    pub(crate) topic_levels_max: u16,
    /// User properties of one packet. Default 64.
    pub(crate) user_properties_max: u16,
    /// Bytes of all user properties of one packet. Default 16 KiB.
    #[serde(with = "size")]
    pub(crate) user_properties_bytes_max: u32,
    /// Subscriptions of one client. Default 10,000.
    pub(crate) subscriptions_per_client_max: u32,
    /// How a shared subscription chooses the member that gets a message. Default `round-robin`.
    pub(crate) shared_strategy: SharedStrategy,
}

impl Default for MqttSettings {
    fn default() -> Self {
        Self {
            max_packet_size: 1 << 20,
            receive_maximum: 1024,
            topic_alias_maximum: 32,
            max_keep_alive: None,
            max_session_expiry: None,
            topic_levels_max: 128,
            user_properties_max: 64,
            user_properties_bytes_max: 16 << 10,
            subscriptions_per_client_max: 10_000,
            shared_strategy: SharedStrategy::RoundRobin,
        }
    }
}

/// How a shared subscription chooses the member that gets a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum SharedStrategy {
    /// Each in turn.
    RoundRobin,
    /// Any.
    Random,
    /// The same one as long as it is there.
    Sticky,
    /// By the publishing client's id.
    HashClient,
    /// By the topic.
    HashTopic,
    /// The one with the fewest messages on the way.
    LeastInFlight,
}

/// `[session]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct SessionSettings {
    /// QoS 1 and 2 messages waiting in one session. Default 100,000.
    pub(crate) queue_messages_max: u32,
    /// Bytes of the QoS 1 and 2 messages waiting in one session. Default 256 MiB.
    #[serde(with = "size")]
    pub(crate) queue_bytes_max: u64,
    /// What happens when a queue is full. Default `drop-newest`.
    pub(crate) queue_policy: QueuePolicy,
    /// Bytes of QoS 0 messages waiting for a reader that is slow; the rest is dropped and counted. Default 4 MiB. A
    /// single message always fits.
    #[serde(with = "size")]
    pub(crate) qos0_queue_bytes_max: u64,
    /// Persistent sessions on this node, connected or not, shared out among the shards. Default 1,000,000.
    pub(crate) sessions_max: u32,
}

impl Default for SessionSettings {
    fn default() -> Self {
        Self {
            queue_messages_max: 100_000,
            queue_bytes_max: 256 << 20,
            queue_policy: QueuePolicy::DropNewest,
            qos0_queue_bytes_max: 4 << 20,
            sessions_max: 1_000_000,
        }
    }
}

/// What happens to a message for a full queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum QueuePolicy {
    /// The new message is dropped and counted.
    DropNewest,
    /// The oldest messages that are not in flight are dropped and counted.
    DropOldest,
    /// The client is disconnected with reason 0x97, quota exceeded.
    Disconnect,
}

/// `[retained]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RetainedSettings {
    /// Retained messages on this node, shared out among the shards. Default 10,000,000.
    pub(crate) messages_max: u32,
    /// Bytes of all retained messages on this node, shared out among the shards. Default 4 GiB.
    #[serde(with = "size")]
    pub(crate) bytes_max: u64,
}

impl Default for RetainedSettings {
    fn default() -> Self {
        Self { messages_max: 10_000_000, bytes_max: 4 << 30 }
    }
}

/// `[sys]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct SysSettings {
    /// How often the `$SYS` topics that changed are published. Default 10 s, at least 1 s.
    #[serde(with = "duration")]
    pub(crate) interval: Duration,
}

impl Default for SysSettings {
    fn default() -> Self {
        Self { interval: Duration::from_secs(10) }
    }
}

/// `[storage]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct StorageSettings {
    /// `always`: what is acknowledged is on the disk. `interval`: it is synced ten times a second, and what was
    /// acknowledged last is lost with the machine's power, not with the process; for a single node only. Default
    /// `always`.
    pub(crate) durability: DurabilitySetting,
    /// Size of one file of the log; raised where `mqtt.max_packet_size` needs more. Default 64 MiB.
    #[serde(with = "size")]
    pub(crate) segment_size: u64,
    /// The most that the log may hold before publishers are slowed. Default 1 GiB, at least 8 segments.
    #[serde(with = "size")]
    pub(crate) log_bytes_max: u64,
}

impl Default for StorageSettings {
    fn default() -> Self {
        Self { durability: DurabilitySetting::Always, segment_size: 64 << 20, log_bytes_max: 1 << 30 }
    }
}

/// When something counts as kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum DurabilitySetting {
    /// When it is synced.
    Always,
    /// When it is written; synced every 100 ms.
    Interval,
}

/// `[http]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct HttpSettings {
    /// Where `/metrics`, `/healthz` and `/readyz` are served; `off` for nowhere. Default `localhost:8080`.
    pub(crate) address: String,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self { address: "localhost:8080".into() }
    }
}

/// `[cluster]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ClusterSettings {
    /// Where other nodes reach this one: `localhost:PORT`, `:PORT`, `IP:PORT`; `off` for a node that stays alone. Default
    /// `off`.
    pub(crate) listen: String,
    /// What other nodes are told to connect to, as `HOST:PORT`. Default: the address of `listen`, where that is one.
    pub(crate) advertise: String,
    /// Nodes that are asked for a cluster by a node that belongs to none, as `HOST:PORT`, `dns:HOST:PORT` for all addresses of a
    /// name, or `srv:NAME` for those of a service; this node may be among them. Names are looked up again at each attempt.
    pub(crate) seeds: Vec<String>,
    /// Who is asked for the names in `seeds`, as `IP:PORT`. Default: whom the system asks.
    pub(crate) dns_server: String,
    /// Whether this node founds a cluster once every seed has said that it belongs to none. On one node of all.
    /// Default false.
    pub(crate) bootstrap: bool,
    /// With so many nodes, of as many names, the first by name founds a cluster once every seed has said that it belongs to none; 0 for
    /// never. Default 0.
    pub(crate) expected_nodes: u16,
    /// How far the nodes are from each other. Default `lan`.
    pub(crate) profile: ProfileSetting,
    /// A secret that all nodes share, 32 characters or more, by which they know each other; several, a line each, while it is
    /// replaced. From the environment, or from a file by `secret_file`. Default none.
    pub(crate) secret: SecretText,
    /// The file with it; read again when it changes. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) secret_file: Option<PathBuf>,
    /// Certificates by which nodes know each other, in place of a secret. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls: Option<ClusterTls>,
}

impl Default for ClusterSettings {
    fn default() -> Self {
        Self {
            listen: "off".into(),
            advertise: String::new(),
            seeds: Vec::new(),
            dns_server: String::new(),
            bootstrap: false,
            expected_nodes: 0,
            profile: ProfileSetting::Lan,
            secret: SecretText::default(),
            secret_file: None,
            tls: None,
        }
    }
}

/// How far the nodes of a cluster are from each other: their heartbeats, elections and leases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ProfileSetting {
    /// In one network: a heartbeat every 100 ms, leases of 300 ms.
    Lan,
    /// In several zones, or on machines that are slow to answer: a heartbeat every 250 ms, leases of 1 s.
    Zones,
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LogSettings {
    /// `error`, `warn`, `info`, `debug`, `trace` or `off`, also by target: `info,quelea::listener=debug`. Default `info`.
    pub(crate) level: String,
    /// `text` or `json`, a line for each event, on standard error. Default `text`.
    pub(crate) format: LogFormat,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { level: "info".into(), format: LogFormat::Text }
    }
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

impl Settings {
    /// Settings in which every optional key has a value: what keys there are, and the kind of value each takes.
    pub(super) fn sample() -> Self {
        let mut sample = Self::default();
        sample.mqtt.max_keep_alive = Some(Duration::from_secs(1));
        sample.mqtt.max_session_expiry = Some(Duration::from_secs(1));
        sample.sample_access();
        sample.cluster.secret_file = Some(PathBuf::new());
        sample.cluster.tls = Some(ClusterTls::sample());
        sample.admin.tokens_file = Some(PathBuf::new());
        // Nobody has a name there but by a token.
        sample.admin.tls = ListenerSettings::sample().tls.map(|tls| TlsFiles { user_name_from: None, ..tls });
        sample.listener.insert("*".into(), ListenerSettings::sample());
        sample
    }
}
