//! Requests that wait for space before they have a number, so that what only takes something out of a shard does not come
//! behind them. One for each shard, emptied in order by a task of it when there is space. Never refuses a request, since
//! a client would not repeat it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mqtt_codec::ReasonCode;
use parking_lot::Mutex;
use session_store::command::Command;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::link::Asker;
use super::weight;
use crate::inbox::Inbox;

/// Bytes of the requests that wait for one shard at most, but for one that is larger by itself; whoever has more waits
/// with it.
const BYTES_MAX: u32 = 8 << 20;
/// Bytes that a request takes besides its messages, at most.
const REQUEST_BYTES: usize = 1_024;

/// What waits for one shard.
#[derive(Debug)]
pub(super) struct Parked {
    waiting: Mutex<Waiting>,
    /// How many wait or are about to.
    count: Arc<AtomicUsize>,
    bytes: Arc<Semaphore>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    requests: VecDeque<Request>,
    /// How many there were before these.
    passed: u64,
}

/// A request that has no number yet.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) command: Command,
    pub(super) asker: Asker,
    /// Until it has its number, everything else that needs space waits behind it.
    pub(super) ticket: Ticket,
    _bytes: OwnedSemaphorePermit,
}

/// Counts a request while it waits.
#[derive(Debug)]
pub(super) struct Ticket {
    count: Arc<AtomicUsize>,
    inbox: Option<Arc<Inbox>>,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::AcqRel);
        if let Some(inbox) = &self.inbox {
            inbox.unpark();
        }
    }
}

impl Default for Parked {
    fn default() -> Self {
        Self {
            waiting: Mutex::default(),
            count: Arc::default(),
            bytes: Arc::new(Semaphore::new(BYTES_MAX as usize)),
            filled: Notify::new(),
        }
    }
}

impl Parked {
    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }

    /// Adds a request; waits while too much is there. Whoever does not wait so long has added nothing.
    pub(super) async fn put(&self, command: Command, asker: Asker) {
        self.count.fetch_add(1, Ordering::AcqRel);
        if let Some(inbox) = &asker.inbox {
            inbox.park();
        }
        let ticket = Ticket { count: Arc::clone(&self.count), inbox: asker.inbox.clone() };
        let bytes = weight::command(&command).bytes + REQUEST_BYTES;
        let bytes = u32::try_from(bytes).unwrap_or(BYTES_MAX).min(BYTES_MAX);
        // Nobody closes it.
        let Ok(bytes) = Arc::clone(&self.bytes).acquire_many_owned(bytes).await else { return };
        self.waiting.lock().requests.push_back(Request { command, asker, ticket, _bytes: bytes });
        self.filled.notify_one();
    }

    /// Waits until a request waits.
    pub(super) async fn filled(&self) {
        while self.waiting.lock().requests.is_empty() {
            self.filled.notified().await;
        }
    }

    /// The request that waits longest.
    pub(super) fn take(&self) -> Option<Request> {
        let mut waiting = self.waiting.lock();
        let request = waiting.requests.pop_front()?;
        waiting.passed += 1;
        Some(request)
    }

    /// How many requests have come so far.
    pub(super) fn seen(&self) -> u64 {
        let waiting = self.waiting.lock();
        waiting.passed + waiting.requests.len() as u64
    }

    /// Ends the connections of those that still wait of the first so many.
    pub(super) fn end_first(&self, seen: u64, reason: ReasonCode) {
        let waiting = self.waiting.lock();
        let first = usize::try_from(seen.saturating_sub(waiting.passed)).unwrap_or(usize::MAX);
        for request in waiting.requests.iter().take(first) {
            if let Some(inbox) = &request.asker.inbox {
                inbox.end(reason);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;
    use std::task::Poll;

    use bytes::Bytes;
    use mqtt_codec::{PacketId, QoS, SharedPublish, Text};
    use session_store::command::Receive;
    use session_store::{ClientId, Epoch, Message};

    use super::*;

    fn receive(id: u16, bytes: usize) -> Command {
        let payload = Bytes::from(vec![0; bytes]);
        let body = SharedPublish::new(&Text::new("t").unwrap(), &Bytes::new(), &payload);
        let message = Arc::new(Message { body, qos: QoS::ExactlyOnce, retain: false, expires_at: None });
        let packet_id = PacketId::new(id).unwrap();
        Command::Receive(Receive { client: ClientId::new("c"), epoch: Epoch::default(), packet_id, message })
    }

    fn id_of(request: &Request) -> u16 {
        match &request.command {
            Command::Receive(receive) => receive.packet_id.get(),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn requests_come_out_in_their_order_and_wait_within_a_bound() {
        let parked = Parked::default();
        for id in 1..=2 {
            parked.put(receive(id, 3 << 20), Asker::default()).await;
        }
        let mut third = pin!(parked.put(receive(3, 3 << 20), Asker::default()));
        assert!(poll_fn(|context| Poll::Ready(third.as_mut().poll(context))).await.is_pending());
        assert_eq!(parked.seen(), 2);
        let first = parked.take().unwrap();
        assert_eq!(id_of(&first), 1);
        drop(first);
        third.await;
        assert_eq!([id_of(&parked.take().unwrap()), id_of(&parked.take().unwrap())], [2, 3]);
        assert!(parked.is_empty());
        assert_eq!(parked.seen(), 3);
        parked.put(receive(4, 100 << 20), Asker::default()).await;
        assert_eq!(id_of(&parked.take().unwrap()), 4, "one that is larger than all the room is there alone");
    }

    #[tokio::test]
    async fn who_gives_up_has_added_nothing_and_a_request_counts_until_it_has_its_number() {
        let parked = Parked::default();
        parked.put(receive(1, BYTES_MAX as usize), Asker::default()).await;
        {
            let mut second = pin!(parked.put(receive(2, 1), Asker::default()));
            assert!(poll_fn(|context| Poll::Ready(second.as_mut().poll(context))).await.is_pending());
        }
        let Request { ticket, .. } = parked.take().unwrap();
        assert!(!parked.is_empty(), "nothing may overtake it yet");
        drop(ticket);
        assert!(parked.is_empty());
    }
}
