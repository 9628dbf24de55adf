//! How fast one client may publish: what it sends is taken as it comes, and when that is more than its rates allow, its connection is
//! not read until it is not. Owned by the connection; there is none where there is no limit.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Sleep, sleep};

use super::rate::{Bucket, Rate};
use crate::clock::Clock;
use crate::config::LimitSettings;

/// What a client may publish in a second, and what it has used of that.
#[derive(Debug)]
pub(crate) struct Throttle {
    clock: Clock,
    messages: Option<(Rate, Bucket)>,
    bytes: Option<(Rate, Bucket)>,
    /// Until when the client is not read.
    pause: Option<Pin<Box<Sleep>>>,
}

impl Throttle {
    /// Under these limits; `None` where there are none.
    pub(crate) fn new(limits: &LimitSettings, clock: Clock) -> Option<Box<Self>> {
        let full = |rate| (rate, Bucket::default());
        let messages = Rate::new(limits.publishes_per_second_max).map(full);
        let bytes = Rate::new(limits.publish_bytes_per_second_max).map(full);
        let limited = messages.is_some() || bytes.is_some();
        limited.then(|| Box::new(Self { clock, messages, bytes, pause: None }))
    }

    /// The client has published one message of so many bytes; says whether it is not read for a while now.
    pub(crate) fn published(&mut self, bytes: usize) -> bool {
        let now = self.clock.uptime();
        let pause = self.take(bytes, now).map(|pause| Box::pin(sleep(pause)));
        let pauses = pause.is_some();
        self.pause = pause.or(self.pause.take());
        pauses
    }

    /// How long it takes until there is room for one more.
    fn take(&mut self, bytes: usize, now: Duration) -> Option<Duration> {
        let taken = [(&mut self.messages, 1), (&mut self.bytes, bytes as u64)];
        let ready_at = taken.into_iter().filter_map(|(of, count)| {
            let (rate, bucket) = of.as_mut()?;
            bucket.take(*rate, count, now);
            Some(bucket.ready_at(*rate))
        });
        ready_at.max()?.checked_sub(now).filter(|wait| !wait.is_zero())
    }

    /// Whether the client is not read.
    pub(crate) fn pauses(&self) -> bool {
        self.pause.is_some()
    }

    /// Ready when a pause is over.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(pause) = &mut self.pause else { return Poll::Pending };
        let over = pause.as_mut().poll(context);
        if over.is_ready() {
            self.pause = None;
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn throttle(messages: u32, bytes: u64) -> Option<Box<Throttle>> {
        let limits = LimitSettings {
            publishes_per_second_max: messages,
            publish_bytes_per_second_max: bytes,
            ..LimitSettings::default()
        };
        Throttle::new(&limits, Clock::start())
    }

    /// Publishes as fast as it may for so long; gives the number of messages.
    fn published(throttle: &mut Throttle, bytes: usize, time: Duration) -> usize {
        let (mut now, mut count) = (Duration::ZERO, 0);
        while now < time {
            now += throttle.take(bytes, now).unwrap_or_default();
            count += 1;
        }
        count
    }

    #[test]
    fn a_client_is_read_as_fast_as_its_rates_allow() {
        let minute = Duration::from_secs(60);
        // A second's worth at once, and then what a minute has.
        assert_eq!(published(&mut throttle(10, 0).unwrap(), 1_000, minute), 10 + 10 * 60 - 1);
        let by_bytes = published(&mut throttle(0, 10_000).unwrap(), 1_000, minute);
        assert!((600..=612).contains(&by_bytes), "{by_bytes} messages of 1,000 bytes at 10,000 a second");
        let both = published(&mut throttle(10, 5_000).unwrap(), 1_000, minute);
        assert!((300..=307).contains(&both), "the smaller one counts: {both}");
        assert_eq!(published(&mut throttle(10, 1 << 40).unwrap(), 1_000, minute), 609);
    }

    #[test]
    fn a_message_that_is_larger_than_a_second_s_worth_passes_and_is_waited_for() {
        let mut throttle = throttle(0, 1_000).unwrap();
        let pause = throttle.take(10_000, Duration::from_secs(5)).unwrap();
        assert_eq!(pause, Duration::from_millis(9_001));
        assert_eq!(throttle.take(1, Duration::from_secs(60)), None, "then nothing is owed");
    }

    #[test]
    fn without_a_limit_there_is_none() {
        assert!(throttle(0, 0).is_none());
    }

    #[tokio::test]
    async fn a_pause_begins_with_what_is_too_much_and_ends() {
        let mut throttle = throttle(0, 1_000).unwrap();
        assert!(!throttle.pauses());
        assert!(throttle.published(1_100) && throttle.pauses());
        std::future::poll_fn(|context| throttle.poll(context)).await;
        assert!(!throttle.pauses());
        let polled = std::future::poll_fn(|context| Poll::Ready(throttle.poll(context))).await;
        assert!(polled.is_pending(), "there is no other");
    }
}
