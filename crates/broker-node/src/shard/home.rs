//! One shard as this node sees it, whether it leads or not: the requests of its connections, the connections themselves,
//! and what other nodes say. Hands out what the shard's leader decided for this host; never waits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use session_store::command::Reply;
use session_store::word::{Settled, Told};
use session_store::{Answer, ConnectionId, Effect, Host, Source};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::timeout;

use super::directory::{Directory, Entries};
use super::guests::Guests;
use super::in_flight::InFlight;
use super::lane::Target;
use super::link::{Asker, Link, Words};
use super::machine::Totals;
use super::parked::Parked;
use super::peers::Word;
use super::relay::RelayMail;
use super::sending::Sending;
use super::settled::{Rounds, SETTLES_WITHIN};
use crate::counters::NodeCounters;
use crate::fanout::Fanout;
use crate::routes::ShardRoutes;

/// Words of other nodes that wait for the one who leads; more are lost, and said again.
const WORDS: usize = 4_096;

/// One shard, as this node sees it.
pub(crate) struct Home {
    pub(super) number: u16,
    /// This host's requests to the shard.
    pub(super) link: Link,
    /// The connections of the shard's clients here.
    pub(super) directory: Directory,
    /// Requests that wait for space.
    pub(super) parked: Parked,
    /// What the shard's outbox sends, while this node leads it.
    pub(super) relay: RelayMail,
    /// Whether a client's connection waits for the one before it to stop.
    pub(super) overtaken: watch::Sender<bool>,
    /// What the shard's leader announces, if that is this node; what this host was told of it, whoever leads.
    pub(super) routes: ShardRoutes,
    /// Retained publishes of this node that are on their way to the shard, and what all nodes are asked about theirs.
    pub(super) in_flight: Arc<InFlight>,
    pub(super) rounds: Rounds,
    /// Which outboxes this node sends, this shard's and others'.
    pub(super) sending: Sending,
    pub(super) totals: Totals,
    pub(super) counters: Arc<NodeCounters>,
    /// What the shard's outbox has for transient members of groups on this node, whoever leads it.
    guests: Guests,
    fanout: Arc<Fanout>,
    /// Hosts that want to hear what concerns them, if this node leads, and under which number.
    attaching: Mutex<BTreeMap<Host, u64>>,
    /// Some do.
    pub(super) attach: Notify,
    /// Something waits for room on the way to a host, if this node leads.
    pub(super) backlog: Notify,
    words: mpsc::Sender<Word>,
    outbox_full: AtomicBool,
    outbox_room: Notify,
}

impl Home {
    /// A shard that nobody leads yet; the other half is for whoever does it on this node.
    pub(super) fn new(
        (number, host): (u16, Host),
        counters: &Arc<NodeCounters>,
        (fanout, sending): (&Arc<Fanout>, &Sending),
    ) -> (Self, mpsc::Receiver<Word>) {
        let (words, heard) = mpsc::channel(WORDS);
        let home = Self {
            number,
            link: Link::new(Source::Host(host)),
            directory: Directory::default(),
            parked: Parked::default(),
            relay: RelayMail::default(),
            overtaken: watch::Sender::new(false),
            routes: ShardRoutes::default(),
            in_flight: Arc::default(),
            rounds: Rounds::default(),
            sending: sending.clone(),
            totals: Totals::default(),
            counters: Arc::clone(counters),
            guests: Guests::default(),
            fanout: Arc::clone(fanout),
            attaching: Mutex::default(),
            attach: Notify::new(),
            backlog: Notify::new(),
            words,
            outbox_full: AtomicBool::new(false),
            outbox_room: Notify::new(),
        };
        (home, heard)
    }

    /// Another node, or this one, says something.
    pub(super) fn hear(&self, word: Word) {
        match word {
            Word::Told(told) => self.told(told),
            Word::Taken(by, position) => self.relay.answered(Target::Shard(by), position),
            // What is for an earlier run of the node is for others as soon as the shard knows that it is dead.
            Word::ForMembers(host, messages, answer) if Source::Host(host) == self.link.source() => {
                let (given, dropped) = self.guests.give(&self.fanout, &messages);
                self.counters.count_dropped(dropped);
                let _asked_again = answer.send(given);
            }
            Word::ForMembers(..) => {}
            Word::Settled(answer) => self.say_when_settled(answer),
            Word::Attach(host, number) => {
                let mut attaching = self.attaching.lock();
                // Earlier runs of the node do not listen any more.
                attaching.retain(|other, _| other.node != host.node);
                attaching.insert(host, number);
                drop(attaching);
                self.attach.notify_one();
            }
            word => {
                let _said_again = self.words.try_send(word);
            }
        }
    }

    fn say_when_settled(&self, answer: oneshot::Sender<Settled>) {
        // Before what is on its way is looked at: what an outbox has there goes when it is no longer sent here.
        let (sending, sent) = (self.sending.clone(), self.sending.now());
        let settled = move |all| Settled { all, outboxes: sending.since(&sent) };
        if self.in_flight.is_settled() {
            let _asked_again = answer.send(settled(true));
            return;
        }
        let in_flight = Arc::clone(&self.in_flight);
        tokio::spawn(async move {
            let all = timeout(SETTLES_WITHIN, in_flight.until_settled()).await.is_ok();
            let _asked_again = answer.send(settled(all));
        });
    }

    /// The hosts that want to hear what concerns them.
    pub(super) fn take_attaching(&self) -> BTreeMap<Host, u64> {
        std::mem::take(&mut self.attaching.lock())
    }

