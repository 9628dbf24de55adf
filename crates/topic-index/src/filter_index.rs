//! Filters matched by a topic: one slot for each filter, found for a publish.
//! Called by the routing of publishes (match) and by SUBSCRIBE and UNSUBSCRIBE (update).
//! It never knows what a slot holds, keeps nothing of a filter whose slot is empty, and never recurses.
//!
//! The filters form a tree of levels. Its nodes lie in an arena, one cache line each for small slots; a node
//! knows its `+` and its `#` child and, while it has one other child, that one too. From two on, they are
//! found in one hash table for the whole tree, so that no node carries a table of its own.

mod arena;
mod label;
mod links;
#[cfg(test)]
mod tests;

use std::hash::{BuildHasher, Hasher};

use smallvec::{SmallVec, smallvec};

use self::arena::{Arena, NodeId};
use self::label::Label;
use self::links::Links;
use crate::filter::PlainFilter;

/// The nodes of one level that a match keeps without allocating; `+` at many levels can make it more.
const FRONTIER: usize = 16;

/// What a [`FilterIndex`] or a [`SharedIndex`](crate::SharedIndex) keeps for one filter.
pub trait Slot: Default {
    /// Whether nothing is left in it, so that its filter can be forgotten.
    fn is_empty(&self) -> bool;
}

/// Topic filters with one slot each, matched by topics.
///
/// A match costs one search for each level and stored node on the way, whatever the number of filters, and
/// visits no node twice. A filter takes about 70 bytes beside its slot, for each level that it does not
/// share with others.
#[derive(Debug)]
pub struct FilterIndex<S> {
    nodes: Arena<Node<S>>,
    links: Links,
    root: NodeId,
    /// Seeded at random: clients choose the levels, and must not be able to choose their collisions.
    hasher: foldhash::fast::RandomState,
    len: usize,
}

#[derive(Debug)]
struct Node<S> {
    label: Label,
    /// `None` for the root alone.
    parent: Option<NodeId>,
    /// The child that stands for any one level.
    single: Option<NodeId>,
    /// The child that stands for this level and all below.
    multi: Option<NodeId>,
    /// The ids of all literal children, XORed: the id itself while there is one, which is then in no table.
    literals_xor: u32,
    literals: u32,
    slot: S,
}

impl<S: Slot> Default for FilterIndex<S> {
    fn default() -> Self {
        let mut nodes = Arena::default();
        let root = nodes.insert(Node::new(b"", None));
        Self { nodes, links: Links::default(), root, hasher: foldhash::fast::RandomState::default(), len: 0 }
    }
}

impl<S: Slot> Node<S> {
    fn new(label: &[u8], parent: Option<NodeId>) -> Self {
        let label = Label::new(label);
        Self { label, parent, single: None, multi: None, literals_xor: 0, literals: 0, slot: S::default() }
    }

    fn is_unused(&self) -> bool {
        self.literals == 0 && self.single.is_none() && self.multi.is_none() && self.slot.is_empty()
    }
}

impl<S: Slot> FilterIndex<S> {
    /// An empty index.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Calls `change` with the slot of `filter`, an empty one if there was none; a slot that is empty
    /// afterwards is forgotten with all that only it needed.
    pub fn update<R>(&mut self, filter: &PlainFilter, change: impl FnOnce(&mut S) -> R) -> R {
        let id = self.ensure(filter);
        let node = self.nodes.get_mut(id).expect("the node was found or made by the line before");
        let was_empty = node.slot.is_empty();
        let result = change(&mut node.slot);
        match (was_empty, node.slot.is_empty()) {
            (true, false) => self.len += 1,
            (false, true) => self.len -= 1,
            _ => {}
        }
        self.prune(id);
        result
    }

    /// The slot of exactly this filter.
    #[must_use]
    pub fn get(&self, filter: &PlainFilter) -> Option<&S> {
        let mut id = self.root;
        for level in filter.levels() {
            id = self.child(id, level)?;
        }
        self.slot(id)
    }

    /// Calls `found` once with the slot of each filter that matches `topic`, in an order that depends on
    /// the set of filters alone.
    pub fn for_each_match<'a>(&'a self, topic: &[u8], mut found: impl FnMut(&'a S)) {
        let mut frontier: SmallVec<[NodeId; FRONTIER]> = smallvec![self.root];
        let mut next: SmallVec<[NodeId; FRONTIER]> = SmallVec::new();
        // Wildcards of the first level do not match `$SYS` and its like [MQTT-4.7.2-1].
        let mut wildcards = topic.first() != Some(&b'$');
        for level in topic.split(|&byte| byte == b'/') {
            let mut hash = None;
            for id in frontier.drain(..) {
                let Some(node) = self.nodes.get(id) else { continue };
                next.extend(self.literal(id, node, level, &mut hash));
                if wildcards {
                    node.multi.and_then(|multi| self.slot(multi)).into_iter().for_each(&mut found);
                    next.extend(node.single);
                }
            }
            if next.is_empty() {
                return;
            }
            wildcards = true;
            std::mem::swap(&mut frontier, &mut next);
        }
        for node in frontier.into_iter().filter_map(|id| self.nodes.get(id)) {
            if !node.slot.is_empty() {
                found(&node.slot);
            }
            // `a/#` matches `a` too.
            node.multi.and_then(|multi| self.slot(multi)).into_iter().for_each(&mut found);
        }
    }

