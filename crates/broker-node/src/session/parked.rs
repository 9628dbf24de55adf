//! Publishes that no lease allows to pass on: they wait, in their order, and are matched again as soon as one does. Their
//! acknowledgements are owed meanwhile, so that the Receive Maximum bounds them; what is more is not read.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use session_store::MessageRef;
use tokio::time::{Sleep, sleep};

use super::Client;

/// Between two looks whether there is a lease.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What waits, each with the number of its acknowledgement; 0 is none.
#[derive(Debug, Default)]
pub(crate) struct ParkedPublishes {
    messages: VecDeque<(MessageRef, u64)>,
    bytes: usize,
    again: Option<Pin<Box<Sleep>>>,
}

impl Client {
    /// Whether publishes wait, so that those behind them do too.
    pub(crate) fn has_parked(&self) -> bool {
        self.parked.is_some()
    }

    /// Bytes of the publishes that wait.
    pub(super) fn parked_bytes(&self) -> usize {
        self.parked.as_ref().map_or(0, |parked| parked.bytes)
    }

    /// Lets a publish wait. What was gathered before it leaves without it.
    pub(crate) fn park(&mut self, message: MessageRef, number: u64) {
        let parked = self.parked.get_or_insert_default();
        parked.bytes += message.size();
        parked.messages.push_back((message, number));
    }

    /// Passes on what waits as soon as a lease allows it; ready when all of it went.
    pub(crate) fn poll_parked(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while self.parked.is_some() {
            if self.unpark() {
                self.flush_run();
                self.send_due_acks();
                return Poll::Ready(());
            }
            let Some(parked) = &mut self.parked else { break };
            let again = parked.again.get_or_insert_with(|| Box::pin(sleep(LOOK_EVERY)));
            if again.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            parked.again = None;
        }
        Poll::Pending
    }

    /// Passes on what it may; says whether that was all.
    fn unpark(&mut self) -> bool {
        while let Some((message, number)) =
            self.parked.as_ref().and_then(|parked| parked.messages.front().cloned())
        {
            let Some((waits, _)) = self.send_matched(&message, number, true) else { return false };
            self.acks.waits_for(number, waits);
            // It waited for being matched itself.
            self.acks.answered(number, None);
            if let Some(parked) = &mut self.parked {
                parked.messages.pop_front();
                parked.bytes -= message.size();
            }
        }
        self.parked = None;
        true
    }

    /// The connection ends: what waits was never acknowledged, and never is.
    pub(crate) fn drop_parked(&mut self) {
        let parked = self.parked.take();
        let first = parked.iter().flat_map(|parked| &parked.messages).find(|(_, number)| *number != 0);
        first.into_iter().for_each(|(_, number)| self.acks.give_up_from(*number));
    }
}
