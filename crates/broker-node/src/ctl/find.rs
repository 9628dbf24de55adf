//! Which nodes `quelea ctl` may ask: one that is named, or those of a development cluster's file. Used once, at its start.

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;
use serde::Deserialize;

/// Where a node's admin API usually is.
const USUAL: &str = "localhost:9883";

#[derive(Debug, Args)]
pub(super) struct FindArgs {
    /// The admin API of nodes of the cluster (admin.listen there): the first that answers is asked [default: localhost:9883]
    #[arg(long, value_name = "HOST:PORT,...", value_delimiter = ',', env = "QUELEA_ADMIN", global = true)]
    admin: Vec<String>,
    /// The cluster.json of a cluster that quelea dev runs: the first of its nodes that answers is asked
    #[arg(long, value_name = "FILE", global = true)]
    cluster_file: Option<PathBuf>,
}

/// What is read of a node in the file.
#[derive(Deserialize)]
struct Place {
    admin: Option<String>,
}

impl FindArgs {
    /// The nodes to ask, in this order, as `host:port`.
    ///
    /// # Errors
    /// The file cannot be read, or names none.
    pub(super) fn nodes(&self) -> anyhow::Result<Vec<String>> {
        match (self.admin.as_slice(), &self.cluster_file) {
            (_, Some(file)) => {
                let text = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
                let places: Vec<Place> = serde_json::from_slice(&text)
                    .with_context(|| format!("{} is no cluster.json", file.display()))?;
                let nodes: Vec<String> = places.into_iter().filter_map(|place| place.admin).collect();
                if nodes.is_empty() {
                    bail!("{} names no node with an admin port", file.display());
                }
                Ok(nodes)
            }
            ([], None) => Ok(vec![USUAL.to_owned()]),
            (nodes, None) => Ok(nodes.to_vec()),
        }
    }
}
