//! The part of the check that concerns `[cluster]`: addresses, and which of its keys go together.
//! Called by `check`, and by `node` for the address; no name is resolved here.

use std::net::SocketAddr;

use super::{
    ClusterSettings, ConfigError, DurabilitySetting, ListenAddress, Settings, cluster_keys,
    listener::ADDRESS_EXPECTED,
};

/// What a seed may be.
const SEED_EXPECTED: &str = r#""HOST:PORT", "dns:HOST:PORT" for all addresses of a name, or "srv:NAME" for a service such as "srv:_quelea._tcp.example.org""#;

/// What an address of another node may be.
const PEER_EXPECTED: &str = r#""HOST:PORT", such as "quelea-1.example.org:7883" or "10.0.0.2:7883""#;

/// Refuses the first value that is not allowed.
pub(super) fn check(settings: &Settings) -> Result<(), ConfigError> {
    let cluster = &settings.cluster;
    let Some(listen) = cluster.listen_address()? else { return check_alone(cluster) };
    if !cluster.advertise.is_empty() {
        check_peer("cluster.advertise", &cluster.advertise)?;
    } else if reaches_all(&listen) {
        let expected = format!("{PEER_EXPECTED}, as cluster.listen stands for all addresses");
        return Err(ConfigError::value("cluster.advertise", "\"\"", expected));
    }
    cluster.seeds.iter().try_for_each(|seed| check_seed(seed))?;
    cluster.dns_server()?;
    if cluster.bootstrap && cluster.expected_nodes > 0 {
        let expected =
            "false, as cluster.expected_nodes is set: only one of them says who founds the cluster";
        return Err(ConfigError::value("cluster.bootstrap", "true", expected));
    }
    // This node may be among the seeds or not, and any number behind a name.
    let are_counted = cluster.seeds.iter().all(|seed| is_peer_address(seed));
    if are_counted && usize::from(cluster.expected_nodes) > cluster.seeds.len() + 1 {
        let expected = format!("at least {}, as cluster.expected_nodes is set", cluster.expected_nodes - 1);
        return Err(ConfigError::value("cluster.seeds", &format!("{:?}", cluster.seeds), expected));
    }
    if settings.storage.durability == DurabilitySetting::Interval {
        let expected =
            "\"always\", as cluster.listen is set: other nodes count on what this one has acknowledged";
        return Err(ConfigError::value("storage.durability", "\"interval\"", expected));
    }
    cluster_keys::check(cluster, listen.is_local())
}

/// Nothing is read and ignored.
fn check_alone(cluster: &ClusterSettings) -> Result<(), ConfigError> {
    let set = [
        ("cluster.seeds", !cluster.seeds.is_empty()),
        ("cluster.bootstrap", cluster.bootstrap),
        ("cluster.expected_nodes", cluster.expected_nodes > 0),
        ("cluster.advertise", !cluster.advertise.is_empty()),
        ("cluster.dns_server", !cluster.dns_server.is_empty()),
    ];
    let set = set.iter().find(|(_, set)| *set).map(|(key, _)| *key);
    match set.or_else(|| cluster_keys::first_set(cluster)) {
        Some(key) => {
            let expected = format!("{ADDRESS_EXPECTED}, as {key} is set");
            Err(ConfigError::value("cluster.listen", "\"off\"", expected))
        }
        None => Ok(()),
    }
}

/// What a seed stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SeedForm<'a> {
    /// One node, `host:port`.
    At(&'a str),
    /// A node at each address of a name.
    All {
        /// The name.
        host: &'a str,
        /// The port of each.
        port: u16,
    },
    /// The nodes that a service record names.
    Service(&'a str),
}

/// What a seed stands for; `None` where it is none.
pub(crate) fn seed_form(seed: &str) -> Option<SeedForm<'_>> {
    let is_text = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let is_name = |name: &&str| (1..=255).contains(&name.len()) && name.chars().all(is_text);
    if let Some(name) = seed.strip_prefix("srv:") {
        return Some(name).filter(is_name).map(SeedForm::Service);
    }
    let (all, rest) = seed.strip_prefix("dns:").map_or((false, seed), |rest| (true, rest));
    let (host, port) = rest.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port > 0)?;
    if all {
        return Some(host).filter(is_name).map(|host| SeedForm::All { host, port });
    }
    let is_address = |c: char| is_text(c) || matches!(c, ':' | '[' | ']');
    let fits = (1..=255).contains(&host.len()) && host.chars().all(is_address);
    fits.then_some(SeedForm::At(seed))
}

/// Whether it is where one node may be: `HOST:PORT`.
pub(crate) fn is_peer_address(address: &str) -> bool {
    matches!(seed_form(address), Some(SeedForm::At(_)))
}

fn check_seed(seed: &str) -> Result<(), ConfigError> {
    let error = || ConfigError::value("cluster.seeds", &format!("{seed:?}"), SEED_EXPECTED);
    seed_form(seed).map(drop).ok_or_else(error)
}

fn check_peer(key: &str, address: &str) -> Result<(), ConfigError> {
    match is_peer_address(address) {
        true => Ok(()),
        false => Err(ConfigError::value(key, &format!("{address:?}"), PEER_EXPECTED)),
    }
}

/// Whether it is no address that another node could connect to.
fn reaches_all(listen: &ListenAddress) -> bool {
    match listen {
        ListenAddress::Any(_) => true,
        ListenAddress::Ip(address) => address.ip().is_unspecified(),
        ListenAddress::Localhost(_) | ListenAddress::Path(_) => false,
    }
}

impl ClusterSettings {
    /// Whether nodes know each other by something.
    pub(super) fn is_secured(&self) -> bool {
        cluster_keys::first_set(self).is_some()
    }

    /// Who is asked for names; `None` for whom the system asks.
    ///
    /// # Errors
    /// Where it is no address.
    pub(crate) fn dns_server(&self) -> Result<Option<SocketAddr>, ConfigError> {
        if self.dns_server.is_empty() {
            return Ok(None);
        }
        let found = format!("{:?}", self.dns_server);
        let error =
            |_| ConfigError::value("cluster.dns_server", &found, "\"IP:PORT\", such as \"10.0.0.53:53\"");
        self.dns_server.parse().map(Some).map_err(error)
    }

    /// Where other nodes reach this one; `None` for a node that stays alone.
    ///
    /// # Errors
    /// Where the address is none of the forms that are allowed.
    pub(crate) fn listen_address(&self) -> Result<Option<ListenAddress>, ConfigError> {
        if self.listen == "off" {
            return Ok(None);
        }
        let expected = || format!("{ADDRESS_EXPECTED} or \"off\"");
        let error = || ConfigError::value("cluster.listen", &format!("{:?}", self.listen), expected());
        ListenAddress::parse(&self.listen).map(Some).ok_or_else(error)
    }
}
