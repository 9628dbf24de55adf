//! Seeds that are names of many nodes: looked up anew each time, since nodes come and go behind them. Called by whoever asks the
//! seeds; it connects to nobody.

use std::net::SocketAddr;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::RData;
use hickory_resolver::proto::rr::rdata::SRV;

use crate::config::SeedForm;

/// Addresses that are taken from one name at most: a cluster has fewer nodes.
const ADDRESSES_MAX: usize = 64;
/// What a question takes at most, and how often it is asked again.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
const ATTEMPTS: usize = 1;

/// Looks names up.
#[derive(Clone)]
pub(super) struct Discovery {
    resolver: TokioResolver,
}

impl Discovery {
    /// By the system's configuration, or at this server.
    ///
    /// # Errors
    /// The system's configuration cannot be read.
    pub(super) fn new(server: Option<SocketAddr>) -> anyhow::Result<Self> {
        let mut builder = match server {
            None => TokioResolver::builder_tokio()?,
            Some(server) => {
                let [mut udp, mut tcp] = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
                udp.port = server.port();
                tcp.port = server.port();
                let server = NameServerConfig::new(server.ip(), true, vec![udp, tcp]);
                let config = ResolverConfig::from_name_servers(vec![server]);
                TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
            }
        };
        let options: &mut ResolverOpts = builder.options_mut();
        // What was so a moment ago need not be so now.
        options.cache_size = 0;
        options.timeout = ANSWER_WITHIN;
        options.attempts = ATTEMPTS;
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        Ok(Self { resolver: builder.build()? })
    }

    /// Where the nodes of a seed are, as `host:port`.
    ///
    /// # Errors
    /// Nobody knows the name now, or no node is behind it; in words.
    pub(super) async fn find(&self, seed: &SeedForm<'_>) -> Result<Vec<String>, String> {
        let found = match *seed {
            SeedForm::At(address) => vec![address.to_owned()],
            SeedForm::All { host, port } => self.addresses(host, port).await?,
            SeedForm::Service(name) => {
                let looked_up = self.resolver.srv_lookup(name).await.map_err(|error| error.to_string())?;
                let answers = looked_up.answers().iter().filter_map(|record| match &record.data {
                    RData::SRV(SRV { target, port, .. }) => Some((target.to_utf8(), *port)),
                    _ => None,
                });
                let mut found = Vec::new();
                for (host, port) in answers.take(ADDRESSES_MAX) {
                    found.extend(self.addresses(&host, port).await?);
                }
                found
            }
        };
        if found.is_empty() { Err("no node is behind that name".to_owned()) } else { Ok(found) }
    }

    async fn addresses(&self, host: &str, port: u16) -> Result<Vec<String>, String> {
        let looked_up = self.resolver.lookup_ip(host).await.map_err(|error| error.to_string())?;
        Ok(looked_up.iter().take(ADDRESSES_MAX).map(|ip| SocketAddr::new(ip, port).to_string()).collect())
    }
}
