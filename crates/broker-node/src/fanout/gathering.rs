//! Messages that match alike, gathered until they are delivered together: each transient subscriber, and each
//! member of a shared group that was picked, takes the lock of its mailbox once for all it gets of them.
//! Filled and emptied by connections and by `shard::Dispatch`; never waits.

use std::sync::Arc;

use mqtt_codec::QoS;
use session_store::command::PublishItem;
use session_store::{ClientId, ConnectionId, MessageRef};

use super::groups::{GroupView, Holder};
use super::parts::{Destination, Part, Parts};
use super::{Fanout, Matched};
use crate::inbox::{Dropped, Run};

/// Room for picks that is kept between two runs.
const PICKS_KEPT: usize = 64;

/// A member of a group on this node that takes a message.
#[derive(Clone, Copy, Debug)]
struct MemberPick {
    /// Index of the group among those that match.
    group: u32,
    /// The member's place in it.
    place: u32,
    /// Index of the message.
    message: u32,
    /// Number of the acknowledgement that waits for the delivery; 0 is none.
    number: u64,
}

impl MemberPick {
    fn member(&self) -> (u32, u32) {
        (self.group, self.place)
    }
}

/// Messages that match alike and wait to be delivered together.
#[derive(Debug, Default)]
pub(crate) struct Gathering {
    messages: Vec<MessageRef>,
    /// Bytes of the messages.
    bytes: usize,
    picks: Vec<MemberPick>,
}

/// A message that was accepted, and what its delivery needs.
#[derive(Debug)]
pub(crate) struct Accepted<'a> {
    /// The message.
    pub(crate) message: MessageRef,
    /// Who published it.
    pub(crate) publisher: &'a ClientId,
    /// The shard that stores it as its topic's retained message, where it is to be.
    pub(crate) topic_home: Option<u16>,
    /// Number of the acknowledgement that waits for all who get it; 0 is none.
    pub(crate) number: u64,
}

/// Where a message went that was picked for a member on this node.
#[derive(Debug)]
pub(crate) enum Placed {
    /// To a member here, if there was one left; the acknowledgement of this number waits for it no more.
    Here(u64),
    /// To others, since the member had ended: they answer.
    Elsewhere(Destination, PublishItem),
}

impl Gathering {
    /// Whether nothing waits to be delivered.
    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Bytes of the messages that wait.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The last message that waits.
    pub(crate) fn last(&self) -> Option<&MessageRef> {
        self.messages.last()
    }

    /// Adds a message that matches as all before it. Calls `send` for each shard and each other host that gets
    /// something of it, more than once where it is for very many groups there; returns how many answers its acknowledgement waits for, those of [`Gathering::deliver`] included.
    pub(crate) fn add(
        &mut self,
        (fanout, matched): (&Fanout, &Matched),
        accepted: Accepted<'_>,
        mut send: impl FnMut(Destination, PublishItem),
    ) -> u32 {
        let Accepted { message, publisher, topic_home, number } = accepted;
        let mut parts = Parts::default();
        let shards = matched.shards.iter().map(|(shard, qos)| (Destination::Shard(*shard), *qos));
        let hosts = matched.hosts.iter().map(|(host, qos)| (Destination::Host(*host), *qos));
        for (to, qos) in shards.chain(hosts) {
            // What goes on at QoS 0 may be lost: no acknowledgement waits for it.
            parts.add(to, qos > QoS::AtMostOnce, |part| part.sessions = true);
        }
        if let Some(home) = topic_home {
            parts.add(Destination::Shard(home), true, |part| part.store_retained = true);
        }
        let before = self.picks.len();
        for (index, group) in matched.groups.iter().enumerate() {
            let place = fanout.pick(group, publisher, message.body.topic());
            match place.and_then(|place| Some((place, group.at(place)?))) {
                None => {}
                Some((_, Holder::Elsewhere(to, pick))) => {
                    parts.add(to, true, |part: &mut Part| part.groups.push(pick));
                }
                Some((place, Holder::Local(_))) => self.pick(index, place, number),
            }
        }
        let picked = self.picks.len() - before;
        let mut awaited = picked;
        for part in parts.0 {
            let (to, is_awaited) = (part.to, part.awaited);
            part.into_item(number, Arc::clone(&message)).into_parts(|item| {
                awaited += usize::from(is_awaited);
                send(to, item);
            });
        }
        if picked > 0 || !matched.locals.is_empty() {
            self.bytes += message.size();
            self.messages.push(message);
        }
        if number == 0 { 0 } else { u32::try_from(awaited).unwrap_or(u32::MAX) }
    }

