//! The port of this node for the others: bound once, before the node knows to which cluster it belongs, and kept for all
//! that answers on it. Made by the composition root; answers nothing itself.

use std::io;
use std::net::TcpListener as StdListener;
use std::sync::Arc;

use anyhow::Context;
use node_routing::counters::Tally;
use node_routing::join::Meets;
use node_routing::limits::Limits;
use node_routing::security::{Plain, Security};
use tokio::net::TcpListener;

use super::keys::ClusterKeys;
use super::seeds::Seeds;
use crate::config::{ListenAddress, Settings};
use crate::listener::bind_tcp;

/// The port of a node for others.
pub(crate) struct Port {
    sockets: Vec<StdListener>,
    /// What others connect to.
    pub(crate) address: String,
    /// The bounds of connections, at either end.
    pub(crate) limits: Limits,
    /// What is put around them.
    pub(crate) security: Arc<dyn Security>,
    /// What is counted.
    pub(crate) tally: Arc<Tally>,
    /// Who is asked where the others are.
    pub(crate) seeds: Seeds,
    /// By what nodes know each other, where that is anything.
    pub(crate) keys: Option<ClusterKeys>,
}

impl Port {
    /// Binds the port that the settings name; `None` for a node that stays alone.
    ///
    /// # Errors
    /// It cannot be bound, or what nodes are known by cannot be used.
    pub(crate) fn bind(settings: &Settings) -> anyhow::Result<Option<Self>> {
        let Some(listen) = settings.cluster.listen_address()? else { return Ok(None) };
        let sockets = bind_tcp("cluster", &listen)?;
        let first = sockets.first().context("the cluster's address is none")?;
        let address = match settings.cluster.advertise.as_str() {
            "" => advertised(&listen, first)?,
            given => given.to_owned(),
        };
        // Whoever asks itself hears nothing before it answers.
        let others = settings.cluster.seeds.iter().filter(|seed| **seed != address).cloned();
        let seeds = Seeds::new(others, settings.cluster.dns_server()?)?;
        let keys = ClusterKeys::open(settings)?;
        let (limits, tally) = (settings.peer_limits(), Arc::default());
        // The configuration has none only where nobody else reaches the port.
        let security = keys.as_ref().map_or_else(|| Arc::new(Plain) as _, ClusterKeys::security);
        Ok(Some(Self { sockets, address, limits, security, tally, seeds, keys }))
    }

    /// How others are met who may be anybody.
    pub(super) fn meets(&self) -> Meets {
        Meets { limits: self.limits, security: Arc::clone(&self.security) }
    }

    /// The port for whoever answers on it next. What was accepted before and not looked at is lost.
    ///
    /// # Errors
    /// The system has no descriptors left.
    pub(crate) fn listeners(&self) -> io::Result<Vec<TcpListener>> {
        let listener = |socket: &StdListener| TcpListener::from_std(socket.try_clone()?);
        self.sockets.iter().map(listener).collect()
    }
}

/// What others connect to where nothing else is given: the address itself, with the port that it has.
fn advertised(listen: &ListenAddress, bound: &StdListener) -> io::Result<String> {
    let port = bound.local_addr()?.port();
    Ok(match listen {
        ListenAddress::Localhost(_) => format!("127.0.0.1:{port}"),
        _ => bound.local_addr()?.to_string(),
    })
}
