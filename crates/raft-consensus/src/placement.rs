//! Where the replicas of groups belong and who of them is to lead: pure functions of which nodes there are, which every node
//! answers alike, so that the leaders of groups need not agree with each other. Called by whoever changes the members of a
//! group; it changes nothing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::members::Membership;
use crate::types::NodeId;

/// The nodes that are to have a replica of each shard: `copies` of them, or all where there are fewer. Each node has as many as
/// any other, or one more; and few of them move when a node comes or goes (rendezvous hashing, Thaler and Ravishankar
/// 1998, within these bounds).
#[must_use]
pub fn replicas(nodes: &BTreeSet<NodeId>, shards: u16, copies: usize) -> Vec<BTreeSet<NodeId>> {
    let copies = copies.min(nodes.len());
    let mut quotas = quotas(nodes, usize::from(shards) * copies);
    let mut placed = Vec::new();
    for shard in 0..shards {
        let remaining = usize::from(shards - shard);
        let mut order: Vec<NodeId> = nodes.iter().copied().filter(|node| left(&quotas, *node) > 0).collect();
        // Whoever has as many left as there are shards is needed in each of them.
        order.sort_by_key(|node| (left(&quotas, *node) < remaining, std::cmp::Reverse(score(*node, shard))));
        let chosen: BTreeSet<NodeId> = order.into_iter().take(copies).collect();
        for node in &chosen {
            quotas.entry(*node).and_modify(|quota| *quota -= 1);
        }
        placed.push(chosen);
    }
    placed
}

fn left(quotas: &BTreeMap<NodeId, usize>, node: NodeId) -> usize {
    quotas.get(&node).copied().unwrap_or(0)
}

/// How many of `total` each node has: as many as any other, or one more.
fn quotas(nodes: &BTreeSet<NodeId>, total: usize) -> BTreeMap<NodeId, usize> {
    let count = nodes.len().max(1);
    let (each, more) = (total / count, total % count);
    let mut order: Vec<NodeId> = nodes.iter().copied().collect();
    order.sort_by_key(|node| std::cmp::Reverse(score(*node, u16::MAX)));
    let quota = |(at, node): (usize, NodeId)| (node, each + usize::from(at < more));
    order.into_iter().enumerate().map(quota).collect()
}

