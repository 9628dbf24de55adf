//! Filters matched by a topic: one slot for each filter, found for a publish.
//! Called by the routing of publishes (match) and by SUBSCRIBE and UNSUBSCRIBE (update).
//! It never knows what a slot holds, keeps nothing of a filter whose slot is empty, and never recurses.
//!
//! The filters form a tree of levels. Its nodes lie in an arena, those that came together side by side. A node
//! knows its `+` and its `#` child and, while it has one other child, that one too; from two on, they are found
//! in one hash table for the whole tree, so that no node carries a table of its own. The key there is the hash
//! of the whole path from the root: it is known before the nodes above have been read, so that in a large tree
//! the processor waits for several levels at once, where keys made of node ids would be one wait each.

mod arena;
mod label;
mod links;
mod path;
#[cfg(test)]
mod tests;

use smallvec::SmallVec;

use self::arena::{Arena, NodeId};
use self::label::{Label, Level};
use self::links::Links;
use self::path::{Path, PathHasher};
use crate::filter::PlainFilter;

/// The levels of a topic, and the nodes of one level, that are kept without allocating: more than nearly all
/// topics have, and more than nearly all sets of `+` make.
const INLINE: usize = 16;

/// What a [`FilterIndex`] or a [`SharedIndex`](crate::SharedIndex) keeps for one filter.
pub trait Slot: Default {
    /// Whether nothing is left in it, so that its filter can be forgotten.
    fn is_empty(&self) -> bool;
}

/// Topic filters with one slot each, matched by topics.
///
/// A match costs one search for each level and stored node on the way, whatever the number of filters, and
/// visits no node twice. Each level that a filter does not share with others takes about 80 bytes, with
/// slots of at most 24 bytes; with larger ones a node is more than one cache line.
#[derive(Debug)]
pub struct FilterIndex<S> {
    nodes: Arena<Node<S>>,
    links: Links,
    root: NodeId,
    hasher: PathHasher,
    len: usize,
}

/// A node of the tree, in a cache line of its own: in a large tree each line is a wait.
#[derive(Debug)]
#[repr(align(64))]
struct Node<S> {
    label: Label,
    /// `None` for the root alone.
    parent: Option<NodeId>,
    /// The child that stands for any one level.
    single: Option<NodeId>,
    /// The child that stands for this level and all below.
    multi: Option<NodeId>,
    /// The number of children of other levels.
    literals: u32,
    /// Their ids, XORed: the id itself while there is one, which then is not in the table. From two on, all are.
    literals_xor: u32,
    slot: S,
}

/// Nodes with their paths: those of one level that match a topic up to there, or those of one filter.
type Nodes = SmallVec<[(NodeId, Path); INLINE]>;

impl<S: Slot> Default for FilterIndex<S> {
    fn default() -> Self {
        let mut nodes = Arena::default();
        let root = nodes.insert(Node::new(&Level::new(b""), None));
        Self { nodes, links: Links::default(), root, hasher: PathHasher::default(), len: 0 }
    }
}

impl<S: Slot> Node<S> {
    fn new(level: &Level<'_>, parent: Option<NodeId>) -> Self {
        let label = Label::new(level);
        Self { label, parent, single: None, multi: None, literals: 0, literals_xor: 0, slot: S::default() }
    }

    /// The one child that is no wildcard, while there is one.
    #[inline]
    fn only(&self) -> Option<NodeId> {
        if self.literals == 1 { NodeId::new(self.literals_xor) } else { None }
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
        let trail = self.ensure(filter);
        let last = trail.last().map_or(self.root, |(id, _)| *id);
        let node = self.nodes.get_mut(last).expect("the node was found or made by the line before");
        let was_empty = node.slot.is_empty();
        let result = change(&mut node.slot);
        match (was_empty, node.slot.is_empty()) {
            (true, false) => self.len += 1,
            (false, true) => self.len -= 1,
            _ => {}
        }
        self.prune(&trail);
        result
    }

    /// The slot of exactly this filter.
    #[must_use]
    pub fn get(&self, filter: &PlainFilter) -> Option<&S> {
        let (mut id, mut path) = (self.root, self.hasher.root());
        for level in filter.levels() {
            let level = Level::new(level.as_bytes());
            path = path.below(self.hasher.level(&level));
            id = self.child(id, path, &level)?;
        }
        self.slot(id)
    }

