//! The death of a node: its runs up to one are refused from then on, and the clients they hosted are ended a
//! part at a time. Called by `Shard::apply`; never reads a clock.

use std::ops::Bound;

use super::Shard;
use super::out::Out;
use crate::command::{End, WillFate};
use crate::ids::{ClientId, Host, Incarnation, NodeId};
use crate::stream::Source;

/// Clients of dead nodes that one tick ends at most, so that other work comes between.
const ENDS: usize = 1_000;

impl Shard {
    /// Whether a run of a node is dead. Nothing that it says has an effect any more.
    #[must_use]
    pub fn is_dead(&self, host: Host) -> bool {
        self.lowest_live.get(&host.node).is_some_and(|lowest| host.incarnation < *lowest)
    }

    /// The last run of a node that has begun, as far as is known here: each begins by saying that those before it are
    /// dead. 0 where none has.
    #[must_use]
    pub fn last_run(&self, node: NodeId) -> Incarnation {
        self.lowest_live.get(&node).copied().unwrap_or_default()
    }

    /// Every run of the node up to this one is dead. What it hosted is ended by the ticks that follow.
    pub(super) fn down(&mut self, host: Host, out: &mut Out<'_>) {
        let lowest = self.lowest_live.entry(host.node).or_default();
        *lowest = host.incarnation.next().max(*lowest);
        let dead = Source::Host(Host { node: host.node, incarnation: Incarnation(0) })..=Source::Host(host);
        while let Some((source, _)) = self.streams.range(dead.clone()).next() {
            let source = *source;
            self.streams.remove(&source);
            self.keeper.touch_stream(source);
        }
        if self.first_dead_of(host.node).is_some() {
            self.dying.insert(host.node);
        }
        self.members_died(out);
    }

    /// Ends clients of dead nodes, as many as one tick may.
    pub(super) fn end_the_dead(&mut self, out: &mut Out<'_>) {
        for _ in 0..ENDS {
            let Some(node) = self.dying.first().copied() else { return };
            match self.first_dead_of(node) {
                Some(client) => self.end_dead(&client, out),
                None => {
                    self.dying.remove(&node);
                }
            }
        }
    }

    /// The node that hosted the client's connection is dead: what it had not sent is not known.
    pub(super) fn end_dead(&mut self, client: &ClientId, out: &mut Out<'_>) {
        let epoch = self.clients.get(client).map(|client| client.epoch).unwrap_or_default();
        self.counters.connections_of_dead_nodes += 1;
        let (client, unsent) = (client.clone(), Vec::new());
        self.end(&End { client, epoch, will: WillFate::Keep, expiry_s: None, unsent }, out);
    }

    fn first_dead_of(&self, node: NodeId) -> Option<ClientId> {
        let lowest = *self.lowest_live.get(&node)?;
        let from = (Host { node, incarnation: Incarnation(0) }, ClientId::new(""));
        let (host, client) = self.hosted.range((Bound::Included(from), Bound::Unbounded)).next()?;
        (host.node == node && host.incarnation < lowest).then(|| client.clone())
    }
}
