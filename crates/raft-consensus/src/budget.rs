//! Bytes that may wait somewhere, held by whoever puts something there. Used by a group for its mailbox and for what
//! passes its log by; knows nothing of what the bytes are.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::group::Gone;

/// A number of bytes. Clones are the same budget.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    free: Arc<Semaphore>,
    bytes: u32,
}

/// Bytes of a budget, given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    _bytes: OwnedSemaphorePermit,
}

impl Budget {
    /// All of it is free; up to 4 GiB.
    pub(crate) fn of(bytes: usize) -> Self {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        Self { free: Arc::new(Semaphore::new(bytes as usize)), bytes }
    }

    /// Takes so many bytes, or all there are for something larger, which is there alone then. Waits for them in the
    /// order of calls, so that something large is not overtaken for ever; who stops waiting has taken nothing.
    ///
    /// # Errors
    /// Never as long as nobody closes the budget, and nobody does.
    pub(crate) async fn hold(&self, bytes: usize) -> Result<Held, Gone> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(self.bytes);
        let held = Arc::clone(&self.free).acquire_many_owned(bytes).await;
        held.map(|bytes| Held { _bytes: bytes }).map_err(|_| Gone)
    }
}

#[cfg(test)]
mod tests {
    use std::future::{Future, poll_fn};
    use std::pin::pin;
    use std::task::Poll;

    use super::*;

    /// What a future gives when it is polled once.
    async fn once<T>(mut future: impl Future<Output = T> + Unpin) -> Option<T> {
        poll_fn(|context| match std::pin::Pin::new(&mut future).poll(context) {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending => Poll::Ready(None),
        })
        .await
    }

    #[tokio::test]
    async fn what_is_held_is_bounded_and_comes_back() {
        let budget = Budget::of(10);
        let (four, six) = (budget.hold(4).await.unwrap(), budget.hold(6).await.unwrap());
        let mut more = pin!(budget.hold(1));
        assert!(once(more.as_mut()).await.is_none());
        drop(six);
        assert!(once(more.as_mut()).await.is_some());
        drop(four);
    }

    #[tokio::test]
    async fn what_is_larger_than_all_of_it_passes_alone() {
        let budget = Budget::of(10);
        let one = budget.hold(1).await.unwrap();
        let mut large = pin!(budget.hold(usize::MAX));
        assert!(once(large.as_mut()).await.is_none());
        drop(one);
        let large = once(large.as_mut()).await.unwrap().unwrap();
        assert!(once(pin!(budget.hold(1))).await.is_none());
        drop(large);
        assert!(once(pin!(budget.hold(1))).await.is_some());
    }

    #[tokio::test]
    async fn nobody_is_overtaken_and_who_gives_up_holds_nobody_up() {
        let budget = Budget::of(10);
        let nine = budget.hold(9).await.unwrap();
        {
            let mut large = pin!(budget.hold(10));
            assert!(once(large.as_mut()).await.is_none());
            assert!(once(pin!(budget.hold(1))).await.is_none(), "it would fit, and waits for its turn");
        }
        assert!(once(pin!(budget.hold(1))).await.is_some());
        drop(nine);
    }
}