    /// Calls `found` once with the slot of each filter that matches `topic`, in an order that depends on
    /// the set of filters alone.
    pub fn for_each_match<'a>(&'a self, topic: &[u8], mut found: impl FnMut(&'a S)) {
        let (mut nodes, mut others) = (Nodes::new(), Nodes::new());
        let (mut frontier, mut next) = (&mut nodes, &mut others);
        frontier.push((self.root, self.hasher.root()));
        // Wildcards of the first level do not match `$SYS` and its like [MQTT-4.7.2-1].
        let mut wildcards = topic.first() != Some(&b'$');
        for (level, hash) in &self.levels(topic) {
            for (id, path) in frontier.drain(..) {
                let Some(node) = self.nodes.get(id) else { continue };
                let below = path.below(*hash);
                if let Some(child) = self.literal(id, node, below, level) {
                    next.push((child, below));
                }
                if wildcards {
                    if let Some(slot) = node.multi.and_then(|multi| self.slot(multi)) {
                        found(slot);
                    }
                    if let Some(child) = node.single {
                        next.push((child, path.below(self.hasher.single())));
                    }
                }
            }
            if next.is_empty() {
                return;
            }
            wildcards = true;
            std::mem::swap(&mut frontier, &mut next);
        }
        for node in frontier.iter().filter_map(|(id, _)| self.nodes.get(*id)) {
            if !node.slot.is_empty() {
                found(&node.slot);
            }
            // `a/#` matches `a` too.
            if let Some(slot) = node.multi.and_then(|multi| self.slot(multi)) {
                found(slot);
            }
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

    /// The levels of a topic with their hashes, all before the first node is read: the short loop over nodes
    /// then runs further ahead of the memory, which takes a fifth off a match in a large tree.
    fn levels<'t>(&self, topic: &'t [u8]) -> SmallVec<[(Level<'t>, u64); INLINE]> {
        let mut levels = SmallVec::new();
        let mut rest = Some(topic);
        while let Some(topic) = rest {
            let level = Level::first_of(topic);
            rest = topic.get(level.text.len() + 1..);
            levels.push((level, self.hasher.level(&level)));
        }
        levels
    }

    fn child(&self, parent: NodeId, path: Path, level: &Level<'_>) -> Option<NodeId> {
        let node = self.nodes.get(parent)?;
        match level.text {
            b"+" => node.single,
            b"#" => node.multi,
            _ => self.literal(parent, node, path, level),
        }
    }

    /// The child of `node` for a level that is no wildcard, which makes the path `path`.
    #[inline]
    fn literal(&self, id: NodeId, node: &Node<S>, path: Path, level: &Level<'_>) -> Option<NodeId> {
        if node.literals <= 1 {
            let only = node.only()?;
            return self.nodes.get(only)?.label.is(level).then_some(only);
        }
        self.links.find(path.short(), |child| {
            self.nodes.get(child).is_some_and(|child| child.parent == Some(id) && child.label.is(level))
        })
    }

    /// The nodes of a filter from the root on, made where they are missing.
    fn ensure(&mut self, filter: &PlainFilter) -> Nodes {
        let (mut id, mut path) = (self.root, self.hasher.root());
        let mut trail = Nodes::new();
        trail.push((id, path));
        for level in filter.levels() {
            let level = Level::new(level.as_bytes());
            let below = path.below(self.hasher.level(&level));
            id = self.child(id, below, &level).unwrap_or_else(|| self.add_child((id, path), below, &level));
            path = below;
            trail.push((id, path));
        }
        trail
    }

    fn add_child(&mut self, (parent, above): (NodeId, Path), path: Path, level: &Level<'_>) -> NodeId {
        let id = self.nodes.insert(Node::new(level, Some(parent)));
        let Some(node) = self.nodes.get_mut(parent) else { return id };
        match level.text {
            b"+" => node.single = Some(id),
            b"#" => node.multi = Some(id),
            _ => {
                let only = node.only();
                node.literals += 1;
                node.literals_xor ^= id.get();
                if node.literals > 1 {
                    self.links.insert(path.short(), id);
                }
                if let Some(only) = only {
                    self.links.insert(self.path_of(only, above).short(), only);
                }
            }
        }
        id
    }

    /// Removes the last node of a filter if nothing needs it any more, and those above that only it needed.
    fn prune(&mut self, trail: &[(NodeId, Path)]) {
        for pair in trail.windows(2).rev() {
            let [above, (id, path)] = pair else { return };
            if !self.nodes.get(*id).is_some_and(Node::is_unused) {
                return;
            }
            self.nodes.remove(*id);
            self.unlink(*above, *id, *path);
        }
    }

    fn unlink(&mut self, (parent, above): (NodeId, Path), id: NodeId, path: Path) {
        let Some(node) = self.nodes.get_mut(parent) else { return };
        if node.single == Some(id) {
            node.single = None;
        } else if node.multi == Some(id) {
            node.multi = None;
        } else {
            let was_linked = node.literals > 1;
            node.literals -= 1;
            node.literals_xor ^= id.get();
            let only = node.only();
            if was_linked {
                self.links.remove(path.short(), id);
            }
            if let Some(only) = only {
                self.links.remove(self.path_of(only, above).short(), only);
            }
        }
    }

    /// The path of a node that is no wildcard, below the path `above`.
    fn path_of(&self, id: NodeId, above: Path) -> Path {
        let label = self.nodes.get(id).map_or(&[][..], |node| node.label.as_bytes());
        above.below(self.hasher.level(&Level::new(label)))
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
