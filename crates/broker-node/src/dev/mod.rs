//! `quelea dev`: a whole cluster on this machine, one process a node, for whoever wants to try one.
//! Called by the command line. It starts and stops nodes, and knows nothing of what they do.

mod child;
mod control;
mod plan;
mod sensors;
mod supervisor;

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Subcommand};

/// Nodes of a cluster at most.
const NODES_MAX: u16 = 9;
/// Simulated sensors at most.
const SENSORS_MAX: u32 = 10_000;

/// What the command line says.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct DevArgs {
    #[command(subcommand)]
    command: Option<DevCommand>,
    #[command(flatten)]
    cluster: ClusterArgs,
}

#[derive(Debug, Subcommand)]
enum DevCommand {
    /// Start a node of a running cluster again
    Restart {
        /// The node, as in the table
        name: String,
        /// The data directory of the cluster
        #[arg(long, value_name = "DIR", default_value = plan::DATA_DIR)]
        data_dir: PathBuf,
    },
}

#[derive(Debug, Args)]
struct ClusterArgs {
    /// How many nodes
    #[arg(long, value_name = "N", default_value = "3", value_parser = clap::value_parser!(u16).range(1..=i64::from(NODES_MAX)))]
    nodes: u16,
    /// The MQTT port of the first node; the others have the ones behind it
    #[arg(long, value_name = "PORT", default_value = "1883", value_parser = clap::value_parser!(u16).range(1..=i64::from(u16::MAX - NODES_MAX)))]
    base_port: u16,
    /// Where the nodes keep their data, and cluster.json says where they are
    #[arg(long, value_name = "DIR", default_value = plan::DATA_DIR)]
    data_dir: PathBuf,
    /// Simulated sensors, each of which publishes ESP32/TEM and ESP32/HUM every 2 s
    #[arg(long, value_name = "K", default_value = "0", value_parser = clap::value_parser!(u32).range(0..=i64::from(SENSORS_MAX)))]
    sensors: u32,
}

/// Runs a cluster until it is told to stop, or has a running one start a node again.
///
/// # Errors
/// A node does not start, or there is no such cluster or node.
pub(crate) fn run(args: DevArgs) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start the runtime")?;
    match args.command {
        Some(DevCommand::Restart { name, data_dir }) => runtime.block_on(control::restart(&data_dir, &name)),
        None => runtime.block_on(supervisor::run(&args.cluster)),
    }
}
