//! What is said on one connection: the status, the command topic, measurements and answers, and what comes back.
//! Called by the uplink. Back-pressure is never taken for a broken connection, and nothing is forgotten before it is acknowledged.

use embassy_futures::select::{Either3, select3};
use embassy_time::{Duration, Instant, Timer, with_timeout};
use embedded_io_async::{Read, Write};
use heapless::Deque;
use minimq::{
    Connection, Disconnect, Error, InboundPublish, Op, OwnedResponseTarget, PeerError, PubError, Publication,
    QoS, RetainHandling, SubscriptionOptions, TopicFilter,
};

use super::uplink::cause_of;
use super::{Observer, Shared};
use crate::backoff::Backoff;
use crate::command::{self, Answer};
use crate::event::{Cause, Event};
use crate::outbox::Fate;
use crate::topics::Topics;

/// How long a broker may take to acknowledge anything of what it was sent, and the link to take a packet.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// Where nothing is expected: a time that every clock can be set to.
const NOTHING_EXPECTED: Duration = Duration::from_secs(3_600);
/// Answers that wait to be sent.
const ANSWERS_MAX: usize = 4;
const ONLINE: &str = "online";

/// Where an answer goes: bytes of its topic and of the correlation data.
type Target = OwnedResponseTarget<128, 64>;

/// Something to be said once.
#[derive(Debug, Default)]
enum Step {
    #[default]
    Due,
    Sent(Op),
    Done,
}

/// What is remembered from one connection to the next.
#[derive(Debug, Default)]
pub(super) struct Memo {
    subscribed: Step,
    online: Step,
    answers: Deque<(Target, Answer), ANSWERS_MAX>,
}

impl Memo {
    /// The will may have been published since, and a new session has no subscription.
    pub(super) fn connected(&mut self, resumed: bool) {
        self.online = Step::Due;
        if !resumed {
            self.subscribed = Step::Due;
        }
    }
}

/// What is sent next.
#[expect(clippy::large_enum_variant, reason = "there is one at a time, and no allocator")]
enum Next {
    Online,
    Answer(Target, Answer),
    Measurement(crate::reading::Measurement),
}

pub(super) struct Conversation<'c, 'm, 'a, IO, O> {
    pub(super) connection: Connection<'c, 'm, IO>,
    pub(super) topics: &'c Topics,
    pub(super) shared: &'c Shared<'a, O>,
    pub(super) memo: &'c mut Memo,
    pub(super) backoff: &'c mut Backoff,
    /// In milliseconds, for commands.
    pub(super) shortest_ms: u32,
}

