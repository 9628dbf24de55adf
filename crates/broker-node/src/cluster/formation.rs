//! How a node without an identity comes to a cluster: it asks its seeds who they are, again and again, until one of them
//! belongs to a cluster, or this node is the one that founds it. Called by the composition root; never twice for one
//! data directory, whose `node.json` says afterwards who the node is.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use node_routing::join::{Admits, Founds, Known, MeetError, Meets, Standing, Stranger};
use node_routing::server::{Front, Server};
use raft_consensus::cluster::{APPLY_LEVEL_MAX, ClusterId, FOUNDER};
use raft_consensus::types::NodeId;
use tokio::time::sleep;
use tracing::{info, warn};

use super::port::Port;
use super::seeds::{Found, Seeds};
use crate::admin::Subject;
use crate::config::Settings;
use crate::identity::{Drawn, Identity};

/// Between two rounds of questions.
pub(super) const AGAIN: Duration = Duration::from_millis(300);

/// Who answered at each seed.
type Answers = BTreeMap<String, Result<Standing, MeetError>>;

/// What a node without a cluster does next.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// It founds a cluster.
    Found,
    /// It asks the node at this address for a number in this cluster.
    Join(String, Known),
    /// It asks again.
    Wait(Waits),
}

/// What a node waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Waits {
    /// Word of whom to ask.
    Seeds,
    /// A cluster.
    Cluster,
    /// A seed that does not answer as it should.
    Seed(MeetError),
    /// That seeds belong to one cluster.
    OneCluster(String, String),
    /// That nobody else is told to found a cluster.
    OtherFounder(String),
    /// More nodes.
    Nodes(usize, usize),
    /// That no two nodes have the same name.
    Names(String),
    /// Another node, which founds the cluster.
    First(String),
}

impl fmt::Display for Waits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Seeds => write!(f, "it knows nobody to ask: quelea ctl join --via HOST:PORT"),
            Self::Cluster => write!(f, "no seed belongs to a cluster yet"),
            Self::Seed(error) => write!(f, "{error}"),
            Self::OneCluster(one, other) => write!(f, "{one} and {other} belong to different clusters"),
            Self::OtherFounder(name) => {
                write!(f, "node {name} is told to found a cluster as well: only one may be")
            }
            Self::Nodes(found, of) => write!(f, "{found} of {of} expected nodes are there"),
            Self::Names(name) => write!(f, "two nodes have the name {name}"),
            Self::First(name) => write!(f, "node {name} is to found the cluster"),
        }
    }
}

/// Decides by what the seeds say. Of nodes with the same seeds one founds a cluster at most.
fn decide(me: &Stranger, expected: usize, answers: &Answers) -> Next {
    let members = answers.iter().filter_map(|(address, answer)| match answer {
        Ok(Standing::Member(known)) => Some((address, known)),
        _ => None,
    });
    let members: Vec<_> = members.collect();
    if let Some((address, known)) = members.first() {
        return match members.iter().find(|(_, other)| other.cluster != known.cluster) {
            Some((other, _)) => Next::Wait(Waits::OneCluster((*address).clone(), (*other).clone())),
            None => Next::Join((*address).clone(), (*known).clone()),
        };
    }
    if me.founds == Founds::Never {
        let failed = answers.values().find_map(|answer| answer.as_ref().err());
        let waits = failed.map_or(Waits::Cluster, |error| Waits::Seed(error.clone()));
        return Next::Wait(if answers.is_empty() { Waits::Seeds } else { waits });
    }
    let mut others = BTreeMap::new();
    for answer in answers.values() {
        match answer {
            Ok(Standing::Stranger(other)) if other.token != me.token => {
                others.insert(other.token, other);
            }
            Ok(_) => {}
            Err(error) => return Next::Wait(Waits::Seed(error.clone())),
        }
    }
    if let Some(other) = others.values().find(|other| other.founds == Founds::Told) {
        return Next::Wait(Waits::OtherFounder(other.name.clone()));
    }
    match me.founds {
        Founds::Told => Next::Found,
        _ => first_by_name(me, expected, others.values().map(|other| other.name.as_str())),
    }
}

fn first_by_name<'a>(me: &'a Stranger, expected: usize, others: impl Iterator<Item = &'a str>) -> Next {
    let mut names = BTreeSet::from([me.name.as_str()]);
    for name in others {
        if !names.insert(name) {
            return Next::Wait(Waits::Names(name.to_owned()));
        }
    }
    if names.len() < expected {
        return Next::Wait(Waits::Nodes(names.len(), expected));
    }
    match names.first() {
        Some(first) if *first != me.name => Next::Wait(Waits::First((*first).to_owned())),
        _ => Next::Found,
    }
}

