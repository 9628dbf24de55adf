//! Who gets a message on other nodes: the cluster's view of owners, and how many members their groups were last heard to
//! have. Owned by the fan-out of a node with peers; never sends anything.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashMap;
use node_routing::view::{GroupRoutes, RouteView};
use parking_lot::RwLock;
use raft_consensus::cluster::Owner;
use session_store::Host;
use session_store::matching::GroupRef;
use session_store::word::GroupMembers;

use super::groups::GroupView;
use super::others::{Full, Others};
use super::{Destination, Matched};
use crate::routes::HostRoutes;

/// Groups of which it is remembered how many members they have; with more, all are forgotten.
const HINTS_MAX: usize = 4_096;

/// Who is on other nodes.
#[derive(Debug)]
pub(crate) struct Elsewhere {
    /// This run of the node.
    me: Host,
    /// Which owners a topic stands for.
    pub(super) routes: Arc<RouteView>,
    /// What the others are told of this host.
    pub(super) announced: Arc<HostRoutes>,
    /// Members of groups on other hosts: a wrong number costs balance, never a message.
    hints: RwLock<HashMap<GroupRef, BTreeMap<Host, Hint>>>,
}

/// What a host was last heard to have of a group.
#[derive(Clone, Debug, Default)]
struct Hint {
    members: u32,
    full: Arc<Full>,
}

impl Elsewhere {
    /// As the cluster's view has it; `announced` is told of changes here.
    pub(crate) fn new(me: Host, routes: Arc<RouteView>, announced: Arc<HostRoutes>) -> Self {
        Self { me, routes, announced, hints: RwLock::default() }
    }

    /// Adds who gets a topic's messages elsewhere to who does here.
    pub(super) fn add_to(&self, matched: &mut Matched, topic: &[u8]) {
        let found = self.routes.matched(topic);
        matched.as_of = found.index;
        matched.version += found.version();
        for (owner, qos) in &found.owners {
            match owner {
                Owner::Shard(shard) => matched.shards.push((shard.0, *qos)),
                // Its own view has each of its subscribers.
                Owner::Host(host) if *host == self.me => {}
                Owner::Host(host) => matched.hosts.push((*host, *qos)),
            }
        }
        found.groups.iter().for_each(|group| self.add_group(matched, group));
    }

    /// Adds who has members of one group elsewhere.
    pub(super) fn add_group_to(&self, matched: &mut Matched, name: &GroupRef) {
        matched.as_of = self.routes.applied();
        matched.version += self.routes.version();
        self.routes.group(name).iter().for_each(|group| self.add_group(matched, group));
    }

    fn add_group(&self, matched: &mut Matched, group: &GroupRoutes) {
        let hints = self.hints.read();
        let hints = hints.get(&group.name);
        let others = group.owners.iter().filter_map(|(owner, _)| match owner {
            Owner::Shard(shard) => Some(Others::of_shard(shard.0, 1)),
            Owner::Host(host) if *host == self.me => None,
            Owner::Host(host) => {
                let hint = hints.and_then(|of| of.get(host)).cloned();
                let (places, full) = hint.map_or((1, None), |hint| (hint.members.max(1), Some(hint.full)));
                Some(Others { to: Destination::Host(*host), places, full })
            }
        });
        match matched.groups.iter_mut().find(|known| *known.name() == group.name) {
            Some(known) => *known = Arc::new(known.with(others)),
            None => {
                let nobody = GroupView::without_locals(Arc::clone(&group.name), matched.version);
                matched.groups.push(Arc::new(nobody.with(others)));
            }
        }
    }

    /// Takes over what members groups have on a host; says whether there are more or fewer of them. How many are full is seen
    /// without.
    pub(super) fn heard(&self, host: Host, members: &[GroupMembers]) -> bool {
        let mut news = Vec::new();
        if !members.is_empty() {
            let hints = self.hints.read();
            for heard in members {
                match hints.get(&heard.group).and_then(|of| of.get(&host)) {
                    Some(known) if known.members == heard.members => known.full.heard(heard.full),
                    _ => news.push(heard),
                }
            }
        }
        if news.is_empty() {
            return false;
        }
        let mut hints = self.hints.write();
        if hints.len() + news.len() > HINTS_MAX {
            hints.clear();
        }
        for GroupMembers { group, members, full } in news {
            let of = hints.entry(Arc::clone(group)).or_default();
            // Earlier runs of the node have no members any more.
            of.retain(|other, _| other.node != host.node);
            let hint = Hint { members: *members, ..Hint::default() };
            hint.full.heard(*full);
            of.insert(host, hint);
        }
        true
    }
}
