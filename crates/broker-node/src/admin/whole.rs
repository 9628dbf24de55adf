//! The cluster as a whole: what the cluster group says of it, with what each node says of itself. Called by the service for each
//! request. Who does not answer in time is shown as silent, and holds up nobody for longer than that.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::join_all;
use prost::Message;
use raft_consensus::cluster::{ClusterId, Duty, Member, Roster};
use session_store::NodeId;
use tokio::time::{Instant, sleep};

use super::node_proto::answer::Kind as Answered;
use super::node_proto::question::Kind as Asked;
use super::node_proto::{AboutMe, AboutYou, Answer, OwnReplica, Question};
use super::proto::group::Which;
use super::proto::node::Heard;
use super::proto::{Cluster, ClusterGroup, Group, Node, Replica, Role, Standing};
use super::subject::{Belongs, Subject};

/// How long another node has to answer.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// The same where it makes a page of a list, or ends a connection.
const LIST_WITHIN: Duration = Duration::from_secs(5);
/// The same where it has to look at all that it has.
const DIGESTS_WITHIN: Duration = Duration::from_secs(15);

/// How long shards are waited for that nobody says to lead, and between two questions.
const HEARD_WITHIN: Duration = Duration::from_secs(2);
const AGAIN: Duration = Duration::from_millis(200);

/// What is said of an answer to another question.
pub(super) const NONSENSE: &str = "its answer makes no sense";

/// What was heard of a node, or why nothing was.
type Word = Result<AboutMe, String>;

/// Puts a question to a node.
///
/// # Errors
/// Why there is no answer.
pub(super) async fn ask(
    subject: &Subject,
    belongs: &Belongs,
    (to, question, within): (NodeId, Asked, Duration),
) -> Result<Answered, String> {
    if to == belongs.me {
        return Ok(subject.answer(question).await);
    }
    let asker = belongs.asks.asker().ok_or("there is no way to other nodes")?;
    let question = Question { kind: Some(question) }.encode_to_vec().into();
    let answer = asker.question(to.0.into(), question, within).await.map_err(|error| error.to_string())?;
    Answer::decode(answer).ok().and_then(|answer| answer.kind).ok_or_else(|| NONSENSE.to_owned())
}

async fn hear(subject: &Subject, belongs: &Belongs, to: NodeId, digests: bool) -> Word {
    let within = if digests { DIGESTS_WITHIN } else { ANSWER_WITHIN };
    match ask(subject, belongs, (to, Asked::AboutYou(AboutYou { digests }), within)).await? {
        Answered::AboutMe(about) => Ok(about),
        Answered::Refused(why) => Err(why),
        _ => Err(NONSENSE.to_owned()),
    }
}

/// How long it is asked again where somebody is not heard: a shard is without a leader for a moment when that moves.
pub(super) struct Patience(Instant);

impl Patience {
    /// From now on.
    pub(super) fn new() -> Self {
        Self(Instant::now() + HEARD_WITHIN)
    }

    /// Waits before the next question; `false` where there is to be none.
    pub(super) async fn again(&self) -> bool {
        let goes_on = Instant::now() < self.0;
        if goes_on {
            sleep(AGAIN).await;
        }
        goes_on
    }
}

/// Puts a question to each of these nodes, to all at once.
pub(super) async fn ask_each(
    subject: &Subject,
    belongs: &Belongs,
    questions: Vec<(NodeId, Asked)>,
) -> Vec<(NodeId, Result<Answered, String>)> {
    let asked = questions
        .into_iter()
        .map(async |(node, question)| (node, ask(subject, belongs, (node, question, LIST_WITHIN)).await));
    join_all(asked).await
}

/// Asks nodes, all at once.
async fn hear_all(
    subject: &Subject,
    belongs: &Belongs,
    (roster, digests): (&Roster, bool),
) -> BTreeMap<NodeId, Word> {
    let asked = roster.keys().map(async |node| (*node, hear(subject, belongs, *node, digests).await));
    join_all(asked).await.into_iter().collect()
}

/// A group, by its number, with what all nodes say of it.
pub(super) async fn group_of(subject: &Subject, belongs: &Belongs, number: u32) -> Group {
    let roster = belonging(&belongs.roster.borrow());
    let words = hear_all(subject, belongs, (&roster, false)).await;
    group(number, &own(number, &words))
}

/// The whole cluster, with what all nodes say of it.
pub(super) async fn whole(subject: &Subject, belongs: &Belongs, (id, digests): (ClusterId, bool)) -> Cluster {
    let roster = belonging(&belongs.roster.borrow());
    let words = hear_all(subject, belongs, (&roster, digests)).await;
    let groups = groups(belongs.shards, &words);
    Cluster {
        id: id.to_string(),
        shards: belongs.shards.into(),
        apply_level: *belongs.view.level.borrow(),
        nodes: nodes(&roster, words),
        groups,
    }
}

