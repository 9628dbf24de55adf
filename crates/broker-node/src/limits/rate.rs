//! Rates: how much of something may come in a second, and what of that is used up. Pure: times are given as what has passed since
//! a beginning that all who share a bucket share.

use std::num::NonZeroU64;
use std::time::Duration;

/// What may come at once, as time: as much as in a second.
const BURST_NS: u64 = 1_000_000_000;

/// How many of something may come in a second. As many may come at once after a second without any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate(NonZeroU64);

impl Rate {
    /// So many in a second; `None` for 0, which is no limit.
    pub(crate) fn new(per_second: impl Into<u64>) -> Option<Self> {
        NonZeroU64::new(per_second.into()).map(Self)
    }

    /// The time in which so many may come, rounded down: a whole burst is never refused for a fraction.
    fn time_of_ns(self, count: u64) -> u64 {
        let ns = u128::from(count) * u128::from(BURST_NS) / u128::from(self.0.get());
        u64::try_from(ns).unwrap_or(u64::MAX)
    }
}

/// What somebody has used of a rate; full at the beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bucket {
    /// When all of it is there again.
    full_at_ns: u64,
}

impl Bucket {
    /// Takes so many, whether or not they are there: what is missing is waited for by whoever comes next.
    pub(crate) fn take(&mut self, rate: Rate, count: u64, now: Duration) {
        self.full_at_ns = self.full_at_ns.max(ns(now)).saturating_add(rate.time_of_ns(count));
    }

    /// From when on there is one more.
    pub(crate) fn ready_at(self, rate: Rate) -> Duration {
        let with_one_more = self.full_at_ns.saturating_add(rate.time_of_ns(1));
        Duration::from_nanos(with_one_more.saturating_sub(BURST_NS))
    }

    /// Takes one if there is one; says whether there was.
    pub(crate) fn try_take(&mut self, rate: Rate, now: Duration) -> bool {
        let ready = self.ready_at(rate) <= now;
        if ready {
            self.take(rate, 1, now);
        }
        ready
    }

    /// When nothing is used up any more, in nanoseconds: whoever has the earliest can be forgotten best.
    pub(super) fn full_at_ns(self) -> u64 {
        self.full_at_ns
    }
}

fn ns(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_second_s_worth_comes_at_once_and_the_rest_evenly() {
        for per_second in [1_u32, 2, 3, 7, 10, 999] {
            let rate = Rate::new(per_second).unwrap();
            let mut bucket = Bucket::default();
            let taken = (0..2 * per_second).filter(|_| bucket.try_take(rate, at_ms(5))).count();
            assert_eq!(taken, per_second as usize, "at once");
        }
        let rate = Rate::new(10_u32).unwrap();
        let mut bucket = Bucket::default();
        assert_eq!((0..50).filter(|_| bucket.try_take(rate, at_ms(0))).count(), 10);
        assert!(!bucket.try_take(rate, at_ms(99)));
        assert!(bucket.try_take(rate, at_ms(100)) && !bucket.try_take(rate, at_ms(199)));
        assert!(bucket.try_take(rate, at_ms(200)));
        assert_eq!(
            (0..50).filter(|_| bucket.try_take(rate, at_ms(60_000))).count(),
            10,
            "no more is saved up"
        );
    }

    #[test]
    fn what_was_taken_beyond_the_rate_is_waited_for() {
        let rate = Rate::new(1_000_u32).unwrap();
        let mut bucket = Bucket::default();
        bucket.take(rate, 4_000, at_ms(500));
        assert_eq!(bucket.ready_at(rate), at_ms(500 + 4_000 - 1_000 + 1));
        assert!(!bucket.try_take(rate, at_ms(3_500)) && bucket.try_take(rate, at_ms(3_501)));
        let mut huge = Bucket::default();
        huge.take(rate, u64::MAX, at_ms(0));
        huge.take(rate, u64::MAX, at_ms(0));
        assert!(huge.ready_at(rate) > Duration::from_hours(24), "and nothing overflows");
    }

    #[test]
    fn over_a_long_time_as_many_come_as_the_rate_says() {
        for per_second in [1_u32, 3, 13, 250] {
            let rate = Rate::new(per_second).unwrap();
            let mut bucket = Bucket::default();
            let taken = (0..60_000).filter(|ms| bucket.try_take(rate, at_ms(*ms))).count();
            let most = 61 * per_second as usize;
            assert!(
                (most - per_second as usize..=most).contains(&taken),
                "{taken} in a minute of {per_second} a second"
            );
        }
    }

    #[test]
    fn nothing_is_no_limit() {
        assert_eq!(Rate::new(0_u32), None);
    }
}
