//! The barrier in front of SUBACK: it leaves when each node that may acknowledge a publish matches it against the new
//! subscriptions. On a node without peers that is so at once.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use mqtt_codec::{PacketId, ReasonCode};
use session_store::failpoint::{self, Mutant};
use session_store::matching::Subscribed;
use topic_index::PlainFilter;

use super::{Client, Waiting};
use crate::lease::Admission;

/// What is waited for; says whether the connection may go on.
pub(crate) struct Gate(Pin<Box<dyn Future<Output = Admission>>>);

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gate")
    }
}

impl Gate {
    fn new(waits: impl Future<Output = Admission> + 'static) -> Self {
        Self(Box::pin(waits))
    }
}

/// A SUBSCRIBE that is done.
#[derive(Debug)]
pub(crate) struct Suback {
    /// Its packet identifier.
    pub(crate) packet_id: PacketId,
    /// A code for each filter.
    pub(crate) codes: Vec<ReasonCode>,
    /// The subscriptions that want retained messages: the node's own topics, and all others where this is a transient
    /// session.
    pub(crate) retained: Vec<(PlainFilter, Subscribed)>,
}

impl Client {
    /// Answers a SUBSCRIBE as soon as everything that its owner of routes had announced by now is in force, whether this
    /// SUBSCRIBE changed routes or not: what it relies on may be on its way.
    pub(crate) fn suback_in_force(&mut self, suback: Suback) {
        let waits = |_: &_| !failpoint::has(Mutant::SubackWithoutBarrier);
        let Some(others) = self.worker.node.shards.others().filter(waits).cloned() else {
            return self.suback(suback);
        };
        let lease = self.worker.node.lease.clone();
        let (client, connection) = (self.id.clone(), (self.epoch, self.inbox.id()));
        let routes = self.persistent.then(|| self.worker.node.shards.routes_of(self.home));
        let here = others.announced.number();
        self.gate = Some(Gate::new(async move {
            match routes {
                Some((owner, number)) => others.barriers.reached(owner, number).await,
                None => others.barriers.reached_here(here).await,
            }
            lease.until_admitted(&client, connection).await
        }));
        self.waiting = Some(Waiting::Suback(suback));
    }

    /// Whether there is room for what a SUBSCRIBE may announce; where there is none, it is waited for.
    pub(crate) fn has_room_to_announce(&mut self) -> bool {
        let Some(others) = self.worker.node.shards.others() else { return true };
        if self.persistent || others.announced.has_room() {
            return true;
        }
        let announced = others.announced.clone();
        self.gate = Some(Gate::new(async move {
            announced.room().await;
            Admission::Admitted
        }));
        false
    }

    /// Goes on with what was waited for; ready when it did.
    pub(crate) fn poll_gate(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(gate) = &mut self.gate else { return Poll::Pending };
        let Poll::Ready(admission) = gate.0.as_mut().poll(context) else { return Poll::Pending };
        self.gate = None;
        if admission != Admission::Admitted {
            // It ends: the client was taken over elsewhere.
            self.be_silent();
            return Poll::Ready(());
        }
        match self.waiting.take() {
            Some(Waiting::Suback(suback)) => self.suback(suback),
            Some(Waiting::Room(subscribe)) => self.subscribe(&subscribe),
            other => self.waiting = other,
        }
        Poll::Ready(())
    }
}
