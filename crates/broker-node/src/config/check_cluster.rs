//! The part of the check that concerns `[cluster]`: addresses, and which of its keys go together.
//! Called by `check`, and by `node` for the address; no name is resolved here.

use super::{
    ClusterSettings, ConfigError, DurabilitySetting, ListenAddress, Settings, listener::ADDRESS_EXPECTED,
};

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
    cluster.seeds.iter().try_for_each(|seed| check_peer("cluster.seeds", seed))?;
    if cluster.bootstrap && cluster.expected_nodes > 0 {
        let expected =
            "false, as cluster.expected_nodes is set: only one of them says who founds the cluster";
        return Err(ConfigError::value("cluster.bootstrap", "true", expected));
    }
    // This node may be among the seeds or not.
    if usize::from(cluster.expected_nodes) > cluster.seeds.len() + 1 {
        let expected = format!("at least {}, as cluster.expected_nodes is set", cluster.expected_nodes - 1);
        return Err(ConfigError::value("cluster.seeds", &format!("{:?}", cluster.seeds), expected));
    }
    if settings.storage.durability == DurabilitySetting::Interval {
        let expected =
            "\"always\", as cluster.listen is set: other nodes count on what this one has acknowledged";
        return Err(ConfigError::value("storage.durability", "\"interval\"", expected));
    }
    Ok(())
}

/// Nothing is read and ignored.
fn check_alone(cluster: &ClusterSettings) -> Result<(), ConfigError> {
    let set = [
        ("cluster.seeds", !cluster.seeds.is_empty()),
        ("cluster.bootstrap", cluster.bootstrap),
        ("cluster.expected_nodes", cluster.expected_nodes > 0),
        ("cluster.advertise", !cluster.advertise.is_empty()),
    ];
    match set.iter().find(|(_, set)| *set) {
        Some((key, _)) => {
            let expected = format!("{ADDRESS_EXPECTED}, as {key} is set");
            Err(ConfigError::value("cluster.listen", "\"off\"", expected))
        }
        None => Ok(()),
    }
}

/// Whether it may be where another node is: `HOST:PORT`.
pub(crate) fn is_peer_address(address: &str) -> bool {
    let parts = address.rsplit_once(':');
    parts.is_some_and(|(host, port)| {
        let is_text = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
        (1..=255).contains(&host.len())
            && host.chars().all(is_text)
            && port.parse().is_ok_and(|port: u16| port > 0)
    })
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
