//! `quelea ctl shrink`: has the last nodes of a StatefulSet leave, one after the other, before their pods are taken away. It asks
//! the nodes that stay, again and again, until those have everything. What is next follows from what they say, in [`next`].

use std::io::{self, Write};
use std::time::Duration;

use clap::Args;
use tokio::net::lookup_host;
use tokio::time::{Instant, sleep};
use tonic::{Code, Status};

use super::connection::{Api, Failed};
use super::secure::Secure;
use crate::admin::ordinal;
use crate::admin::proto::node::Heard;
use crate::admin::proto::{Cluster, Group, LeaveRequest, Node, Role, Standing, StatusRequest};

/// Between two looks.
const AGAIN: Duration = Duration::from_secs(1);
/// Votes of a group, where there are as many nodes.
const VOTERS: usize = 3;
/// Pods that are looked for by name: there may be more, but hardly none of these.
const PODS_LOOKED_FOR: u32 = 8;

/// What the command line says.
#[derive(Debug, Args)]
pub(super) struct ShrinkArgs {
    /// What the nodes are called: NAME-0, NAME-1 and so on
    #[arg(value_name = "NAME")]
    set: String,
    /// How many of them are to stay: the first ones
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    to: u32,
    /// The domain in which pods have their names: while no node is ready, and none that is to go has a name, there is nothing to do
    #[arg(long, value_name = "DOMAIN")]
    domain: Option<String>,
    /// How long it may take
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "5m")]
    within: Duration,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// Nobody is to go any more.
    Nothing,
    /// Nodes that are to go are still there, or what they had is not whole elsewhere.
    Wait(String),
    /// This one is told to leave.
    Leave(u32),
}

/// Who answered.
enum Seen {
    /// A node that serves clients, and what it says of the cluster.
    Ready(Box<Api>, Cluster),
    /// None that does: what others know of the cluster, and of each why it is not asked for more.
    NotReady(Vec<Cluster>, Vec<String>),
}

/// Has them leave; what is printed in the end.
///
/// # Errors
/// They have not all left in time, or the cluster refuses it.
pub(super) async fn shrink(
    (nodes, secure): (&[String], &Secure),
    args: &ShrinkArgs,
) -> Result<String, Failed> {
    let deadline = Instant::now() + args.within;
    let (mut told, mut has_begun) = (String::new(), false);
    loop {
        let (why, failed) = match look(nodes, secure).await {
            Seen::Ready(mut api, cluster) => match next(&cluster, args, has_begun) {
                Next::Nothing => return Ok(format!("no node is behind {}-{}\n", args.set, args.to - 1)),
                Next::Wait(why) => (why.clone(), late(&why)),
                Next::Leave(number) => {
                    has_begun = true;
                    let why = leave(&mut api, &cluster, number).await?;
                    (why.clone(), late(&why))
                }
            },
            Seen::NotReady(known, whys) => {
                if known.iter().all(|cluster| going(cluster, args).is_empty()) && no_pod_is_to_go(args).await
                {
                    return Ok("no node is ready, and no pod is to go\n".to_owned());
                }
                (format!("no node is ready: {}", whys.join("; ")), Failed::Unreachable(whys))
            }
        };
        if why != told {
            // Whoever does not read it waits all the same.
            let _unread = writeln!(io::stderr(), "{why}");
            told = why;
        }
        if Instant::now() >= deadline {
            return Err(failed);
        }
        sleep(AGAIN).await;
    }
}

fn late(why: &str) -> Failed {
    Status::deadline_exceeded(format!("the nodes that are to go have not all left in time: {why}")).into()
}

/// Tells a node to leave; what is waited for then.
async fn leave(api: &mut Api, cluster: &Cluster, number: u32) -> Result<String, Failed> {
    let named = cluster.nodes.iter().find(|node| node.number == number);
    let name = named.map_or("", |node| node.name.as_str());
    match api.client.leave(LeaveRequest { node: number.to_string() }).await {
        Ok(_) => Ok(format!("{name} leaves")),
        // The group had no leader just then, or the node that was asked ended.
        Err(status) if matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded) => {
            Ok(format!("{name} was not told: {}", status.message()))
        }
        Err(status) => Err(status.into()),
    }
}

async fn look(nodes: &[String], secure: &Secure) -> Seen {
    let (mut known, mut whys) = (Vec::new(), Vec::new());
    for node in nodes {
        let asked = async {
            let mut api = Api::connect(vec![node.clone()], secure.clone()).await?;
            let reply = api.client.status(StatusRequest::default()).await?.into_inner();
            Ok::<_, Failed>((api, reply))
        };
        match asked.await {
            Ok((api, reply)) => match (reply.cluster, reply.not_ready.is_empty()) {
                (Some(cluster), true) => return Seen::Ready(Box::new(api), cluster),
                (cluster, _) => {
                    whys.push(format!("{}: {}", reply.answered_by, reply.not_ready));
                    known.extend(cluster);
                }
            },
            Err(failed) => whys.push(failed.to_string()),
        }
    }
    Seen::NotReady(known, whys)
}

/// Whether names are found in the domain of the pods, and none of a pod that is to go.
async fn no_pod_is_to_go(args: &ShrinkArgs) -> bool {
    let Some(domain) = &args.domain else { return false };
    let is_known = async |number: u32| {
        let name = format!("{}-{number}.{domain}", args.set);
        lookup_host((name, 1)).await.is_ok_and(|mut found| found.next().is_some())
    };
    // Where no name at all is found, nobody knows.
    let mut stays = false;
    for number in 0..args.to.min(PODS_LOOKED_FOR) {
        stays = stays || is_known(number).await;
    }
    for number in args.to..args.to.saturating_add(PODS_LOOKED_FOR) {
        if !stays || is_known(number).await {
            return false;
        }
    }
    stays
}

