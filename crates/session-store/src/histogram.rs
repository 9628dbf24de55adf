//! How long things take: durations counted in fixed buckets, without a lock. Whoever measures adds to a [`Histogram`]; the
//! broker reads it, adds readings up and exports them. It knows no clock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the buckets but for the last, which has none: from what a memory takes to what a client gives up after.
pub const BOUNDS: [Duration; 16] = [
    Duration::from_micros(100),
    Duration::from_micros(250),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_micros(2_500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_millis(2_500),
    Duration::from_secs(5),
    Duration::from_secs(10),
];

/// Buckets, the last one included.
const BUCKETS: usize = BOUNDS.len() + 1;

/// Durations that several threads may add to.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    sum_ns: AtomicU64,
}

impl Histogram {
    /// Counts one duration.
    pub fn record(&self, took: Duration) {
        let bucket = BOUNDS.partition_point(|bound| *bound < took);
        if let Some(bucket) = self.buckets.get(bucket) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.sum_ns.fetch_add(ns, Ordering::Relaxed);
    }

    /// How it stands. What is added meanwhile may be in one number and not in another.
    #[must_use]
    pub fn read(&self) -> Durations {
        let mut read = Durations { sum_ns: self.sum_ns.load(Ordering::Relaxed), ..Durations::default() };
        for (count, bucket) in read.buckets.iter_mut().zip(&self.buckets) {
            *count = bucket.load(Ordering::Relaxed);
        }
        read
    }
}

/// A reading of a [`Histogram`], or the sum of several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Durations {
    buckets: [u64; BUCKETS],
    sum_ns: u64,
}

impl Durations {
    /// Adds another reading to this one.
    pub fn add(&mut self, other: &Self) {
        for (count, more) in self.buckets.iter_mut().zip(&other.buckets) {
            *count = count.wrapping_add(*more);
        }
        self.sum_ns = self.sum_ns.wrapping_add(other.sum_ns);
    }

    /// Of each of [`BOUNDS`] how many durations are not longer.
    pub fn cumulative(&self) -> impl Iterator<Item = (Duration, u64)> {
        BOUNDS.iter().zip(&self.buckets).scan(0_u64, |sum, (bound, count)| {
            *sum = sum.wrapping_add(*count);
            Some((*bound, *sum))
        })
    }

    /// How many durations there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().fold(0, |sum: u64, count| sum.wrapping_add(*count))
    }

    /// All of them together.
    #[must_use]
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.sum_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_counted_in_the_bucket_that_ends_with_it() {
        let histogram = Histogram::default();
        for took in [Duration::ZERO, BOUNDS[0], BOUNDS[3], BOUNDS[3] + Duration::from_nanos(1)] {
            histogram.record(took);
        }
        histogram.record(Duration::from_secs(11));
        let mut read = histogram.read();
        let below: Vec<u64> = read.cumulative().map(|(_, count)| count).collect();
        assert_eq!(below[..6], [2, 2, 2, 3, 4, 4]);
        assert_eq!((below[15], read.count()), (4, 5), "the last one is above all bounds");
        read.add(&histogram.read());
        assert_eq!(read.count(), 10);
        assert_eq!(
            read.sum(),
            2 * (BOUNDS[0] + 2 * BOUNDS[3] + Duration::from_nanos(1) + Duration::from_secs(11))
        );
    }

    #[test]
    fn bounds_grow() {
        assert!(BOUNDS.is_sorted_by(|one, next| one < next));
    }
}
