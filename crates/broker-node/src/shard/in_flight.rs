//! Retained publishes of this node that are on their way to the home of their topic: from before they are matched until the
//! home has answered. Who looks up retained messages waits for those that began before: another subscriber of the same
//! host may have had them already, so that whoever came later gets them by the look-up or not at all.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Those that are on their way to one shard.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    flights: Mutex<Flights>,
    ended: Notify,
}

#[derive(Debug, Default)]
struct Flights {
    /// How many have begun.
    begun: u64,
    /// The numbers of those that have not ended.
    open: BTreeSet<u64>,
}

/// One that is on its way, until this is dropped.
#[derive(Debug)]
pub(crate) struct Flight {
    of: Arc<InFlight>,
    number: u64,
}

impl InFlight {
    /// Begins one: to be called before the message is matched.
    pub(super) fn begin(self: &Arc<Self>) -> Flight {
        let mut flights = self.flights.lock();
        flights.begun += 1;
        let number = flights.begun;
        flights.open.insert(number);
        Flight { of: Arc::clone(self), number }
    }

    fn has_ended_up_to(&self, number: u64) -> bool {
        self.flights.lock().open.first().is_none_or(|first| *first > number)
    }

    /// Waits until all that have begun by now have ended.
    pub(super) async fn until_settled(&self) {
        let begun = self.flights.lock().begun;
        loop {
            let ended = self.ended.notified();
            if self.has_ended_up_to(begun) {
                return;
            }
            ended.await;
        }
    }

    /// Whether none is on its way.
    pub(super) fn is_settled(&self) -> bool {
        self.flights.lock().open.is_empty()
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let mut flights = self.of.flights.lock();
        flights.open.remove(&self.number);
        drop(flights);
        self.of.ended.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use super::*;

    #[test]
    fn who_waits_waits_for_what_began_before_and_not_for_what_comes_later() {
        let in_flight = Arc::new(InFlight::default());
        let [first, second] = [(); 2].map(|()| in_flight.begin());
        let mut settled = std::pin::pin!(in_flight.until_settled());
        let mut context = Context::from_waker(Waker::noop());
        assert!(settled.as_mut().poll(&mut context).is_pending());
        let later = in_flight.begin();
        drop(second);
        assert!(settled.as_mut().poll(&mut context).is_pending());
        drop(first);
        assert!(settled.as_mut().poll(&mut context).is_ready());
        assert!(!in_flight.is_settled());
        drop(later);
        assert!(in_flight.is_settled());
    }
}
