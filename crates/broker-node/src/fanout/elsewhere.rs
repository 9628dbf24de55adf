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

use super::groups::GroupView;
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
    hints: RwLock<HashMap<GroupRef, BTreeMap<Host, u32>>>,
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
            Owner::Shard(shard) => Some((Destination::Shard(shard.0), 1)),
            Owner::Host(host) if *host == self.me => None,
            Owner::Host(host) => {
                let members = hints.and_then(|of| of.get(host)).copied().unwrap_or_default();
                Some((Destination::Host(*host), members.max(1)))
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

    /// Takes over how many members groups have on a host; says whether that is news.
    pub(super) fn heard(&self, host: Host, members: &[(GroupRef, u32)]) -> bool {
        if members.is_empty() {
            return false;
        }
        let mut hints = self.hints.write();
        let is_news =
            |(group, count): &&(GroupRef, u32)| hints.get(group).and_then(|of| of.get(&host)) != Some(count);
        let news: Vec<&(GroupRef, u32)> = members.iter().filter(is_news).collect();
        if news.is_empty() {
            return false;
        }
        if hints.len() + news.len() > HINTS_MAX {
            hints.clear();
        }
        for (group, count) in news {
            let of = hints.entry(Arc::clone(group)).or_default();
            // Earlier runs of the node have no members any more.
            of.retain(|other, _| other.node != host.node);
            of.insert(host, *count);
        }
        true
    }
}
