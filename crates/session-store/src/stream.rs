//! Where requests come from, and what a shard remembers of them: the number of the last one and the answers
//! that their source may not have yet. Owned by a shard; decides whether a request is new, a repeat or too
//! early, and applies nothing itself.

use std::collections::VecDeque;

use crate::command::{Command, PublishItem, Reply};
use crate::failpoint::{self, Mutant};
use crate::ids::{ConnectionId, Host, ShardId};
use crate::matching::GroupRef;

/// Requests of one source that may be without an answer at the same time; one more is refused.
pub const UNANSWERED_MAX: u64 = 4_096;

/// Who sends requests. Each has numbers of its own for each shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// A run of a node, for its connections. Its requests to a shard are numbered from 1 without a gap.
    Host(Host),
    /// The outbox of a shard. Its numbers are the positions of its items: only some of them are for this
    /// shard, so that they grow but are not dense.
    Outbox(ShardId),
}

/// A numbered request, which may come more than once.
#[derive(Clone, Debug)]
pub struct Request {
    /// Who sent it.
    pub source: Source,
    /// Its number in the stream from this source to this shard. Where the source is an outbox, the position up to
    /// which this shard has all that is for it: that of the last item, or the one before it where more parts of that
    /// item follow.
    pub number: u64,
    /// Of a host: all requests below this number are answered, and it asks for none of them again. Of an outbox: the
    /// number of the request before it, 0 for the first one that its present leader sends; or the position of its first
    /// item, where the request before it has a part of that.
    pub done_below: u64,
    /// What is wanted.
    pub command: Command,
}

/// The answer to a numbered request: given once it was applied, and again for each repeat of it.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Whose request it was.
    pub source: Source,
    /// The request's number.
    pub number: u64,
    /// What a connection is told, and which one. `None` for a request that has nothing to tell, and for a
    /// CONNECT that waits for the client's connection before it: its reply follows by itself.
    pub reply: Option<Told>,
}

/// A reply and the connection that it is for; there is none where a shard itself asked.
pub type Told = (Option<ConnectionId>, Reply);

/// What a shard is to do with a request.
#[derive(Clone, Debug)]
pub(crate) enum Arrival {
    /// It is the next one: to be applied.
    New,
    /// It was applied before; this was its answer, if that is still needed.
    Repeat(Option<Told>),
    /// Something before it is missing, or too much is unanswered.
    Gap,
}

/// One stream, as its target remembers it.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    /// Number of the last request that was applied; 0 before the first.
    last: u64,
    /// Answers to the requests up to `last`, without those that the source has.
    answers: VecDeque<Option<Told>>,
    /// Of an outbox's item behind `last`, of which a part came: the last of its groups that did, in the order of their
    /// names.
    partly: Option<GroupRef>,
}

impl Stream {
    /// Number of the last request that was applied.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    fn first(&self) -> u64 {
        self.last + 1 - self.answers.len() as u64
    }

    /// Looks at a request of a host.
    pub(crate) fn arrive(&self, number: u64, done_below: u64) -> Arrival {
        if number <= self.last {
            let index = number.checked_sub(self.first()).and_then(|index| usize::try_from(index).ok());
            return Arrival::Repeat(index.and_then(|index| self.answers.get(index).cloned().flatten()));
        }
        let unanswered = number.saturating_sub(self.first().max(done_below));
        if number > self.last + 1 || unanswered >= UNANSWERED_MAX { Arrival::Gap } else { Arrival::New }
    }

    /// The next request of a host was applied; its source has the answers to those below `done_below`.
    pub(crate) fn answered(&mut self, done_below: u64, answer: Option<Told>) {
        self.last += 1;
        self.answers.push_back(answer);
        while self.first() < done_below.min(self.last) && self.answers.pop_front().is_some() {}
    }

    /// Whether something before a request of an outbox is missing: the request before it, or, where it goes on with an
    /// item of which it has the position as `done_below`, the part before it, with whose last group it begins.
    pub(crate) fn lacks_before(&self, request: &Request) -> bool {
        let items = match &request.command {
            Command::Publish(publish) => publish.items.as_slice(),
            _ => &[],
        };
        let next = |item: &&PublishItem| item.number == request.done_below && item.number == self.last + 1;
        match items.first().filter(next) {
            Some(part) => self.partly.as_ref() < part.groups.first().map(|pick| &pick.group),
            None => self.last < request.done_below && !failpoint::has(Mutant::SkipPredecessor),
        }
    }

    /// Leaves out of an outbox's item what came before; says whether it is new, all of it or in part.
    pub(crate) fn leave_out_seen(&self, item: &mut PublishItem) -> bool {
        if item.number <= self.last {
            return false;
        }
        if let Some(seen) = self.partly.as_ref().filter(|_| item.number == self.last + 1) {
            (item.sessions, item.store_retained) = (false, false);
            item.groups.retain(|pick| pick.group > *seen);
        }
        true
    }

    /// A request of an outbox was applied, which stands for its items up to `number`; of the one behind them it
    /// brought the groups up to `partly`, where there is one.
    pub(crate) fn passed(&mut self, number: u64, partly: Option<GroupRef>) {
        if number > self.last {
            (self.last, self.partly) = (number, None);
        }
        if number == self.last {
            self.partly = self.partly.take().max(partly);
        }
    }

    /// The last group that came of the item behind [`Self::last`], where only a part of that came.
    pub(crate) fn partly(&self) -> Option<&GroupRef> {
        self.partly.as_ref()
    }

    /// Answers that are kept, from the oldest.
    pub(crate) fn answers(&self) -> impl Iterator<Item = Option<&Told>> {
        self.answers.iter().map(Option::as_ref)
    }

    /// A stream as it was written to a store.
    pub(crate) fn restored(last: u64, answers: VecDeque<Option<Told>>, partly: Option<GroupRef>) -> Self {
        Self { last, answers, partly }
    }

    pub(crate) fn validate(&self) -> Result<(), &'static str> {
        let kept = self.answers.len() as u64;
        if kept > UNANSWERED_MAX || kept > self.last {
            return Err("a stream keeps more answers than it may");
        }
        Ok(())
    }
}
