//! How long everything about a lease takes, for nodes near each other and for nodes in several zones. Chosen by
//! configuration, checked when it is put together.

use std::time::Duration;

use raft_consensus::group::Timing;

/// After this long without a lease a node closes its clients' connections.
pub const SILENT_MAX: Duration = Duration::from_secs(5);

/// A run from which nobody has had a frame for so long may be taken for dead.
pub const UNHEARD_MAX: Duration = Duration::from_millis(1_500);

/// A run that another one with a lease did not reach for so long may be taken for dead.
pub const UNREACHED_MAX: Duration = Duration::from_secs(3);

// Whom nobody hears goes first, whom one alone does not reach later, and both before clients go elsewhere by themselves.
const _: () = assert!(UNHEARD_MAX.as_nanos() < UNREACHED_MAX.as_nanos());
const _: () = assert!(UNREACHED_MAX.as_nanos() < SILENT_MAX.as_nanos());

/// What the leader adds to a lease besides a tenth of it.
const MARGIN: Duration = Duration::from_millis(20);

/// The times of a cluster: round trip < heartbeat < shortest election, heartbeat < lease, and guarded lease <
/// [`UNHEARD_MAX`] < [`UNREACHED_MAX`] < [`SILENT_MAX`].
#[derive(Clone, Copy, Debug)]
pub struct Profile {
    timing: Timing,
    lease: Duration,
}

/// Times that do not nest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected round trip < heartbeat < shortest election <= longest election, heartbeat < lease, and a lease that the \
     leader takes as running for less than {UNHEARD_MAX:?}; found a round trip of {round_trip:?}, heartbeats every \
     {heartbeat:?}, elections after {election:?}, leases of {lease:?} that are taken as running for {guarded_lease:?}"
)]
pub struct BadProfile {
    /// What a message and its answer may take.
    pub round_trip: Duration,
    /// Between two heartbeats.
    pub heartbeat: Duration,
    /// From the shortest election timeout to the longest.
    pub election: (Duration, Duration),
    /// The length of a lease.
    pub lease: Duration,
    /// How long the leader would take it as running.
    pub guarded_lease: Duration,
}

impl Profile {
    /// For nodes within one network, whose messages take `round_trip` there and back at most: leases of 300 ms.
    ///
    /// # Errors
    /// The network is too slow for that.
    pub fn lan(round_trip: Duration) -> Result<Self, BadProfile> {
        Self::new(round_trip, Timing::LAN, Duration::from_millis(300))
    }

    /// For nodes in several zones, as [`Self::lan`]: leases of a second.
    ///
    /// # Errors
    /// The network is too slow for that.
    pub fn zones(round_trip: Duration) -> Result<Self, BadProfile> {
        Self::new(round_trip, Timing::ZONES, Duration::from_secs(1))
    }

    /// Of these times.
    ///
    /// # Errors
    /// They do not nest.
    pub fn new(round_trip: Duration, timing: Timing, lease: Duration) -> Result<Self, BadProfile> {
        let heartbeat = Duration::from_millis(timing.heartbeat_ms);
        let shortest = Duration::from_millis(timing.election_min_ms);
        let longest = Duration::from_millis(timing.election_max_ms);
        let guarded_lease = guarded(lease);
        let nests = round_trip < heartbeat && heartbeat < shortest && shortest <= longest;
        if nests && heartbeat < lease && guarded_lease < UNHEARD_MAX {
            return Ok(Self { timing, lease });
        }
        Err(BadProfile { round_trip, heartbeat, election: (shortest, longest), lease, guarded_lease })
    }

    /// The times of the groups.
    #[must_use]
    pub fn timing(&self) -> Timing {
        self.timing
    }

    /// The length of a lease, from the heartbeats that it rests on.
    #[must_use]
    pub fn lease(&self) -> Duration {
        self.lease
    }

    /// How long the leader takes a lease as running: a tenth and 20 ms longer, for clocks that do not run alike.
    #[must_use]
    pub fn guarded_lease(&self) -> Duration {
        guarded(self.lease)
    }

    /// Between two times that a node asks for a lease.
    #[must_use]
    pub fn renewal(&self) -> Duration {
        self.lease / 3
    }
}

fn guarded(lease: Duration) -> Duration {
    lease.saturating_add(lease / 10).saturating_add(MARGIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn times_that_do_not_nest_are_refused() {
        let lan = Profile::lan(MS).unwrap();
        assert_eq!((lan.lease(), lan.guarded_lease(), lan.renewal()), (MS * 300, MS * 350, MS * 100));
        let zones = Profile::zones(MS * 100).unwrap();
        assert_eq!((zones.lease(), zones.guarded_lease()), (MS * 1_000, MS * 1_120));
        assert!(Profile::lan(MS * 100).is_err(), "a heartbeat has to be back before the next");
        assert!(Profile::zones(MS * 250).is_err());
        let times = |heartbeat_ms, election_min_ms, election_max_ms| Timing {
            heartbeat_ms,
            election_min_ms,
            election_max_ms,
        };
        for (timing, lease) in [
            (times(100, 100, 200), 300),
            (times(100, 200, 150), 300),
            (times(100, 150, 300), 100),
            (times(0, 150, 300), 300),
        ] {
            let error = Profile::new(MS, timing, MS * lease).unwrap_err();
            assert_eq!(error.lease, MS * lease);
        }
    }

    #[test]
    fn a_lease_has_run_out_for_its_leader_before_its_holder_may_be_taken_for_dead() {
        let timing = Timing::ZONES;
        // A tenth and 20 ms more: 1,499.9 and 1,501 ms.
        let longest = Duration::from_micros(1_345_363);
        assert!(Profile::new(MS, timing, longest).unwrap().guarded_lease() < UNHEARD_MAX);
        let error = Profile::new(MS, timing, longest + MS).unwrap_err();
        assert!(error.guarded_lease >= UNHEARD_MAX, "{error}");
        assert_eq!(Profile::new(MS, timing, Duration::MAX).unwrap_err().guarded_lease, Duration::MAX);
    }
}