    /// All filters with their slots, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (PlainFilter, &S)> {
        self.nodes.iter().filter(|node| !node.slot.is_empty()).map(|node| (self.filter_of(node), &node.slot))
    }

    /// The number of filters.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no filter.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn slot(&self, id: NodeId) -> Option<&S> {
        self.nodes.get(id).map(|node| &node.slot).filter(|slot| !slot.is_empty())
    }

    fn child(&self, parent: NodeId, level: &str) -> Option<NodeId> {
        let node = self.nodes.get(parent)?;
        match level {
            "+" => node.single,
            "#" => node.multi,
            literal => self.literal(parent, node, literal.as_bytes(), &mut None),
        }
    }

    /// The child of `node` for a level that is no wildcard; `hash` keeps the level's hash for its siblings.
    #[inline]
    fn literal(&self, id: NodeId, node: &Node<S>, level: &[u8], hash: &mut Option<u64>) -> Option<NodeId> {
        if node.literals <= 1 {
            let only = NodeId::new(node.literals_xor)?;
            return (self.nodes.get(only)?.label.as_bytes() == level).then_some(only);
        }
        let level_hash = *hash.get_or_insert_with(|| self.hash(level));
        self.links.find(link_hash(level_hash, id), |child| {
            self.nodes
                .get(child)
                .is_some_and(|child| child.parent == Some(id) && child.label.as_bytes() == level)
        })
    }

    fn hash(&self, level: &[u8]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(level);
        hasher.finish()
    }

    /// The node of a filter, made with those above it where they are missing.
    fn ensure(&mut self, filter: &PlainFilter) -> NodeId {
        let mut id = self.root;
        for level in filter.levels() {
            id = self.child(id, level).unwrap_or_else(|| self.add_child(id, level));
        }
        id
    }

    fn add_child(&mut self, parent: NodeId, level: &str) -> NodeId {
        let id = self.nodes.insert(Node::new(level.as_bytes(), Some(parent)));
        let Some(node) = self.nodes.get_mut(parent) else { return id };
        match level {
            "+" => node.single = Some(id),
            "#" => node.multi = Some(id),
            _ => {
                let only = NodeId::new(node.literals_xor).filter(|_| node.literals == 1);
                node.literals += 1;
                node.literals_xor ^= id.get();
                let in_table = node.literals > 1;
                for child in only.into_iter().chain(in_table.then_some(id)) {
                    self.links.insert(self.link_hash_of(parent, child), child);
                }
            }
        }
        id
    }

    /// Removes a node that nothing needs any more, and those above it that only it needed.
    fn prune(&mut self, mut id: NodeId) {
        while let Some(parent) =
            self.nodes.get(id).filter(|node| node.is_unused()).and_then(|node| node.parent)
        {
            self.unlink(parent, id);
            self.nodes.remove(id);
            id = parent;
        }
    }

    fn unlink(&mut self, parent: NodeId, id: NodeId) {
        let hash = self.link_hash_of(parent, id);
        let Some(node) = self.nodes.get_mut(parent) else { return };
        if node.single == Some(id) {
            node.single = None;
        } else if node.multi == Some(id) {
            node.multi = None;
        } else {
            let in_table = node.literals > 1;
            node.literals -= 1;
            node.literals_xor ^= id.get();
            let only = NodeId::new(node.literals_xor).filter(|_| in_table && node.literals == 1);
            if in_table {
                self.links.remove(hash, id);
            }
            if let Some(only) = only {
                self.links.remove(self.link_hash_of(parent, only), only);
            }
        }
    }

    fn link_hash_of(&self, parent: NodeId, id: NodeId) -> u32 {
        let label = self.nodes.get(id).map_or(&[][..], |node| node.label.as_bytes());
        link_hash(self.hash(label), parent)
    }

    fn filter_of(&self, node: &Node<S>) -> PlainFilter {
        let mut path: Vec<&[u8]> = Vec::new();
        let mut at = Some(node);
        while let Some((node, parent)) = at.and_then(|node| Some((node, node.parent?))) {
            path.push(node.label.as_bytes());
            at = self.nodes.get(parent);
        }
        path.reverse();
        PlainFilter::from_checked(&path.join(&b'/'))
    }
}

/// The hash of a child: of its level and of where it hangs, by a multiplication that all bits go into.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "half of the mixed bits is what a link has room for")]
fn link_hash(level_hash: u64, parent: NodeId) -> u32 {
    const ODD: u128 = 0x9e37_79b9_7f4a_7c15;
    let product = u128::from(level_hash ^ u64::from(parent.get())) * ODD;
    ((product >> 64) as u64 ^ product as u64) as u32
}
