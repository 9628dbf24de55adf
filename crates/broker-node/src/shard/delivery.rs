//! Carries out what a shard decided: answers, packets and routes leave here, what the shard itself sends goes to its
//! relay. Called by the shard's machine after each entry; never waits.

use std::sync::Arc;

use session_store::command::{Reply, RouteChange};
use session_store::{Answer, ConnectionId, Effect, Source};

use super::directory::{Directory, Entries};
use super::link::{Asker, Link};
use super::relay::RelayMail;
use crate::counters::NodeCounters;
use crate::fanout::Fanout;

/// Where the effects of one shard go.
pub(crate) struct Delivery {
    pub(super) number: u16,
    pub(super) fanout: Arc<Fanout>,
    /// This host's requests to the shard.
    pub(super) link: Arc<Link>,
    /// The connections of the shard's clients.
    pub(super) directory: Arc<Directory>,
    /// The relays of all shards, by number: whose requests are answered here.
    pub(super) relays: Arc<[RelayMail]>,
    pub(super) counters: Arc<NodeCounters>,
}

impl Delivery {
    /// A route of the shard changed.
    pub(super) fn announce(&self, change: &RouteChange) {
        self.fanout.change_route(self.number, change);
    }

    /// Carries out effects in their order. Where this node does not lead the shard only routes count: whoever leads
    /// does the rest.
    pub(super) fn carry_out(&self, effects: &mut Vec<Effect>, leads: bool) {
        if effects.is_empty() {
            return;
        }
        let mut entries = self.directory.lock();
        for effect in effects.drain(..) {
            match effect {
                Effect::Route(change) => self.announce(&change),
                effect if leads => self.carry_out_one(effect, &mut entries),
                _ => {}
            }
        }
    }

    fn carry_out_one(&self, effect: Effect, entries: &mut Entries) {
        match effect {
            Effect::Answer(answer) => self.answer(answer, entries),
            Effect::Gap { source, last } => {
                tracing::error!(?source, last, shard = self.number, "a request is missing")
            }
            Effect::Reply(id, reply) => Self::reply(id, reply, entries),
            Effect::Push(id, pushes) => {
                if let Some(inbox) = entries.get(id) {
                    let dropped = inbox.push(pushes);
                    self.counters.dropped_qos0_slow.add(dropped.qos0);
                }
            }
            Effect::Route(change) => self.announce(&change),
            Effect::Outbox(_) => self.with_relay(self.number, RelayMail::filled),
            Effect::Scan(client, ask) => self.with_relay(self.number, |relay| relay.scan(client, ask)),
        }
    }

    /// Whether the shard's outbox is full.
    pub(super) fn outbox_is_full(&self, full: bool) {
        self.with_relay(self.number, |relay| relay.set_full(full));
    }

    fn with_relay(&self, shard: u16, tell: impl FnOnce(&RelayMail)) {
        if let Some(relay) = self.relays.get(usize::from(shard)) {
            tell(relay);
        }
    }

    fn answer(&self, answer: Answer, entries: &mut Entries) {
        let Answer { source, number, reply } = answer;
        match source {
            Source::Outbox(from) => self.with_relay(from.0, |relay| relay.answered(self.number, number)),
            source if source == self.link.source() => {
                let Some(Asker { inbox, applied, ends }) = self.link.answered(number) else { return };
                if let (Some(inbox), Some((_, reply))) = (&inbox, reply) {
                    if matches!(reply, Reply::Connected(Err(_))) {
                        entries.remove(inbox.id());
                    }
                    inbox.reply(reply);
                }
                if let Some(inbox) = inbox {
                    inbox.done();
                    if ends {
                        entries.remove(inbox.id());
                    }
                }
                if let Some(applied) = applied {
                    let _nobody_waits = applied.send(());
                }
            }
            Source::Host(host) => tracing::trace!(%host, number, "an answer to a run that has ended"),
        }
    }

    fn reply(id: ConnectionId, reply: Reply, entries: &mut Entries) {
        let refused = matches!(reply, Reply::Connected(Err(_)));
        match entries.get(id) {
            Some(inbox) => inbox.reply(reply),
            None => tracing::trace!(connection = id.number, "word for a connection that is gone"),
        }
        if refused {
            entries.remove(id);
        }
    }
}
