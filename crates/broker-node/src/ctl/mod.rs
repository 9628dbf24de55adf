//! `quelea ctl`: sees a cluster and moves what it does between its nodes, over the admin API of any of them. Called by the
//! command line; it decides nothing, and says in words what was refused.

mod access;
mod connection;
mod find;
mod json;
mod lists;
mod rows;
mod secure;
mod shrink;
mod table;
mod top;
mod trace;
mod verbs;
mod why;

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use tonic::Code;

use self::connection::{Api, Failed};
use crate::admin::proto::{
    DrainRequest, JoinRequest, KickRequest, LeaveRequest, MoveLeaderRequest, StatusReply, StatusRequest,
    UndrainRequest, move_leader_request::Which,
};

/// Exit code where no node answered.
const EXIT_UNREACHABLE: u8 = 3;

/// What the command line says.
#[derive(Debug, Args)]
pub(crate) struct CtlArgs {
    #[command(flatten)]
    find: find::FindArgs,
    #[command(flatten)]
    secure: secure::SecureArgs,
    /// Print JSON, for programs
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Once(Verb),
    /// Have the last nodes of a StatefulSet leave, one after the other, until as many are left as are to stay
    Shrink(shrink::ShrinkArgs),
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// The whole cluster: its nodes and its groups
    Status(LookArgs),
    /// The nodes
    Nodes,
    /// The cluster group and the shards: who leads them, and where each replica is
    Shards(LookArgs),
    /// Clients that are connected, to any node
    Clients(lists::ClientsArgs),
    /// Persistent sessions, whether their clients are connected or away
    Sessions(lists::SessionsArgs),
    /// What clients are subscribed to
    Subscriptions(lists::SubscriptionsArgs),
    /// Retained messages
    Retained(lists::RetainedArgs),
    /// Disconnect a client, wherever it is
    Kick {
        /// Its client identifier
        client_id: String,
    },
    /// Have somebody be let in by no node, and disconnected
    Ban(access::BanArgs),
    /// Take a ban back
    Unban(access::UnbanArgs),
    /// Who is banned on all nodes
    Bans(access::BansArgs),
    /// Why a client does not get the messages of a topic
    Why(why::WhyArgs),
    /// The packets of a client, a topic or an address, as they come and go
    Trace(trace::TraceArgs),
    /// What the nodes do, again and again
    Top(top::TopArgs),
    /// Publish a message, as a client of the node that is asked would
    Publish(Box<verbs::PublishArgs>),
    /// Have a node read its configuration, certificates, users and rules again, as SIGHUP does
    Reload(verbs::ReloadArgs),
    /// Have a node log more or less, until it reads its configuration again
    Log(verbs::LogArgs),
    /// Have a node send its clients elsewhere and lead nothing, until undrain
    Drain(NodeArgs),
    /// Take a drain back
    Undrain(NodeArgs),
    /// Have a node go from the cluster for good: others take over what it has
    Leave(NodeArgs),
    /// Have the node that is asked, which belongs to no cluster yet, join one
    Join {
        /// Nodes of the cluster to join
        #[arg(long, value_name = "HOST:PORT,...", value_delimiter = ',', required = true)]
        via: Vec<String>,
    },
    /// Hand the leadership of a shard, or of the cluster group, to a node with a vote in it
    MoveLeader {
        /// The shard's number, or "cluster"
        #[arg(value_parser = group)]
        group: Which,
        /// The node's name, or its number
        #[arg(long, value_name = "NODE")]
        to: String,
    },
}

#[derive(Debug, Args)]
struct LookArgs {
    /// Also compare the states of replicas, which takes a look at all that they have
    #[arg(long)]
    digests: bool,
}

#[derive(Debug, Args)]
struct NodeArgs {
    /// The node's name, or its number
    node: String,
}

fn group(text: &str) -> Result<Which, String> {
    match text {
        "cluster" => Ok(Which::ClusterGroup(crate::admin::proto::ClusterGroup {})),
        number => number
            .parse()
            .map(Which::Shard)
            .map_err(|_| "expected a shard's number or \"cluster\"".to_owned()),
    }
}

