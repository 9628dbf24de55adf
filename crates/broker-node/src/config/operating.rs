//! `[admin]` and `[drain]`: how a node is operated while it runs.
//! Read by `front` and `drain`; ranges are checked in `check`.

use super::{listener::TlsFiles, units::duration};
use serde::{Deserialize, Serialize};
use std::{path::PathBuf, time::Duration};

/// `[admin]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct AdminSettings {
    /// Where the admin API is served, for `quelea ctl`: an address as for listeners; `off` for nowhere. Where other machines
    /// reach it, `tls` and `tokens_file` have to be set. Default `off`; its usual port is 9883.
    pub(crate) listen: String,
    /// A second address of the admin API, for whoever shows there what nodes know each other by, as other nodes do: it tells what
    /// the cluster looks like, and has the last node of a StatefulSet leave, and nothing else. Default `off`; its usual port is 9884.
    pub(crate) cluster_listen: String,
    /// The file with the hashes of tokens, made with `quelea token`; read again when it changes. Default none: whoever
    /// reaches the port may do everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tokens_file: Option<PathBuf>,
    /// Certificates, as for listeners. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls: Option<TlsFiles>,
}

impl Default for AdminSettings {
    fn default() -> Self {
        Self { listen: "off".into(), cluster_listen: "off".into(), tokens_file: None, tls: None }
    }
}

/// `[drain]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct DrainSettings {
    /// Clients that are disconnected in a second while the node drains, or before it stops where it has peers. Default 1,000.
    pub(crate) clients_per_second: u32,
    /// How long a node with peers may take to give its leaderships and clients away before it stops; what is left then is
    /// ended at once, which takes 10 s more at most. Default 15 s.
    #[serde(with = "duration")]
    pub(crate) timeout: Duration,
    /// Where MQTT 5.0 clients are told to go that are sent away or not taken (Server Reference), such as
    /// `mqtt.example.org:8883`. Default none: they find the way themselves.
    pub(crate) server_reference: String,
}

impl Default for DrainSettings {
    fn default() -> Self {
        Self { clients_per_second: 1_000, timeout: Duration::from_secs(15), server_reference: String::new() }
    }
}