/// How much a node belongs to a shard: any number that depends on both, the same on every node and in every version.
fn score(node: NodeId, shard: u16) -> u64 {
    // The finalizer of SplitMix64 (Steele, Lea and Flood 2014).
    let mut mixed = (node << 16 | u64::from(shard)).wrapping_add(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

/// Who is to lead each shard, of those that have it and are able to: each able node leads as many as any other, or one
/// more, as far as where the replicas are allows it.
#[must_use]
pub fn leaders(replicas: &[BTreeSet<NodeId>], able: &BTreeSet<NodeId>) -> Vec<Option<NodeId>> {
    let mut loads: BTreeMap<NodeId, usize> = able.iter().map(|node| (*node, 0)).collect();
    let mut leaders: Vec<Option<NodeId>> = Vec::new();
    for (shard, replicas) in (0..).zip(replicas) {
        let able = replicas.intersection(able);
        let leader = able.min_by_key(|node| (left(&loads, **node), std::cmp::Reverse(score(**node, shard))));
        leader.and_then(|leader| loads.get_mut(leader)).into_iter().for_each(|load| *load += 1);
        leaders.push(leader.copied());
    }
    while let Some(path) = relief(replicas, &leaders, &loads) {
        for (shard, to) in path {
            if let Some(leader) = leaders.get_mut(shard)
                && let Some(from) = leader.replace(to)
            {
                loads.entry(from).and_modify(|load| *load -= 1);
                loads.entry(to).and_modify(|load| *load += 1);
            }
        }
    }
    leaders
}

/// Shards that change their leaders so that one that leads most leads one less, and one that leads two less or fewer leads
/// one more; those on the way lead as many as before. `None` where there is no such way.
fn relief(
    replicas: &[BTreeSet<NodeId>],
    leaders: &[Option<NodeId>],
    loads: &BTreeMap<NodeId, usize>,
) -> Option<Vec<(usize, NodeId)>> {
    let most = loads.values().copied().max()?;
    for start in loads.iter().filter(|(_, load)| **load == most).map(|(node, _)| *node) {
        let mut came: BTreeMap<NodeId, (usize, NodeId)> = BTreeMap::new();
        let mut queue = VecDeque::from([start]);
        while let Some(from) = queue.pop_front() {
            if loads.get(&from).is_some_and(|load| load + 2 <= most) {
                return Some(path(&came, start, from));
            }
            let led = leaders.iter().enumerate().filter(|(_, leader)| **leader == Some(from));
            for (shard, _) in led {
                for to in replicas.get(shard).into_iter().flatten().filter(|to| loads.contains_key(*to)) {
                    if *to != start && !came.contains_key(to) {
                        came.insert(*to, (shard, from));
                        queue.push_back(*to);
                    }
                }
            }
        }
    }
    None
}

fn path(came: &BTreeMap<NodeId, (usize, NodeId)>, start: NodeId, end: NodeId) -> Vec<(usize, NodeId)> {
    let (mut path, mut at) = (Vec::new(), end);
    while at != start
        && let Some((shard, from)) = came.get(&at)
    {
        path.push((*shard, at));
        at = *from;
    }
    path
}

/// The next change of the members of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A node hears everything from now on.
    Add(NodeId),
    /// These have the votes from now on.
    Vote(BTreeSet<NodeId>),
    /// These are members no more.
    Remove(BTreeSet<NodeId>),
    /// Somebody has to catch up first.
    Wait,
    /// All is as it should be.
    Done,
}

/// What is to be changed so that `wanted` have the replicas, with an odd number of votes, `voters_max` at most. `ready` are
/// those that have nearly everything. One change at a time, and never fewer votes than before unless fewer nodes are wanted.
#[must_use]
pub fn step(
    members: &Membership,
    wanted: &BTreeSet<NodeId>,
    ready: &BTreeSet<NodeId>,
    voters_max: usize,
) -> Step {
    let is_member = |node: &NodeId| members.voters.contains(node) || members.learners.contains(node);
    if let Some(new) = wanted.iter().find(|node| !is_member(node)) {
        return Step::Add(*new);
    }
    let voters = voters(members, wanted, ready, voters_max);
    if members.changing || voters != members.voters {
        return Step::Vote(voters);
    }
    if !voters.is_subset(wanted) {
        return Step::Wait;
    }
    let surplus: BTreeSet<NodeId> = members.learners.difference(wanted).copied().collect();
    match (surplus.is_empty(), voters.len() == odd(wanted.len().min(voters_max))) {
        (false, _) => Step::Remove(surplus),
        (true, true) => Step::Done,
        (true, false) => Step::Wait,
    }
}

/// Who votes next: wanted ones that do, wanted ones that are ready, and others that do until somebody is.
fn voters(
    members: &Membership,
    wanted: &BTreeSet<NodeId>,
    ready: &BTreeSet<NodeId>,
    voters_max: usize,
) -> BTreeSet<NodeId> {
    let now = &members.voters;
    let size = odd(wanted.len().min(voters_max));
    let stay = now.intersection(wanted);
    let new = wanted.iter().filter(|node| ready.contains(node) && !now.contains(node));
    let until = now.difference(wanted);
    let next: BTreeSet<NodeId> = stay.chain(new).chain(until).take(size).copied().collect();
    let enough = next.len() == size && (size >= now.len() || next.is_subset(wanted));
    let grows = odd(next.len());
    match (enough, grows > now.len()) {
        (true, _) => next,
        // Not all are ready yet, and three are better than one.
        (false, true) => next.into_iter().take(grows).collect(),
        (false, false) => now.clone(),
    }
}

/// The largest odd number that is no larger; 0 for 0.
fn odd(count: usize) -> usize {
    count.saturating_sub(1 - count % 2)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(nodes: &[NodeId]) -> BTreeSet<NodeId> {
        nodes.iter().copied().collect()
    }

    fn counts<'a>(of: impl Iterator<Item = &'a NodeId>) -> BTreeMap<NodeId, usize> {
        of.fold(BTreeMap::new(), |mut counts, node| {
            *counts.entry(*node).or_default() += 1;
            counts
        })
    }

    fn within_one(counts: &BTreeMap<NodeId, usize>, nodes: &BTreeSet<NodeId>) -> bool {
        let of: Vec<usize> = nodes.iter().map(|node| counts.get(node).copied().unwrap_or(0)).collect();
        of.iter().max().zip(of.iter().min()).is_none_or(|(most, least)| most - least <= 1)
    }

    proptest! {
        #[test]
        fn replicas_and_leaders_are_even(nodes in prop::collection::btree_set(1..40_u64, 1..10), shards in 1..25_u16) {
            let placed = replicas(&nodes, shards, 3);
            prop_assert!(placed.iter().all(|of| of.len() == nodes.len().min(3) && of.is_subset(&nodes)));
            prop_assert!(within_one(&counts(placed.iter().flatten()), &nodes));
            let leaders = leaders(&placed, &nodes);
            prop_assert!(leaders.iter().zip(&placed).all(|(leader, of)| leader.is_some_and(|leader| of.contains(&leader))));
            prop_assert!(within_one(&counts(leaders.iter().flatten()), &nodes), "{:?}", leaders);
        }

        #[test]
        fn members_become_what_is_wanted_by_one_change_at_a_time(
            voters in prop::collection::btree_set(1..9_u64, 1..6),
            wanted in prop::collection::btree_set(1..9_u64, 1..6),
            dead in 1..20_u64,
        ) {
            let voters: BTreeSet<NodeId> = voters.iter().copied().take(odd(voters.len())).collect();
            let mut members = Membership { voters, ..Membership::default() };
            let ready: BTreeSet<NodeId> = wanted.iter().copied().filter(|node| *node != dead).collect();
            for _ in 0..30 {
                let before = members.voters.len();
                match step(&members, &wanted, &ready, 5) {
                    Step::Add(node) => {
                        prop_assert!(members.learners.insert(node));
                    }
                    Step::Vote(voters) => {
                        prop_assert!(voters.len() % 2 == 1);
                        prop_assert!(voters.len() >= before.min(odd(wanted.len())));
                        members.learners.retain(|node| !voters.contains(node));
                        members.voters = voters;
                    }
                    Step::Remove(nodes) => members.learners.retain(|node| !nodes.contains(node)),
                    Step::Wait => {
                        prop_assert!(ready != wanted, "nobody has to be waited for");
                        return Ok(());
                    }
                    Step::Done => {
                        prop_assert_eq!(members.voters.len(), odd(wanted.len().min(5)));
                        prop_assert!(members.voters.is_subset(&wanted));
                        let all: BTreeSet<NodeId> = members.voters.union(&members.learners).copied().collect();
                        prop_assert_eq!(all, wanted);
                        return Ok(());
                    }
                }
            }
            prop_assert!(false, "it comes to no end");
        }
    }

    #[test]
    fn few_replicas_move_when_a_node_comes() {
        for nodes in 3..9 {
            let before = replicas(&(1..=nodes).collect(), 6, 3);
            let after = replicas(&(1..=nodes + 1).collect(), 6, 3);
            let moved: usize =
                after.iter().zip(&before).map(|(after, before)| after.difference(before).count()).sum();
            assert!(moved <= 9, "{nodes} nodes: {moved} of 18 replicas move");
        }
    }

    #[test]
    fn votes_are_one_three_or_five_and_never_two() {
        let next = |now: &[NodeId], wanted: &[NodeId], max| {
            let members = Membership { voters: set(now), learners: set(wanted), changing: false };
            voters(&members, &set(wanted), &set(wanted), max).into_iter().collect::<Vec<_>>()
        };
        assert_eq!(next(&[1], &[1], 5), [1]);
        assert_eq!(next(&[1], &[1, 2], 5), [1]);
        assert_eq!(next(&[1], &[1, 2, 3], 5), [1, 2, 3]);
        assert_eq!(next(&[1, 2, 4], &[1, 2, 3, 4, 5], 5), [1, 2, 3, 4, 5]);
        assert_eq!(next(&[1, 2, 4], &[1, 2, 3, 4, 5], 3), [1, 2, 4], "who has a vote keeps it");
        assert_eq!(next(&[1, 2, 3], &[2, 3], 5), [2], "who leaves takes its vote with it");
    }

    #[test]
    fn a_change_that_its_leader_did_not_end_is_ended() {
        let wanted = set(&[1, 2, 4]);
        let members = Membership { voters: set(&[1, 2, 3, 4]), changing: true, ..Membership::default() };
        assert_eq!(step(&members, &wanted, &wanted, 3), Step::Vote(wanted.clone()));
        let members = Membership { voters: wanted.clone(), changing: true, ..Membership::default() };
        assert_eq!(step(&members, &wanted, &wanted, 3), Step::Vote(wanted));
    }

    #[test]
    fn nobody_loses_its_vote_before_another_is_ready() {
        let members = Membership { voters: set(&[1, 2, 3]), learners: set(&[4]), changing: false };
        let wanted = set(&[2, 3, 4]);
        assert_eq!(step(&members, &wanted, &set(&[2, 3]), 5), Step::Wait);
        assert_eq!(step(&members, &wanted, &wanted, 5), Step::Vote(wanted.clone()));
    }
}
