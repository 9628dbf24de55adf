//! What a connection holds back while its node may not acknowledge anything: answers of shards, and acknowledgements whose
//! turn it is. They leave, in their order, when the node has a lease again. QoS 0 goes on meanwhile.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use mqtt_codec::ReasonCode;
use session_store::command::Reply;
use tokio::time::{Sleep, sleep};

use super::{Client, Ending};
use crate::lease::Admission;

/// Between two looks whether the node has a lease: leases lapse seldom, and are granted several times a second.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Answers that wait. Bounded by what a client may ask for at a time.
#[derive(Debug, Default)]
pub(crate) struct Silence {
    replies: Vec<Reply>,
    again: Option<Pin<Box<Sleep>>>,
}

impl Client {
    /// Whether something may be acknowledged on this connection now.
    pub(crate) fn admission(&self) -> Admission {
        self.worker.node.lease.admission(&self.id, (self.epoch, self.inbox.id()))
    }

    /// Keeps an answer if it may not leave now, or others wait before it; else returns it.
    pub(crate) fn hold_back(&mut self, reply: Reply) -> Option<Reply> {
        if self.silence.is_none() && self.admission() == Admission::Admitted {
            return Some(reply);
        }
        self.be_silent().replies.push(reply);
        None
    }

    /// Looks again and again from now on whether acknowledgements may leave.
    pub(crate) fn be_silent(&mut self) -> &mut Silence {
        self.silence.get_or_insert_default()
    }

    /// Lets what was held back go as soon as it may; ready when it went.
    ///
    /// # Errors
    /// The client is taken over elsewhere, and nothing may be acknowledged here any more.
    pub(crate) fn poll_silence(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Ending>> {
        loop {
            if self.silence.is_none() {
                return Poll::Pending;
            }
            match self.admission() {
                Admission::Admitted => return Poll::Ready(self.break_silence()),
                Admission::Fenced => {
                    let why = "session taken over while this node could not be asked";
                    return Poll::Ready(Err(Ending::told(ReasonCode::SessionTakenOver, why)));
                }
                Admission::Silent => {}
            }
            let again = self.be_silent().again.get_or_insert_with(|| Box::pin(sleep(LOOK_EVERY)));
            if again.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            self.be_silent().again = None;
        }
    }

    fn break_silence(&mut self) -> Result<(), Ending> {
        let held = self.silence.take().map(|silence| silence.replies).unwrap_or_default();
        let mut ending = Ok(());
        for reply in held {
            ending = ending.and(self.handle_reply(reply));
        }
        self.send_due_acks();
        ending
    }
}