/// Does what the command line says; the exit code is 1 where that is refused, and 3 where no node answers.
///
/// # Errors
/// The nodes cannot be found out, or nobody reads what is printed.
pub(crate) fn run(args: CtlArgs) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start the runtime")?;
    let nodes = args.find.nodes()?;
    let secure = args.secure.open()?;
    let done = runtime.block_on(async {
        match args.command {
            Command::Once(verb) => act(&mut Api::connect(nodes, secure).await?, verb, args.json).await,
            Command::Shrink(args) => shrink::shrink((&nodes, &secure), &args).await,
        }
    });
    match done {
        Ok(text) => {
            io::stdout().write_all(text.as_bytes())?;
            Ok(ExitCode::SUCCESS)
        }
        Err(failed) => {
            writeln!(io::stderr(), "quelea: {failed}")?;
            Ok(if failed.is_unreachable() { ExitCode::from(EXIT_UNREACHABLE) } else { ExitCode::FAILURE })
        }
    }
}

/// What is printed in the end.
async fn act(api: &mut Api, verb: Verb, as_json: bool) -> Result<String, Failed> {
    let client = &mut api.client;
    Ok(match verb {
        Verb::Status(LookArgs { digests }) => {
            let status = client.status(StatusRequest { digests }).await?.into_inner();
            if as_json { json::status(&status) } else { table::status(&status) }
        }
        Verb::Nodes => {
            let status = joined(client.status(StatusRequest::default()).await?.into_inner())?;
            if as_json { json::nodes(&status) } else { table::nodes(&status) }
        }
        Verb::Shards(LookArgs { digests }) => {
            let status = joined(client.status(StatusRequest { digests }).await?.into_inner())?;
            if as_json { json::groups(&status) } else { table::groups(&status) }
        }
        Verb::Clients(args) => lists::clients(client, args, as_json).await?,
        Verb::Sessions(args) => lists::sessions(client, args, as_json).await?,
        Verb::Subscriptions(args) => lists::subscriptions(client, args, as_json).await?,
        Verb::Retained(args) => lists::retained(client, args, as_json).await?,
        Verb::Kick { client_id } => {
            let nodes = client.kick(KickRequest { client_id: client_id.clone() }).await?.into_inner().nodes;
            match as_json {
                true => format!("{}\n", serde_json::json!({ "nodes": nodes })),
                false => {
                    format!("{} was disconnected from {}\n", rows::printable(&client_id), nodes.join(", "))
                }
            }
        }
        Verb::Ban(args) => access::ban(client, args, as_json).await?,
        Verb::Unban(args) => access::unban(client, args, as_json).await?,
        Verb::Bans(args) => access::bans(client, args, as_json).await?,
        Verb::Why(args) => why::why(client, args, as_json).await?,
        Verb::Trace(args) => trace::run(api, args, as_json).await?,
        Verb::Top(args) => top::run(api, args, as_json).await?,
        Verb::Publish(args) => verbs::publish(client, *args, as_json).await?,
        Verb::Reload(args) => verbs::reload(client, args, as_json).await?,
        Verb::Log(args) => verbs::log(client, args, as_json).await?,
        Verb::Drain(NodeArgs { node }) => {
            let number = client.drain(DrainRequest { node: node.clone() }).await?.into_inner().node;
            done(as_json, number, &format!("node {node} drains: see quelea ctl nodes"))
        }
        Verb::Undrain(NodeArgs { node }) => {
            let number = client.undrain(UndrainRequest { node: node.clone() }).await?.into_inner().node;
            done(as_json, number, &format!("node {node} serves clients"))
        }
        Verb::Leave(NodeArgs { node }) => {
            let number = client.leave(LeaveRequest { node: node.clone() }).await?.into_inner().node;
            done(as_json, number, &format!("node {node} leaves the cluster: see quelea ctl nodes"))
        }
        Verb::Join { via } => {
            client.join(JoinRequest { via: via.clone() }).await?;
            if as_json { "{}\n".to_owned() } else { format!("the node asks {} too\n", via.join(", ")) }
        }
        Verb::MoveLeader { group, to } => {
            let request = MoveLeaderRequest { which: Some(group), to: to.clone() };
            let number = client.move_leader(request).await?.into_inner().leader;
            done(as_json, number, &format!("node {to} leads it"))
        }
    })
}

fn done(as_json: bool, node: u32, words: &str) -> String {
    if as_json { format!("{}\n", serde_json::json!({ "node": node })) } else { format!("{words}\n") }
}

/// A status that there is a cluster in.
fn joined(status: StatusReply) -> Result<StatusReply, Failed> {
    if status.cluster.is_some() {
        return Ok(status);
    }
    let why = format!("node {} has not joined a cluster: {}", status.answered_by, status.not_ready);
    Err(tonic::Status::new(Code::Unavailable, why).into())
}