/// Says who this node is while it belongs to no cluster.
struct Nobody(Stranger);

impl Admits for Nobody {
    fn standing(&self) -> Standing {
        Standing::Stranger(self.0.clone())
    }

    fn admit(&self, _token: u64) -> BoxFuture<'static, Result<NodeId, String>> {
        Box::pin(std::future::ready(Err("it belongs to no cluster itself".to_owned())))
    }
}

/// Waits until the node has founded a cluster, or has a number in one, and has written that down.
///
/// # Errors
/// Nothing says how the node is to come to a cluster, or the directory cannot be written.
pub(crate) async fn form(
    settings: &Settings,
    port: &Port,
    shards: u16,
    subject: &Subject,
) -> anyhow::Result<()> {
    let (cluster, directory) = (&settings.cluster, settings.node.data_dir.as_path());
    let founds = match (cluster.bootstrap, cluster.expected_nodes) {
        (true, _) => Founds::Told,
        (false, 0) => Founds::Never,
        (false, _) => Founds::First,
    };
    // An operator may still say whom to ask.
    let is_told = settings.admin.listen_address()?.is_some();
    if founds == Founds::Never && cluster.seeds.is_empty() && !is_told {
        anyhow::bail!(
            "this node belongs to no cluster: set cluster.seeds (--join HOST:PORT,...) to join one, or cluster.bootstrap \
             (--bootstrap) on exactly one node to found one"
        );
    }
    let drawn = Drawn::of(directory)?;
    let me = Stranger { name: settings.node.name.clone(), token: drawn.token, founds };
    let meets = port.meets();
    let front =
        Front { limits: port.limits, security: Arc::clone(&port.security), tally: Arc::clone(&port.tally) };
    let _answers = Server::for_strangers(port.listeners()?, front, Arc::new(Nobody(me.clone())))?;
    info!(target: "quelea", name = me.name, address = port.address, "belongs to no cluster yet");
    let mut told = None;
    loop {
        let answers = ask_all(&meets, &port.seeds).await;
        match decide(&me, usize::from(cluster.expected_nodes), &answers) {
            Next::Found => return found(directory, shards),
            Next::Join(address, known) if known.apply_level > APPLY_LEVEL_MAX => anyhow::bail!(
                "the cluster at {address} is at apply level {}, and this binary knows {APPLY_LEVEL_MAX}: run a newer one",
                known.apply_level
            ),
            Next::Join(address, known) => match meets.join(&address, me.token).await {
                Ok(node) => return join(directory, node, &known),
                Err(error) => tell(&mut told, Waits::Seed(error), subject),
            },
            Next::Wait(waits) => tell(&mut told, waits, subject),
        }
        sleep(AGAIN).await;
    }
}

async fn ask_all(meets: &Meets, seeds: &Seeds) -> Answers {
    let Found { addresses, unknown } = seeds.find().await;
    let asked = addresses.iter().map(async |address| (address.clone(), meets.meet(address).await));
    let mut answers: Answers = join_all(asked).await.into_iter().collect();
    // As one that is silent: nobody founds a cluster before all of them have answered.
    let unknown =
        unknown.into_iter().map(|(seed, why)| (seed.clone(), Err(MeetError::Unreachable(seed, why))));
    answers.extend(unknown);
    answers
}

/// Tells the operator what is waited for, once.
fn tell(told: &mut Option<Waits>, waits: Waits, subject: &Subject) {
    if told.as_ref() == Some(&waits) {
        return;
    }
    subject.readiness().waits(format!("waits for a cluster: {waits}"));
    match &waits {
        Waits::OneCluster(..) | Waits::OtherFounder(_) | Waits::Names(_) => {
            warn!(target: "quelea", reason = %waits, "waits for a cluster");
        }
        _ => info!(target: "quelea", reason = %waits, "waits for a cluster"),
    }
    *told = Some(waits);
}

fn found(directory: &Path, shards: u16) -> anyhow::Result<()> {
    let identity = Identity::founder(directory, shards)?;
    info!(target: "quelea", cluster = %identity.cluster, "founds a cluster");
    Ok(())
}

fn join(directory: &Path, node: NodeId, known: &Known) -> anyhow::Result<()> {
    let node = u32::try_from(node)?;
    if node <= FOUNDER.0 {
        anyhow::bail!("the cluster gave this node the number {node}, which no node that joins has");
    }
    Identity::joiner(directory, (known.cluster, known.shards), node)?;
    info!(target: "quelea", cluster = %known.cluster, node, "joins a cluster");
    Ok(())
}