    /// Notes a member for the message that is added next. Runs and groups are far smaller than the casts allow.
    fn pick(&mut self, group: usize, place: u64, number: u64) {
        let message = u32::try_from(self.messages.len());
        if let (Ok(group), Ok(place), Ok(message)) = (u32::try_from(group), u32::try_from(place), message) {
            self.picks.push(MemberPick { group, place, message, number });
        }
    }

    /// Leaves everything that was gathered with those who get it, `matched` being what it was matched as.
    /// Calls `placed` for each message that a member of a group was picked for.
    pub(crate) fn deliver(
        &mut self,
        matched: &Matched,
        publisher: ConnectionId,
        mut placed: impl FnMut(Placed),
    ) -> Dropped {
        let mut dropped = Dropped::default();
        for target in &matched.locals {
            let is_publisher = target.inbox.id() == publisher;
            let Some(copy) = target.own.pick(&target.copy, is_publisher) else { continue };
            dropped.add(target.inbox.deliver(Run { messages: self.messages.iter(), copy, group: None }));
        }
        // Stable: a member gets its messages in their order.
        self.picks.sort_by_key(MemberPick::member);
        for picks in self.picks.chunk_by(|a, b| a.member() == b.member()) {
            let Some(group) = picks.first().and_then(|pick| matched.groups.get(pick.group as usize)) else {
                continue;
            };
            dropped.add(self.deliver_picked(group, picks, &mut placed));
        }
        self.messages.clear();
        self.bytes = 0;
        self.picks.clear();
        if self.picks.capacity() > PICKS_KEPT {
            self.picks = Vec::new();
        }
        dropped
    }

    /// Leaves with one member what it was picked for. Where it has ended since the view was made, the next
    /// in turn takes all of it.
    fn deliver_picked(
        &self,
        group: &GroupView,
        picks: &[MemberPick],
        placed: &mut impl FnMut(Placed),
    ) -> Dropped {
        let first = picks.first().map_or(0, |pick| u64::from(pick.place));
        for place in std::iter::once(first).chain(group.behind(first)) {
            match group.at(place) {
                None => {}
                Some(Holder::Local(member)) => {
                    let messages = self.messages_of(picks);
                    let run = Run { messages, copy: &member.copy, group: Some(group.name()) };
                    let dropped = member.inbox.deliver(run);
                    if !dropped.closed {
                        picks.iter().for_each(|pick| placed(Placed::Here(pick.number)));
                        return dropped;
                    }
                }
                Some(Holder::Elsewhere(to, pick)) => {
                    for (MemberPick { number, .. }, message) in picks.iter().zip(self.messages_of(picks)) {
                        let item = Part::picked(to, pick.clone());
                        placed(Placed::Elsewhere(to, item.into_item(*number, Arc::clone(message))));
                    }
                    return Dropped::default();
                }
            }
        }
        picks.iter().for_each(|pick| placed(Placed::Here(pick.number)));
        Dropped::default()
    }

    fn messages_of<'a>(&'a self, picks: &'a [MemberPick]) -> impl Iterator<Item = &'a MessageRef> {
        picks.iter().filter_map(|pick| self.messages.get(pick.message as usize))
    }
}