/// The nodes that are to go, the last one first.
fn going<'c>(cluster: &'c Cluster, args: &ShrinkArgs) -> Vec<&'c Node> {
    let number = |node: &Node| {
        let (set, number) = ordinal(&node.name)?;
        (set == args.set && number >= args.to).then_some(number)
    };
    let mut going: Vec<_> = cluster.nodes.iter().filter_map(|node| Some((number(node)?, node))).collect();
    going.sort_by_key(|(number, node)| (std::cmp::Reverse(*number), node.number));
    going.into_iter().map(|(_, node)| node).collect()
}

/// What is next. Once it `has_begun`, it goes on until what those had that have left is whole elsewhere.
fn next(cluster: &Cluster, args: &ShrinkArgs, has_begun: bool) -> Next {
    let going = going(cluster, args);
    if going.is_empty() && !has_begun {
        return Next::Nothing;
    }
    if let Some(node) = going.iter().find(|node| node.standing() == Standing::Leaves) {
        return Next::Wait(format!("{} gives away what it has", node.name));
    }
    let stays = |node: &&Node| going.iter().all(|other| other.number != node.number);
    let staying: Vec<&Node> = cluster.nodes.iter().filter(stays).collect();
    let is_silent = |node: &&&Node| !matches!(node.heard, Some(Heard::Report(_)));
    if let Some(node) = staying.iter().find(is_silent) {
        return Next::Wait(format!("{} is to stay and is not heard", node.name));
    }
    // Two nodes never have two votes.
    let wanted = if cluster.nodes.len() < VOTERS { 1 } else { VOTERS };
    let lacks = |group: &&Group| group.leader == 0 || voters(group) < wanted;
    match (cluster.groups.iter().filter(lacks).count(), going.first()) {
        (0, Some(node)) => Next::Leave(node.number),
        (0, None) => Next::Nothing,
        (groups, _) => Next::Wait(format!("{groups} groups have no leader, or lack replicas")),
    }
}

fn voters(group: &Group) -> usize {
    let votes = |role: Role| matches!(role, Role::Leader | Role::Voter);
    group.replicas.iter().filter(|replica| votes(replica.role())).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::proto::{NodeReport, Replica};

    fn args(to: u32) -> ShrinkArgs {
        ShrinkArgs { set: "quelea".to_owned(), to, domain: None, within: Duration::ZERO }
    }

    /// Nodes with these names and the numbers 1, 2 and so on, and a group with three votes.
    fn cluster(names: &[&str]) -> Cluster {
        let node = |(name, number): (&&str, u32)| Node {
            number,
            name: (*name).to_owned(),
            standing: Standing::Serves.into(),
            heard: Some(Heard::Report(NodeReport::default())),
            ..Node::default()
        };
        let replica = |node| Replica { node, role: Role::Voter.into(), positions: None };
        let group = Group { leader: 1, replicas: (1..=3).map(replica).collect(), ..Group::default() };
        let nodes = names.iter().zip(1..).map(node).collect();
        Cluster { nodes, groups: vec![group], ..Cluster::default() }
    }

    const FIVE: [&str; 5] = ["quelea-0", "quelea-4", "quelea-1", "quelea-3", "quelea-2"];

    #[test]
    fn the_last_node_leaves_first_and_others_are_no_nodes_of_the_set() {
        assert_eq!(next(&cluster(&FIVE), &args(3), false), Next::Leave(2));
        assert_eq!(next(&cluster(&["quelea-0", "quelea-10", "quelea-9"]), &args(1), false), Next::Leave(2));
        let others = ["quelea-0", "quelea", "other-7", "quelea-x", "quelea-+7", "quelea-7-1"];
        assert_eq!(next(&cluster(&others), &args(1), false), Next::Nothing);
        assert_eq!(next(&cluster(&FIVE), &args(5), false), Next::Nothing);
    }

    #[test]
    fn the_next_one_waits_until_the_one_before_has_gone_and_all_is_whole() {
        let is_waited = |change: fn(&mut Cluster)| {
            let mut cluster = cluster(&FIVE);
            change(&mut cluster);
            matches!(next(&cluster, &args(3), true), Next::Wait(_))
        };
        assert!(!is_waited(|_| {}));
        assert!(is_waited(|cluster| cluster.nodes[1].set_standing(Standing::Leaves)));
        assert!(is_waited(|cluster| cluster.nodes[0].heard = Some(Heard::Silent("gone".to_owned()))));
        assert!(is_waited(|cluster| cluster.groups[0].leader = 0));
        assert!(is_waited(|cluster| cluster.groups[0].replicas.truncate(2)));
        // One that is to go may be dead.
        assert!(!is_waited(|cluster| cluster.nodes[1].heard = None));
    }

    #[test]
    fn it_has_ended_when_those_that_stay_have_everything() {
        let mut three = cluster(&["quelea-0", "quelea-1", "quelea-2"]);
        assert_eq!(next(&three, &args(3), true), Next::Nothing);
        three.groups[0].replicas.pop();
        assert!(matches!(next(&three, &args(3), true), Next::Wait(_)));
        // Where nobody was to go in the first place, nothing is waited for: an upgrade may be what mends it.
        assert_eq!(next(&three, &args(3), false), Next::Nothing);
    }
}