impl<IO: Read + Write, O: Observer> Conversation<'_, '_, '_, IO, O> {
    /// `Ok` when all that was asked for is acknowledged and the broker has been told.
    pub(super) async fn run(mut self) -> Result<(), Cause> {
        let mut expecting_since = None;
        loop {
            self.subscribe().await?;
            let progress = self.settle();
            self.send_due().await?;
            let expects = self.expects_something();
            if !expects {
                // Only now has this broker shown that it does what brokers do.
                self.backoff.reset();
                if self.shared.finished.get() {
                    return self.leave().await;
                }
            }
            if progress || !expects {
                expecting_since = None;
            }
            let silent = match expects {
                true => *expecting_since.get_or_insert_with(Instant::now) + SILENCE_MAX,
                false => Instant::now() + NOTHING_EXPECTED,
            };
            match select3(self.connection.poll(), self.shared.filled.wait(), Timer::at(silent)).await {
                Either3::First(Ok(Some(publish))) => {
                    hear(self.shared, self.memo, &publish, self.shortest_ms);
                }
                Either3::First(Err(error)) => self.judge(&error)?,
                Either3::Third(()) if expects => return Err(Cause::Silent),
                Either3::First(Ok(None)) | Either3::Second(()) | Either3::Third(()) => {}
            }
        }
    }

    /// The command topic, once a session. Nothing else is sent before it is answered: that is how a refusal is known to be
    /// this one's.
    async fn subscribe(&mut self) -> Result<(), Cause> {
        if !matches!(self.memo.subscribed, Step::Due) {
            return Ok(());
        }
        let options = SubscriptionOptions::default()
            .maximum_qos(QoS::AtLeastOnce)
            .retain_behavior(RetainHandling::Never);
        let filter = [TopicFilter::new(&self.topics.command).options(options)];
        match with_timeout(SILENCE_MAX, self.connection.subscribe(&filter, &[])).await {
            Ok(Ok(op)) => self.memo.subscribed = Step::Sent(op),
            Ok(Err(error)) if is_back_pressure(&error) => {}
            Ok(Err(error)) => return Err(cause_of(&error)),
            Err(_) => return Err(Cause::Silent),
        }
        Ok(())
    }

    /// Looks at what has been answered. Whether anything was.
    fn settle(&mut self) -> bool {
        let connection = &self.connection;
        let mut changed = false;
        for step in [&mut self.memo.subscribed, &mut self.memo.online] {
            if let Step::Sent(op) = step
                && connection.is_complete(op)
            {
                *step = Step::Done;
                changed = true;
            }
        }
        let mut outbox = self.shared.outbox.borrow_mut();
        let before = (outbox.acknowledged, outbox.dropped);
        changed |= outbox.settle(|op| match op {
            op if connection.is_complete(op) => Fate::Answered,
            op if connection.is_invalidated(op) => Fate::Lost,
            _ => Fate::Open,
        });
        let after = (outbox.acknowledged, outbox.dropped);
        drop(outbox);
        if after.0 != before.0 {
            self.shared.tell(Event::Acknowledged(after.0));
        }
        if after.1 != before.1 {
            self.shared.tell(Event::Dropped(after.1));
        }
        changed
    }

    /// Something is on its way, or has to be sent and could not be yet.
    fn expects_something(&self) -> bool {
        let outbox = self.shared.outbox.borrow();
        let said = matches!((&self.memo.subscribed, &self.memo.online), (Step::Done, Step::Done));
        !said
            || outbox.has_sent()
            || outbox.has_waiting()
            || !self.connection.session().is_publish_quiescent()
    }

    /// Sends until there is nothing to send or no room on the way: what comes in makes room then.
    async fn send_due(&mut self) -> Result<(), Cause> {
        if !matches!(self.memo.subscribed, Step::Done) {
            return Ok(());
        }
        while self.connection.can_publish(QoS::AtLeastOnce) {
            let Some(next) = self.next() else { break };
            if !self.send(next).await? {
                break;
            }
        }
        Ok(())
    }

    fn next(&mut self) -> Option<Next> {
        if matches!(self.memo.online, Step::Due) {
            return Some(Next::Online);
        }
        if let Some((target, answer)) = self.memo.answers.pop_front() {
            return Some(Next::Answer(target, answer));
        }
        self.shared.outbox.borrow_mut().take().map(Next::Measurement)
    }

    /// `false` when there is no room now.
    async fn send(&mut self, next: Next) -> Result<bool, Cause> {
        let payload;
        let publication = match &next {
            Next::Online => Publication::text(&self.topics.status, ONLINE).retain(),
            Next::Answer(target, answer) => target.publication(answer.as_str()),
            Next::Measurement(measurement) => {
                payload = measurement.payload();
                Publication::text(self.topics.of(measurement.quantity), payload.as_str())
            }
        };
        let publish = self.connection.publish(publication.qos(QoS::AtLeastOnce));
        let published = match with_timeout(SILENCE_MAX, publish).await {
            Ok(published) => published,
            Err(_) => {
                self.take_back(next);
                return Err(Cause::Silent);
            }
        };
        match published {
            Ok(op) => {
                self.sent(next, op);
                Ok(true)
            }
            Err(PubError::Session(error)) if is_back_pressure(&error) => {
                self.take_back(next);
                Ok(false)
            }
            Err(error) => {
                self.take_back(next);
                Err(match error {
                    PubError::Session(error) => cause_of(&error),
                    PubError::Payload(()) => Cause::Protocol,
                })
            }
        }
    }

    fn sent(&mut self, next: Next, op: Option<Op>) {
        match (next, op) {
            (Next::Online, Some(op)) => self.memo.online = Step::Sent(op),
            (Next::Measurement(measurement), Some(op)) => {
                self.shared.outbox.borrow_mut().sent(measurement, op);
            }
            // An answer is on its way, and nobody waits for its acknowledgement.
            (Next::Answer(..), _) => {}
            (_, None) => debug_assert!(false, "QoS 1 always has an operation"),
        }
    }

    fn take_back(&mut self, next: Next) {
        match next {
            Next::Online => {}
            Next::Answer(target, answer) => {
                if self.memo.answers.push_front((target, answer)).is_err() {
                    self.shared.tell(Event::NoAnswer);
                }
            }
            Next::Measurement(measurement) => self.shared.outbox.borrow_mut().give_back(measurement),
        }
    }

    /// An error while waiting. A refused measurement ends the connection, and is sent again on the next: another broker may
    /// take it, and a quota is free again some time. A refused subscription or status does not stop measurements.
    fn judge(&mut self, error: &Error<IO::Error>) -> Result<(), Cause> {
        if is_back_pressure(error) {
            return Ok(());
        }
        let Error::Peer(PeerError::Rejected(code)) = error else { return Err(cause_of(error)) };
        let connection = &self.connection;
        let mut outbox = self.shared.outbox.borrow_mut();
        if outbox.any_sent(|op| connection.is_complete(op)) {
            // Which of those that were just answered is not said: all of them go again, as QoS 1 allows.
            outbox.settle(|op| if connection.is_complete(op) { Fate::Lost } else { Fate::Open });
            return Err(Cause::Refused(*code));
        }
        drop(outbox);
        self.shared.tell(Event::Refused(*code));
        Ok(())
    }

    /// Ends on purpose: the broker publishes the will, since nobody is there any more.
    async fn leave(&mut self) -> Result<(), Cause> {
        match with_timeout(SILENCE_MAX, self.connection.disconnect_with(Disconnect::with_will())).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(cause_of(&error)),
            Err(_) => Err(Cause::Silent),
        }
    }
}

/// No room now, and there will be some when answers have come.
fn is_back_pressure<E>(error: &Error<E>) -> bool {
    matches!(error, Error::NotReady | Error::Resource(_))
}

/// A message on the command topic: the one topic that is subscribed to.
fn hear<O: Observer>(
    shared: &Shared<'_, O>,
    memo: &mut Memo,
    publish: &InboundPublish<'_>,
    shortest_ms: u32,
) {
    let command::Decision { interval_ms, answer } =
        command::decide(publish.payload(), shared.interval_ms.get(), shortest_ms);
    if let Some(interval_ms) = interval_ms {
        shared.interval_ms.set(interval_ms);
        shared.interval_changed.signal(());
        shared.tell(Event::IntervalChanged(interval_ms));
    }
    let queued = match publish.reply_owned() {
        Ok(Some(target)) => memo.answers.push_back((target, answer)).is_ok(),
        // Whoever does not say where wants no answer.
        Ok(None) => true,
        Err(_) => false,
    };
    if !queued {
        shared.tell(Event::NoAnswer);
    }
}