fn nodes(roster: &Roster, mut words: BTreeMap<NodeId, Word>) -> Vec<Node> {
    let node = |(number, member): (&NodeId, &Member)| Node {
        number: number.0,
        name: member.name.to_string(),
        incarnation: member.begun.0,
        lives: member.lowest_live <= member.begun,
        standing: standing(member).into(),
        cluster_address: member.address.to_string(),
        knows_level: member.knows_level,
        heard: match words.remove(number) {
            Some(Ok(about)) => about.report.map(Heard::Report),
            Some(Err(why)) => Some(Heard::Silent(why)),
            None => None,
        },
    };
    roster.iter().map(node).collect()
}

fn standing(member: &Member) -> Standing {
    match member.duty {
        Duty::Serves => Standing::Serves,
        Duty::Drains => Standing::Drains,
        Duty::Leaves => Standing::Leaves,
        Duty::Left => Standing::Unspecified,
    }
}

/// Those that belong to the cluster.
pub(super) fn belonging(roster: &Roster) -> Roster {
    roster
        .iter()
        .filter(|(_, member)| member.duty != Duty::Left)
        .map(|(node, member)| (*node, member.clone()))
        .collect()
}

/// The cluster group and the shards, each as those say who have a replica of it.
fn groups(shards: u16, words: &BTreeMap<NodeId, Word>) -> Vec<Group> {
    (0..=u32::from(shards)).map(|number| group(number, &own(number, words))).collect()
}

/// What was heard of the replicas of a group.
fn own(group: u32, words: &BTreeMap<NodeId, Word>) -> BTreeMap<NodeId, &OwnReplica> {
    let heard = words.iter().filter_map(|(node, word)| Some((*node, word.as_ref().ok()?)));
    let of_group = heard.filter_map(|(node, about)| {
        Some((node, about.replicas.iter().find(|replica| replica.group == group)?))
    });
    of_group.collect()
}

fn group(number: u32, own: &BTreeMap<NodeId, &OwnReplica>) -> Group {
    let which = match number.checked_sub(1) {
        None => Which::ClusterGroup(ClusterGroup {}),
        Some(shard) => Which::Shard(shard),
    };
    // Whoever knows the latest term knows best who leads, and who leads knows best who the members are.
    let latest = own.values().max_by_key(|replica| (replica.term, replica.leader != 0));
    let (leader, term) = latest.map_or((0, 0), |replica| (replica.leader, replica.term));
    let leader = u32::try_from(leader).unwrap_or_default();
    let applied = |replica: &&&OwnReplica| replica.positions.as_ref().map_or(0, |at| at.applied);
    let knows = own.get(&NodeId(leader)).or_else(|| own.values().max_by_key(applied));
    let Some(knows) = knows else { return Group { which: Some(which), leader, term, replicas: Vec::new() } };
    let replica = |node: &u64| {
        let node = u32::try_from(*node).unwrap_or_default();
        let role = match knows.voters.contains(&node.into()) {
            true if node == leader => Role::Leader,
            true => Role::Voter,
            false => Role::Learner,
        };
        let positions = own.get(&NodeId(node)).and_then(|replica| replica.positions);
        Replica { node, role: role.into(), positions }
    };
    let members: BTreeSet<u64> = knows.voters.iter().chain(&knows.learners).copied().collect();
    Group { which: Some(which), leader, term, replicas: members.iter().map(replica).collect() }
}

#[cfg(test)]
mod tests {
    use super::super::proto::{NodeReport, Positions};
    use super::*;

    fn own(group: u32, leader: u64, term: u64, applied: u64) -> OwnReplica {
        let positions =
            Some(Positions { last: applied, committed: applied, applied, ..Positions::default() });
        OwnReplica { group, leader, term, voters: vec![1, 2, 3], learners: vec![4], positions }
    }

    fn word(replicas: Vec<OwnReplica>) -> Word {
        Ok(AboutMe { report: Some(NodeReport::default()), replicas })
    }

    #[test]
    fn a_group_is_as_who_knows_the_latest_term_says_and_a_silent_replica_has_no_positions() {
        let words = BTreeMap::from([
            (NodeId(1), word(vec![own(0, 1, 5, 90), own(1, 1, 4, 90)])),
            (NodeId(2), word(vec![own(0, 1, 5, 80), own(1, 2, 6, 70)])),
            (NodeId(3), Err("it is silent".to_owned())),
            (NodeId(4), word(Vec::new())),
        ]);
        let groups = groups(2, &words);
        assert_eq!(groups.len(), 3);
        let at = |group: usize| (groups[group].leader, groups[group].term);
        assert_eq!((at(0), at(1), at(2)), ((1, 5), (2, 6), (0, 0)));
        let roles: Vec<(u32, Role, Option<u64>)> = groups[1]
            .replicas
            .iter()
            .map(|replica| (replica.node, replica.role(), replica.positions.map(|at| at.applied)))
            .collect();
        let expected = [
            (1, Role::Voter, Some(90)),
            (2, Role::Leader, Some(70)),
            (3, Role::Voter, None),
            (4, Role::Learner, None),
        ];
        assert_eq!(roles, expected);
        assert!(groups[2].replicas.is_empty(), "nobody says anything of it");
    }
}
