//! How long a device waits before it tries again: twice as long each time, and never in step with other devices.
//! Used by the uplink, which says when a connection has proved itself. It never waits.

use embassy_time::Duration;

/// The longest wait after the first failure.
const FIRST_MS: u32 = 250;
/// The longest wait at all.
const LONGEST_MS: u32 = 30_000;

/// The waits of one device.
#[derive(Debug)]
pub(crate) struct Backoff {
    /// The next wait is at most this.
    longest_ms: u32,
    random: Random,
}

impl Backoff {
    /// Devices with different seeds wait differently.
    pub(crate) fn new(seed: u64) -> Self {
        Self { longest_ms: FIRST_MS, random: Random(seed) }
    }

    /// The next wait: between half of the longest and all of it, which doubles from 250 ms to 30 s.
    pub(crate) fn next(&mut self) -> Duration {
        let half = self.longest_ms / 2;
        let wait_ms = half + self.random.below(self.longest_ms - half + 1);
        self.longest_ms = (self.longest_ms * 2).min(LONGEST_MS);
        Duration::from_millis(u64::from(wait_ms))
    }

    /// A broker has taken all that it was given: the next failure is a first one.
    pub(crate) fn reset(&mut self) {
        self.longest_ms = FIRST_MS;
    }
}

/// SplitMix64: every seed is good, and it needs no state but a counter.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to `bound - 1`; `bound` is not 0.
    fn below(&mut self, bound: u32) -> u32 {
        let scaled = ((self.next() >> 32) * u64::from(bound)) >> 32;
        u32::try_from(scaled).expect("less than the bound")
    }
}

/// A seed from a client id (FNV-1a), so that devices that start together do not come together.
pub(crate) fn seed_of(client_id: &str) -> u64 {
    client_id
        .bytes()
        .fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn waits(seed: u64, count: usize) -> Vec<u64> {
        let mut backoff = Backoff::new(seed);
        (0..count).map(|_| backoff.next().as_millis()).collect()
    }

    #[test]
    fn waits_double_up_to_the_longest_and_stay_in_their_bounds() {
        for seed in 0..200 {
            let mut longest = 250;
            for wait in waits(seed, 12) {
                assert!((longest / 2..=longest).contains(&wait), "{wait} of {longest}, seed {seed}");
                longest = (longest * 2).min(30_000);
            }
            assert_eq!(longest, 30_000);
        }
    }

    #[test]
    fn waits_are_spread_over_their_bounds() {
        let firsts: Vec<u64> = (0..1_000).map(|seed| waits(seed, 1)[0]).collect();
        assert!(firsts.iter().min().is_some_and(|wait| *wait < 130));
        assert!(firsts.iter().max().is_some_and(|wait| *wait > 245));
    }

    #[test]
    fn devices_differ() {
        let ids = ["dev-1", "dev-2", "dev-3", "dev-11"];
        let all: std::collections::BTreeSet<_> = ids.iter().map(|id| waits(seed_of(id), 4)).collect();
        assert_eq!(all.len(), ids.len());
    }

    #[test]
    fn after_success_it_begins_anew() {
        let mut backoff = Backoff::new(7);
        for _ in 0..9 {
            backoff.next();
        }
        backoff.reset();
        assert!(backoff.next().as_millis() <= 250);
    }
}
