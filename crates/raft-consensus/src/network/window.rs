//! How much of a stream may be on its way: so many requests and so many bytes. Shared by the two halves of a pipelined
//! append; it also knows since when an answer is wanting.

use std::collections::VecDeque;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Requests on their way at most, as many as the receiver takes before it makes the sender wait.
const REQUESTS_MAX: usize = 64;
/// Bytes on their way at most, but for one request that is larger by itself.
const BYTES_MAX: usize = 4 << 20;

#[derive(Debug)]
struct Inner<I> {
    /// When each request that is not answered was sent, and its bytes.
    sent: VecDeque<(I, usize)>,
    bytes: usize,
    /// There will be no more requests.
    ended: bool,
}

/// The window of one stream; `I` is an instant.
#[derive(Debug)]
pub(super) struct Window<I> {
    inner: Mutex<Inner<I>>,
    room: Notify,
    /// Told when nobody waits for answers any more.
    closed: Notify,
}

impl<I: Copy> Window<I> {
    pub(super) fn new() -> Self {
        let inner = Mutex::new(Inner { sent: VecDeque::new(), bytes: 0, ended: false });
        Self { inner, room: Notify::new(), closed: Notify::new() }
    }

    /// Waits until a request of so many bytes may be sent, and counts it from `now()` on.
    pub(super) async fn enter(&self, bytes: usize, now: impl Fn() -> I) {
        loop {
            let told = self.room.notified();
            {
                let mut inner = self.inner.lock();
                let fits = inner.sent.len() < REQUESTS_MAX && inner.bytes + bytes <= BYTES_MAX;
                if inner.sent.is_empty() || fits {
                    inner.sent.push_back((now(), bytes));
                    inner.bytes += bytes;
                    return;
                }
            }
            told.await;
        }
    }

    /// The oldest request was answered. False where none was sent.
    pub(super) fn leave(&self) -> bool {
        let left = {
            let mut inner = self.inner.lock();
            let left = inner.sent.pop_front();
            inner.bytes = inner.bytes.saturating_sub(left.as_ref().map_or(0, |(_, bytes)| *bytes));
            left.is_some()
        };
        self.room.notify_one();
        left
    }

    /// Takes note that nobody waits for answers any more.
    pub(super) fn close(&self) {
        self.closed.notify_one();
    }

    /// Waits until nobody waits for answers any more.
    pub(super) async fn closed(&self) {
        self.closed.notified().await;
    }

    /// Takes note that there are no more requests.
    pub(super) fn end(&self) {
        self.inner.lock().ended = true;
    }

    /// When the oldest request without an answer was sent.
    pub(super) fn oldest(&self) -> Option<I> {
        self.inner.lock().sent.front().map(|(sent, _)| *sent)
    }

    /// Whether everything was sent and answered.
    pub(super) fn is_done(&self) -> bool {
        let inner = self.inner.lock();
        inner.ended && inner.sent.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn requests_wait_while_too_many_or_too_much_is_on_its_way() {
        let window = Window::new();
        for sent in 0..REQUESTS_MAX {
            assert!(window.enter(1, || sent).now_or_never().is_some());
        }
        assert!(window.enter(1, || 99).now_or_never().is_none());
        assert_eq!(window.oldest(), Some(0));
        assert!(window.leave());
        assert_eq!(window.oldest(), Some(1));
        assert!(window.enter(BYTES_MAX, || 99).now_or_never().is_none(), "too many bytes");
        while window.leave() {}
        assert!(window.enter(2 * BYTES_MAX, || 99).now_or_never().is_some(), "one alone may be larger");
        window.end();
        assert!(!window.is_done());
        assert!(window.leave() && window.is_done() && !window.leave());
    }
}
