//! Where transitions put what is to be done: effects in their order, and the answer to the request that is
//! being applied, once. Made by `Shard::apply` for each input.

use crate::command::{Push, Reply, RouteChange};
use crate::effect::Effect;
use crate::ids::ConnectionId;
use crate::stream::{Answer, Source, Told};

/// The effects of one input.
pub(super) struct Out<'a> {
    effects: &'a mut Vec<Effect>,
    /// The request that is being applied, if one is.
    asked: Option<(Source, u64)>,
    answered: bool,
    /// The answer, as it is kept for a repeat.
    kept: Option<Told>,
}

impl<'a> Out<'a> {
    /// For an input that nobody waits for.
    pub(super) fn new(effects: &'a mut Vec<Effect>) -> Self {
        Self { effects, asked: None, answered: false, kept: None }
    }

    /// For a request.
    pub(super) fn to(effects: &'a mut Vec<Effect>, source: Source, number: u64) -> Self {
        Self { asked: Some((source, number)), ..Self::new(effects) }
    }

    /// Adds an effect.
    pub(super) fn push(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    /// Tells a connection something that is no answer to the request.
    pub(super) fn reply(&mut self, connection: ConnectionId, reply: Reply) {
        self.push(Effect::Reply(connection, reply));
    }

    /// Answers the request, and keeps the answer for its repeats.
    pub(super) fn answer(&mut self, connection: Option<ConnectionId>, reply: Reply) {
        self.kept = Some((connection, reply.clone()));
        self.answer_once(connection, reply);
    }

    /// Answers the request with what a repeat finds in the state.
    pub(super) fn answer_once(&mut self, connection: Option<ConnectionId>, reply: Reply) {
        self.put_answer(Some((connection, reply)));
    }

    fn put_answer(&mut self, reply: Option<Told>) {
        let Some((source, number)) = self.asked.filter(|_| !self.answered) else { return };
        self.answered = true;
        self.push(Effect::Answer(Answer { source, number, reply }));
    }

    /// Ends the request: it is answered now if it was not before. Returns what to keep of the answer.
    pub(super) fn finish(mut self) -> Option<Told> {
        self.put_answer(None);
        self.kept
    }

    /// Announces a route.
    pub(super) fn route(&mut self, change: RouteChange) {
        self.push(Effect::Route(change));
    }

    /// Sends a packet to a client, with those before it if they are for the same one.
    pub(super) fn send(&mut self, connection: ConnectionId, push: Push) {
        match self.effects.last_mut() {
            Some(Effect::Push(last, pushes)) if *last == connection => pushes.push(push),
            _ => self.push(Effect::Push(connection, vec![push])),
        }
    }

    /// Says that the outbox has grown.
    pub(super) fn outbox(&mut self, last: u64) {
        match self.effects.last_mut() {
            Some(Effect::Outbox(position)) => *position = last,
            _ => self.push(Effect::Outbox(last)),
        }
    }
}