/// Where the nodes of this node's cluster are, as its seeds say, for a node that does not know it itself.
pub(super) async fn places(meets: &Meets, seeds: &Seeds, cluster: ClusterId) -> BTreeMap<NodeId, String> {
    let answers = ask_all(meets, seeds).await;
    let known = answers.into_values().filter_map(|answer| match answer {
        Ok(Standing::Member(known)) if known.cluster == cluster => Some(known.nodes),
        _ => None,
    });
    known.flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stranger(name: &str, token: u64, founds: Founds) -> Stranger {
        Stranger { name: name.to_owned(), token, founds }
    }

    fn answers(of: &[Result<Standing, MeetError>]) -> Answers {
        (0..).map(|number: u32| format!("seed-{number}")).zip(of.iter().cloned()).collect()
    }

    fn no(name: &str, token: u64, founds: Founds) -> Result<Standing, MeetError> {
        Ok(Standing::Stranger(stranger(name, token, founds)))
    }

    fn known(id: u8) -> Known {
        Known { cluster: ClusterId([id; 16]), shards: 6, nodes: BTreeMap::new(), apply_level: 1 }
    }

    fn silent() -> Result<Standing, MeetError> {
        Err(MeetError::Unreachable("seed-9".to_owned(), "it is silent".to_owned()))
    }

    #[test]
    fn whoever_belongs_to_a_cluster_is_joined_whatever_else_is_said() {
        for founds in [Founds::Never, Founds::First, Founds::Told] {
            let seeds = answers(&[silent(), Ok(Standing::Member(known(1))), no("z", 9, Founds::Told)]);
            let next = decide(&stranger("a", 1, founds), 3, &seeds);
            assert_eq!(next, Next::Join("seed-1".to_owned(), known(1)));
        }
        let two = answers(&[Ok(Standing::Member(known(1))), Ok(Standing::Member(known(2)))]);
        let next = decide(&stranger("a", 1, Founds::Told), 0, &two);
        assert_eq!(next, Next::Wait(Waits::OneCluster("seed-0".to_owned(), "seed-1".to_owned())));
    }

    #[test]
    fn who_is_told_founds_once_every_seed_belongs_to_none() {
        let me = stranger("b", 2, Founds::Told);
        assert_eq!(decide(&me, 0, &answers(&[])), Next::Found);
        let own = no("b", 2, Founds::Told);
        let waits = [own.clone(), no("a", 1, Founds::Never)];
        assert_eq!(decide(&me, 0, &answers(&waits)), Next::Found);
        let next = decide(&me, 0, &answers(&[own.clone(), silent()]));
        assert!(matches!(next, Next::Wait(Waits::Seed(_))), "{next:?}");
        let two = [own, no("b", 7, Founds::Told)];
        assert_eq!(decide(&me, 0, &answers(&two)), Next::Wait(Waits::OtherFounder("b".to_owned())));
        let never = stranger("a", 1, Founds::Never);
        assert_eq!(decide(&never, 0, &answers(&waits)), Next::Wait(Waits::Cluster));
        assert_eq!(decide(&never, 0, &answers(&[])), Next::Wait(Waits::Seeds));
    }

    /// Whatever subset of the seeds is up when each of them decides.
    #[test]
    fn of_expected_nodes_the_first_by_name_founds_and_nobody_else() {
        let nodes = [("a", 1), ("b", 2), ("c", 3)];
        for up in 0..8_u32 {
            let seeds: Vec<_> = nodes
                .iter()
                .enumerate()
                .map(|(at, (name, token))| match up >> at & 1 {
                    1 => no(name, *token, Founds::First),
                    _ => silent(),
                })
                .collect();
            for (at, (name, token)) in nodes.iter().enumerate().filter(|(at, _)| up >> at & 1 == 1) {
                let next = decide(&stranger(name, *token, Founds::First), 3, &answers(&seeds));
                assert_eq!(next == Next::Found, up == 7 && at == 0, "{up:b}: {name} {next:?}");
            }
        }
    }

    #[test]
    fn two_nodes_of_one_name_and_too_few_nodes_are_waited_out() {
        let me = stranger("a", 1, Founds::First);
        let same = [no("a", 1, Founds::First), no("a", 2, Founds::First), no("b", 3, Founds::First)];
        assert_eq!(decide(&me, 2, &answers(&same)), Next::Wait(Waits::Names("a".to_owned())));
        let few = [no("a", 1, Founds::First), no("b", 3, Founds::First)];
        assert_eq!(decide(&me, 3, &answers(&few)), Next::Wait(Waits::Nodes(2, 3)));
        let told = [no("a", 1, Founds::First), no("b", 3, Founds::Told)];
        assert_eq!(decide(&me, 2, &answers(&told)), Next::Wait(Waits::OtherFounder("b".to_owned())));
    }
}
