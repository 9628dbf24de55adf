//! Filters matched by a topic: one slot for each filter, found for a publish.
//! Called by the routing of publishes (match) and by SUBSCRIBE and UNSUBSCRIBE (update).
//! It never knows what a slot holds, keeps nothing of a filter whose slot is empty, and never recurses.
//!
//! The filters form a tree of levels. Its nodes lie in an arena; a node knows its `+` and its `#` child, and
//! the others are found in one hash table for the whole tree, so that no node carries a table of its own.
//! The key there is the hash of the whole path from the root. So a match knows where all levels of its topic
//! are to be found before it has found any of them, and can ask the memory for all of them at once: in a
//! large tree, waiting for one after the other is nearly all that a match costs.

mod arena;
mod label;
mod links;
mod path;
#[cfg(test)]
mod tests;

use std::hint::black_box;

use smallvec::SmallVec;

use self::arena::{Arena, NodeId};
use self::label::{Label, Level};
use self::links::Links;
use self::path::{Path, PathHasher};
use crate::filter::PlainFilter;

/// The levels, and the nodes of one level, that a match keeps without allocating: more than nearly all topics
/// have, and more than nearly all sets of `+` make.
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
/// slots of at most 32 bytes; with larger ones a node is more than one cache line.
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
    /// The number of children of other levels, which the table finds.
    literals: u32,
    slot: S,
}

/// The nodes of a filter from the first level to the last, with their paths.
type Trail = SmallVec<[(NodeId, Path); INLINE]>;

/// The nodes of one level that match a topic up to there, with their paths.
type Frontier = SmallVec<[(NodeId, Path); INLINE]>;

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
        Self { label, parent, single: None, multi: None, literals: 0, slot: S::default() }
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
        let levels = self.levels(topic);
        let (mut nodes, mut others) = (Frontier::new(), Frontier::new());
        let (mut frontier, mut next) = (&mut nodes, &mut others);
        frontier.push((self.root, self.hasher.root()));
        // Wildcards of the first level do not match `$SYS` and its like [MQTT-4.7.2-1].
        let mut wildcards = topic.first() != Some(&b'$');
        for (level, hash) in &levels {
            for (id, path) in frontier.drain(..) {
                let Some(node) = self.nodes.get(id) else { continue };
                if node.literals > 0 {
                    let path = path.below(*hash);
                    if let Some(child) = self.literal(id, path, level) {
                        next.push((child, path));
                    }
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

    /// The levels of a topic with their hashes. On the way, what the match is going to read about the path
    /// without wildcards is read: first the links, then the nodes, in reads that do not wait for each other.
    fn levels<'t>(&self, topic: &'t [u8]) -> SmallVec<[(Level<'t>, u64); INLINE]> {
        let mut path = self.hasher.root();
        let mut levels = SmallVec::new();
        let mut likely: SmallVec<[Option<NodeId>; INLINE]> = SmallVec::new();
        let mut rest = Some(topic);
        while let Some(text) = rest {
            let len = text.iter().position(|byte| *byte == b'/').unwrap_or(text.len());
            rest = text.get(len + 1..);
            let level = Level::at_start_of(text, len);
            let hash = self.hasher.level(&level);
            path = path.below(hash);
            levels.push((level, hash));
            likely.push(self.links.likely(path.short()));
        }
        let read = likely.into_iter().flatten().filter_map(|id| self.nodes.get(id));
        black_box(read.fold(0, |sum, node| sum ^ node.literals));
        levels
    }

    fn child(&self, parent: NodeId, path: Path, level: &Level<'_>) -> Option<NodeId> {
        match level.text {
            b"+" => self.nodes.get(parent)?.single,
            b"#" => self.nodes.get(parent)?.multi,
            _ => self.literal(parent, path, level),
        }
    }

    /// The child of `parent` for a level that is no wildcard, which makes the path `path`.
    #[inline]
    fn literal(&self, parent: NodeId, path: Path, level: &Level<'_>) -> Option<NodeId> {
        self.links.find(path.short(), |child| {
            self.nodes.get(child).is_some_and(|child| child.parent == Some(parent) && child.label.is(level))
        })
    }

    /// The nodes of a filter below the root, made where they are missing.
    fn ensure(&mut self, filter: &PlainFilter) -> Trail {
        let mut trail = Trail::new();
        let (mut id, mut path) = (self.root, self.hasher.root());
        for level in filter.levels() {
            let level = Level::new(level.as_bytes());
            path = path.below(self.hasher.level(&level));
            id = self.child(id, path, &level).unwrap_or_else(|| self.add_child(id, path, &level));
            trail.push((id, path));
        }
        trail
    }

    fn add_child(&mut self, parent: NodeId, path: Path, level: &Level<'_>) -> NodeId {
        let id = self.nodes.insert(Node::new(level, Some(parent)));
        let Some(node) = self.nodes.get_mut(parent) else { return id };
        match level.text {
            b"+" => node.single = Some(id),
            b"#" => node.multi = Some(id),
            _ => {
                node.literals += 1;
                self.links.insert(path.short(), id);
            }
        }
        id
    }

    /// Removes the last node of a filter if nothing needs it any more, and those above that only it needed.
    fn prune(&mut self, trail: &[(NodeId, Path)]) {
        for (id, path) in trail.iter().rev() {
            if !self.nodes.get(*id).is_some_and(Node::is_unused) {
                return;
            }
            let parent = self.nodes.remove(*id).and_then(|node| node.parent);
            let Some(parent) = parent.and_then(|parent| self.nodes.get_mut(parent)) else { return };
            if parent.single == Some(*id) {
                parent.single = None;
            } else if parent.multi == Some(*id) {
                parent.multi = None;
            } else {
                parent.literals -= 1;
                self.links.remove(path.short(), *id);
            }
        }
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
