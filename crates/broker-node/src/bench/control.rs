//! What the connections of a run share: its phase, the counters of the progress line, the window
//! that publishers and subscribers close together. Set by `coordinator`; it does no I/O.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

/// How far a run has come; it only goes forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Phase {
    /// Connections are opened and subscribed.
    Connecting,
    /// Publishers publish.
    Running,
    /// Nothing new is published; what is under way may arrive.
    Draining,
    /// Subscribers that were away are back, and get what has queued up.
    Returning,
    /// Connections are closed.
    Stopping,
}

impl Phase {
    fn from_u8(value: u8) -> Self {
        match value {
            0 => Self::Connecting,
            1 => Self::Running,
            2 => Self::Draining,
            3 => Self::Returning,
            _ => Self::Stopping,
        }
    }
}

/// The phase, and the tasks that want to know when it changes.
#[derive(Debug)]
pub(super) struct Control {
    phase: AtomicU8,
    wakers: Wakers,
}

impl Control {
    pub(super) fn new() -> Self {
        Self { phase: AtomicU8::new(Phase::Connecting as u8), wakers: Wakers::default() }
    }

    pub(super) fn phase(&self) -> Phase {
        Phase::from_u8(self.phase.load(Ordering::SeqCst))
    }

    /// Goes forward to `phase` and wakes everybody who registered.
    pub(super) fn advance(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, Ordering::SeqCst);
        self.wakers.wake_all();
    }

    /// Wakes `waker` at every change from now on. A task registers once: its waker stays valid.
    pub(super) fn register(&self, waker: &Waker) {
        self.wakers.register(waker);
    }

    /// Waits until the run has come to `phase`.
    pub(super) async fn reached(&self, phase: Phase) {
        let mut registered = false;
        std::future::poll_fn(|cx| {
            if !registered {
                self.register(cx.waker());
                registered = true;
            }
            if self.phase() >= phase { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

/// Wakers of tasks that live as long as the run. Bounded by the number of connections.
#[derive(Debug, Default)]
struct Wakers(Mutex<Vec<Waker>>);

impl Wakers {
    fn lock(&self) -> MutexGuard<'_, Vec<Waker>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn register(&self, waker: &Waker) {
        self.lock().push(waker.clone());
    }

    fn wake_all(&self) {
        for waker in self.lock().iter() {
            waker.wake_by_ref();
        }
    }
}

/// Counters that the coordinator watches while the run goes on.
#[derive(Debug, Default)]
pub(super) struct Live {
    pub(super) connected: AtomicU64,
    /// Connections that are ready to start, or have failed.
    pub(super) settled: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) published: AtomicU64,
    pub(super) delivered: AtomicU64,
    /// Subscribers that are back, or could not come back.
    pub(super) returned: AtomicU64,
    /// Publishers with nothing more to send and nothing unacknowledged.
    pub(super) publishers_done: AtomicU64,
    /// Subscribers whose connection has ended.
    pub(super) subscribers_gone: AtomicU64,
}

impl Live {
    pub(super) fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn get(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::Relaxed)
    }
}

/// Messages under way between the publishers and the subscribers of one group.
///
/// A message counts from its publication to its delivery, so that a publisher cannot fill the
/// queues of a broker whose subscribers do not keep up. Lost messages are forgiven after a while.
#[derive(Debug)]
pub(super) struct Window {
    messages_max: u64,
    /// Deliveries that each message makes.
    copies: u64,
    published: AtomicU64,
    delivered: AtomicU64,
    blocked: AtomicBool,
    publishers: Wakers,
}

impl Window {
    pub(super) fn new(messages_max: u64, copies: u64) -> Self {
        Self {
            messages_max,
            copies: copies.max(1),
            published: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            blocked: AtomicBool::new(false),
            publishers: Wakers::default(),
        }
    }

    /// Makes `waker` one of those that are woken when a full window has room again. Once a task.
    pub(super) fn register(&self, waker: &Waker) {
        self.publishers.register(waker);
    }

    /// Messages that may be published now. Where it is 0, the publishers are woken once that changes.
    pub(super) fn room(&self) -> u64 {
        let room = self.room_now();
        if room > 0 {
            return room;
        }
        self.blocked.store(true, Ordering::SeqCst);
        self.room_now()
    }

    pub(super) fn publish(&self, messages: u64) {
        self.published.fetch_add(messages, Ordering::SeqCst);
    }

    pub(super) fn deliver(&self, deliveries: u64) {
        self.delivered.fetch_add(deliveries, Ordering::SeqCst);
        if self.blocked.load(Ordering::SeqCst) && self.room_now() > 0 {
            self.blocked.store(false, Ordering::SeqCst);
            self.publishers.wake_all();
        }
    }

    /// Whether a publisher waits for room.
    pub(super) fn is_blocked(&self) -> bool {
        self.blocked.load(Ordering::SeqCst)
    }

    pub(super) fn deliveries(&self) -> u64 {
        self.delivered.load(Ordering::SeqCst)
    }

    /// Takes everything under way for lost, so that publishers go on.
    pub(super) fn forgive(&self) {
        let expected = self.published.load(Ordering::SeqCst).saturating_mul(self.copies);
        self.deliver(expected.saturating_sub(self.deliveries()));
    }

    fn room_now(&self) -> u64 {
        let arrived = self.delivered.load(Ordering::SeqCst) / self.copies;
        let under_way = self.published.load(Ordering::SeqCst).saturating_sub(arrived);
        self.messages_max.saturating_sub(under_way)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_full_window_wakes_its_publisher_once_there_is_room() {
        let count = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&count));
        let window = Window::new(2, 3);
        window.register(&waker);
        assert_eq!(window.room(), 2);
        window.publish(2);
        assert_eq!(window.room(), 0);
        window.deliver(2);
        assert_eq!(count.0.load(Ordering::SeqCst), 0, "one of three copies is still under way");
        window.deliver(1);
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
        assert_eq!(window.room(), 1);
        window.publish(1);
        assert_eq!(window.room(), 0);
        window.forgive();
        assert_eq!(window.room(), 2);
    }

    #[test]
    fn a_run_only_goes_forward() {
        let control = Control::new();
        control.advance(Phase::Draining);
        control.advance(Phase::Running);
        assert_eq!(control.phase(), Phase::Draining);
    }
}