    fn told(&self, told: Told) {
        let Told { attachment, number, outbox_full, routes, more, effects } = told;
        // Held to the end, so that no words of a later leader are carried out between those of an earlier one.
        let mut entries = self.directory.lock();
        if self.link.hear((attachment, number), more) == Words::Next {
            self.routes.tell(routes);
            self.carry_out_with(effects, &mut entries);
            self.set_outbox_full(outbox_full);
            if number == 0 {
                self.link.attached();
            }
        }
    }

    /// Carries out what was decided for connections of this host.
    pub(super) fn carry_out(&self, effects: impl IntoIterator<Item = Effect>) {
        self.carry_out_with(effects, &mut self.directory.lock());
    }

    fn carry_out_with(&self, effects: impl IntoIterator<Item = Effect>, entries: &mut Entries) {
        for effect in effects {
            match effect {
                Effect::Answer(answer) => self.answer(answer, entries),
                Effect::Gap { .. } => self.link.has_gap(),
                Effect::Reply(id, reply) => self.reply(id, reply, entries),
                Effect::Push(id, pushes) => {
                    if let Some(inbox) = entries.get(id) {
                        let dropped = inbox.push(pushes);
                        self.counters.dropped_qos0_slow.add(dropped.qos0);
                    }
                }
                // Not for a host: whoever leads does them.
                Effect::Route(_) | Effect::Outbox(_) | Effect::Scan(..) => {}
            }
        }
    }

    fn answer(&self, answer: Answer, entries: &mut Entries) {
        let Answer { source, number, reply } = answer;
        if source != self.link.source() {
            tracing::trace!(?source, number, "an answer to a run that has ended");
            return;
        }
        let Some(asker) = self.link.answered(number, reply.is_none()) else {
            // A CONNECT that was told to wait, and asked again.
            if let Some((Some(connection), reply)) = reply
                && matches!(reply, Reply::Connected(_))
            {
                self.reply(connection, reply, entries);
            }
            return;
        };
        let Asker { inbox, applied, ends, flight } = asker;
        if let (Some(inbox), Some((_, reply))) = (&inbox, reply) {
            if matches!(reply, Reply::Connected(Err(_))) {
                entries.remove(inbox.id());
            }
            inbox.reply(reply);
        }
        if let Some(inbox) = inbox {
            inbox.done();
            if ends {
                let _given_up = self.link.connected(inbox.id());
                entries.remove(inbox.id());
            }
        }
        // Who looks for it finds it from here on.
        drop(flight);
        if let Some(applied) = applied {
            let _nobody_waits = applied.send(());
        }
    }

    fn reply(&self, id: ConnectionId, reply: Reply, entries: &mut Entries) {
        let refused = matches!(reply, Reply::Connected(Err(_)));
        if matches!(reply, Reply::Connected(_))
            && let Some(waited) = self.link.connected(id)
        {
            self.counters.takeovers.record(waited);
        }
        match entries.get(id) {
            Some(inbox) => inbox.reply(reply),
            None => tracing::trace!(connection = id.number, "word for a connection that is gone"),
        }
        if refused {
            entries.remove(id);
        }
    }

    /// The shard's outbox has no room for what clients publish at QoS 2, or has it again.
    pub(super) fn set_outbox_full(&self, full: bool) {
        if self.outbox_full.swap(full, Ordering::AcqRel) && !full {
            self.outbox_room.notify_waiters();
        }
    }

    /// Waits while the outbox has no room for what clients publish at QoS 2. What others propose meanwhile is not
    /// counted: it may grow beyond its bound by what the shard's mailbox holds.
    pub(super) async fn outbox_room(&self) {
        loop {
            let room = self.outbox_room.notified();
            if !self.outbox_full.load(Ordering::Acquire) {
                return;
            }
            room.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SharedStrategy;

    fn home() -> (Home, mpsc::Receiver<Word>) {
        let fanout = Arc::new(Fanout::new(SharedStrategy::RoundRobin));
        Home::new((0, Host::default()), &Arc::default(), (&fanout, &Sending::new(1)))
    }

    #[tokio::test]
    async fn who_waits_for_room_in_the_outbox_hears_of_it() {
        use std::future::poll_fn;
        use std::pin::pin;

        let (home, _words) = home();
        home.outbox_room().await;
        home.set_outbox_full(true);
        let mut waits = pin!(home.outbox_room());
        assert!(poll_fn(|context| std::task::Poll::Ready(waits.as_mut().poll(context))).await.is_pending());
        home.set_outbox_full(false);
        waits.await;
    }

    /// Were they noted before their turn, those that follow could be carried out between.
    #[test]
    fn words_are_noted_when_it_is_their_turn_to_be_carried_out() {
        use std::future::Future as _;
        use std::pin::pin;
        use std::sync::mpsc::sync_channel;
        use std::task::{Context, Waker};
        use std::time::{Duration, Instant};

        let (home, _words) = home();
        let attachment = home.link.attach();
        let is_noted = || {
            let noted = pin!(home.link.until_attached(attachment));
            noted.poll(&mut Context::from_waker(Waker::noop())).is_ready()
        };
        let (says, said) = sync_channel(1);
        let others = home.directory.lock();
        std::thread::scope(|threads| {
            threads.spawn(|| {
                says.send(()).unwrap();
                home.hear(Word::Told(Told {
                    attachment,
                    number: 0,
                    outbox_full: false,
                    routes: 0,
                    more: false,
                    effects: Vec::new(),
                }));
            });
            said.recv().unwrap();
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_millis(200) {
                assert!(!is_noted(), "before its turn");
                std::thread::yield_now();
            }
            drop(others);
        });
        assert!(is_noted());
    }
}
