//! Which node may leave on the word of somebody who only makes a cluster smaller: the last of a StatefulSet, whose pods are called
//! NAME-0, NAME-1 and so on. Pure; called by the service, and by `quelea ctl shrink` for the names.

use std::collections::BTreeMap;

use raft_consensus::cluster::{Duty, Roster};
use session_store::NodeId;
use tonic::Status;

/// A pod's name: what all of its StatefulSet begin with, and its number.
pub(crate) fn ordinal(name: &str) -> Option<(&str, u32)> {
    let (set, digits) = name.rsplit_once('-')?;
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| is_number).map(|number| (set, number))
}

/// Lets a node leave behind which there is none, but for such as leave already, and before which is the one that is asked.
///
/// # Errors
/// It is another.
pub(super) fn check(roster: &Roster, asked: &str, node: NodeId) -> Result<(), Status> {
    let nodes = roster.iter().map(|(node, member)| (*node, (&*member.name, member.duty))).collect();
    is_last(&nodes, asked, node).then_some(()).ok_or_else(|| {
        Status::permission_denied(format!(
            "at this port of {asked} no other node can be told to leave than the last one behind it"
        ))
    })
}

fn is_last(nodes: &BTreeMap<NodeId, (&str, Duty)>, asked: &str, node: NodeId) -> bool {
    let Some((set, own)) = ordinal(asked) else { return false };
    let number = |name| ordinal(name).filter(|(of, _)| *of == set).map(|(_, number)| number);
    let Some(last) = nodes.get(&node).and_then(|(name, _)| number(name)) else { return false };
    let mut stay = nodes.values().filter(|(_, duty)| *duty != Duty::Leaves);
    own < last && stay.all(|(name, _)| number(name).is_none_or(|number| number <= last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_leaves_but_the_last_of_the_same_set_behind_the_one_that_is_asked() {
        let names = ["quelea-0", "quelea-2", "quelea-10", "other-11", "quelea", "quelea-x"];
        let mut all: BTreeMap<_, _> = (1..).map(NodeId).zip(names.map(|name| (name, Duty::Serves))).collect();
        let may = |all: &BTreeMap<NodeId, (&str, Duty)>, asked: &str| -> Vec<u32> {
            all.keys().filter(|node| is_last(all, asked, **node)).map(|node| node.0).collect()
        };
        assert_eq!(may(&all, "quelea-0"), [3]);
        assert_eq!(may(&all, "quelea-2"), [3]);
        for asked in ["quelea-10", "quelea-11", "other-11", "quelea", "quelea-", "", "quelea-+1"] {
            assert!(may(&all, asked).is_empty(), "{asked}");
        }
        all.insert(NodeId(3), ("quelea-10", Duty::Leaves));
        assert_eq!(may(&all, "quelea-0"), [2, 3], "the next one, and once more");
        assert!(may(&all, "quelea-2").contains(&3) && !may(&all, "quelea-2").contains(&2));
    }
}
