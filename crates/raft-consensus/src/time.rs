//! The time of the node's groups: the median of the members' wall clocks, so that one clock that is wrong moves nothing.
//! Fed by whoever hears of other nodes, read by the proposers as their [`crate::proposer::WallClock`]. It reads no clock
//! itself: what the clocks say comes in.

use std::collections::{BTreeMap, BTreeSet};

use crate::types::NodeId;

/// How far the groups' time may be ahead of the median, in milliseconds.
pub const AHEAD_MAX_MS: u64 = 1_000;

/// What a node's wall clock said, and when that was.
#[derive(Clone, Copy, Debug)]
struct Sample {
    wall_ms: u64,
    at_ms: u64,
}

impl Sample {
    /// What that clock says now, if it runs as fast as this node's monotonic one.
    fn now_ms(self, at_ms: u64) -> u64 {
        self.wall_ms.saturating_add(at_ms.saturating_sub(self.at_ms))
    }
}

/// The time of the groups of one node.
///
/// - It is the median of the members' wall clocks, the lower of the middle two, each as it was heard at last and run on
///   by this node's monotonic clock. With one member it is the node's own clock.
/// - It runs on between two readings, never goes back, and goes no further ahead of the median than [`AHEAD_MAX_MS`]:
///   where it was further ahead already, since most clocks were set back, it stands still until they have caught up.
/// - A member that is silent keeps its vote: its clock is taken to run on. Were its sample to age out, one wrong clock
///   would be half of the members as soon as one of three nodes is down. Who is no member any more has no vote.
/// - A minority does not make time: until this node has heard the clocks of more than half of the members, its own
///   included, the time only runs on from what it was. If it never was any, it is 0, which leaves an entry the time of
///   the one before it.
///
/// `at_ms` is this node's monotonic clock in milliseconds from any beginning; it should go on while the machine sleeps.
#[derive(Debug)]
pub struct GroupClock {
    members: BTreeSet<NodeId>,
    samples: BTreeMap<NodeId, Sample>,
    /// What was said at last, as a clock that runs on.
    said: Option<Sample>,
}

impl GroupClock {
    /// A clock for these members, of which none was heard yet.
    #[must_use]
    pub fn new(members: impl IntoIterator<Item = NodeId>) -> Self {
        Self { members: members.into_iter().collect(), samples: BTreeMap::new(), said: None }
    }

    /// The members are these from now on.
    pub fn set_members(&mut self, members: impl IntoIterator<Item = NodeId>) {
        self.members = members.into_iter().collect();
        self.samples.retain(|node, _| self.members.contains(node));
    }

    /// The wall clock of `node` said `wall_ms`, in milliseconds since 1970, when this node's monotonic clock was at
    /// `at_ms`. Word of who is no member, or older than what was heard, changes nothing.
    pub fn sample(&mut self, node: NodeId, wall_ms: u64, at_ms: u64) {
        let newer = self.samples.get(&node).is_none_or(|known| known.at_ms <= at_ms);
        if newer && self.members.contains(&node) {
            self.samples.insert(node, Sample { wall_ms, at_ms });
        }
    }

    /// The time at `at_ms` of this node's monotonic clock, in milliseconds since 1970; not less than it ever was.
    pub fn now_ms(&mut self, at_ms: u64) -> u64 {
        let before = self.said.map_or(0, |said| said.wall_ms);
        let run_on = self.said.map_or(0, |said| said.now_ms(at_ms));
        let now = match self.median_ms(at_ms) {
            Some(median) => run_on.clamp(median, median.saturating_add(AHEAD_MAX_MS)).max(before),
            None => run_on,
        };
        if now > 0 {
            self.said = Some(Sample { wall_ms: now, at_ms });
        }
        now
    }

    /// The median of the clocks that were heard, if these are more than half of all.
    fn median_ms(&self, at_ms: u64) -> Option<u64> {
        if 2 * self.samples.len() <= self.members.len() {
            return None;
        }
        let mut clocks: Vec<u64> = self.samples.values().map(|sample| sample.now_ms(at_ms)).collect();
        clocks.sort_unstable();
        clocks.get((clocks.len() - 1) / 2).copied()
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// When the wall clocks are right, in milliseconds since 1970, at 0 of the monotonic clock.
    const RIGHT: u64 = 1_790_000_000_000;
    const YEAR: u64 = 365 * 86_400_000;

    /// Three members whose clocks were heard at the beginning, off by so much.
    fn three(off: [i64; 3]) -> GroupClock {
        let mut clock = GroupClock::new([1, 2, 3]);
        for (node, off) in (1..).zip(off) {
            clock.sample(node, RIGHT.saturating_add_signed(off), 0);
        }
        clock
    }

    fn year() -> i64 {
        YEAR.cast_signed()
    }

    #[test]
    fn alone_it_is_the_nodes_own_clock() {
        let mut clock = GroupClock::new([1]);
        assert_eq!(clock.now_ms(5), 0, "nothing was heard");
        clock.sample(1, RIGHT, 10);
        assert_eq!((clock.now_ms(10), clock.now_ms(2_510)), (RIGHT, RIGHT + 2_500));
        clock.sample(1, RIGHT + YEAR, 3_000);
        assert_eq!(clock.now_ms(3_000), RIGHT + YEAR, "there is nobody who could know better");
    }

    #[test]
    fn one_wrong_clock_of_three_moves_nothing() {
        for off in [[0, 0, year()], [year(), 0, 0], [0, -year(), 0]] {
            let mut clock = three(off);
            assert_eq!((clock.now_ms(0), clock.now_ms(700)), (RIGHT, RIGHT + 700), "{off:?}");
        }
        let mut clock = three([-300, 0, 200]);
        assert_eq!(clock.now_ms(100), RIGHT + 100, "the one in the middle");
        let mut two = GroupClock::new([1, 2]);
        two.sample(1, RIGHT + YEAR, 0);
        two.sample(2, RIGHT, 0);
        assert_eq!(two.now_ms(0), RIGHT, "the lower of the middle two");
    }

    #[test]
    fn a_clock_that_jumps_and_comes_back_moves_nothing() {
        let mut clock = three([0, 0, 0]);
        clock.sample(2, RIGHT + YEAR + 1_000, 1_000);
        assert_eq!(clock.now_ms(1_000), RIGHT + 1_000);
        clock.sample(2, RIGHT - YEAR + 2_000, 2_000);
        assert_eq!(clock.now_ms(2_000), RIGHT + 2_000);
        clock.sample(2, RIGHT + 3_000, 3_000);
        assert_eq!(clock.now_ms(3_000), RIGHT + 3_000);
    }

    #[test]
    fn it_runs_ahead_of_a_median_that_goes_back_by_a_second_and_then_stands_still() {
        let mut clock = three([0, 0, 0]);
        assert_eq!(clock.now_ms(10_000), RIGHT + 10_000);
        for node in 1..=3 {
            clock.sample(node, RIGHT + 10_000 - 400, 10_000);
        }
        assert_eq!(clock.now_ms(10_500), RIGHT + 10_500, "ahead by less than a second");
        for node in 1..=3 {
            clock.sample(node, RIGHT + 5_000, 11_000);
        }
        assert_eq!(clock.now_ms(11_000), RIGHT + 10_500, "it never goes back");
        assert_eq!(clock.now_ms(15_000), RIGHT + 10_500, "5.5 s ahead, then 1.5 s");
        assert_eq!(clock.now_ms(16_000), RIGHT + 11_000, "it goes on, a second ahead");
        assert_eq!(clock.now_ms(20_000), RIGHT + 15_000);
        for node in 1..=3 {
            clock.sample(node, RIGHT + 60_000, 20_000);
        }
        assert_eq!(clock.now_ms(20_000), RIGHT + 60_000, "forward it follows the median at once");
    }

    #[test]
    fn a_silent_member_keeps_its_vote_and_one_that_left_has_none() {
        let mut clock = three([0, year(), 0]);
        // Node 3 says nothing any more; 1 and 2 go on.
        for at in (0..=600_000).step_by(10_000) {
            clock.sample(1, RIGHT + at, at);
            clock.sample(2, RIGHT + YEAR + at, at);
            assert_eq!(clock.now_ms(at), RIGHT + at);
        }
        let mut behind = three([0, -year(), 0]);
        behind.sample(1, RIGHT + 9_000, 9_000);
        behind.sample(2, RIGHT - YEAR + 9_000, 9_000);
        assert_eq!(behind.now_ms(9_000), RIGHT + 9_000, "time does not stand still either");
        clock.set_members([2]);
        assert_eq!(clock.now_ms(600_000), RIGHT + YEAR + 600_000);
        clock.sample(1, RIGHT, 700_000);
        assert_eq!(clock.now_ms(700_000), RIGHT + YEAR + 700_000, "no word of who is no member counts");
    }

    #[test]
    fn a_minority_makes_no_time() {
        let mut clock = GroupClock::new([1, 2, 3]);
        clock.sample(1, RIGHT + YEAR, 0);
        assert_eq!(clock.now_ms(100), 0, "its own clock alone may be the wrong one");
        clock.sample(2, RIGHT, 200);
        assert_eq!(clock.now_ms(200), RIGHT);
        clock.set_members([1, 4, 5]);
        clock.sample(1, RIGHT + YEAR, 300);
        assert_eq!(clock.now_ms(1_200), RIGHT + 1_000, "it runs on from what it was");
    }

    #[test]
    fn older_word_does_not_replace_newer() {
        let mut clock = GroupClock::new([1]);
        clock.sample(1, RIGHT, 1_000);
        clock.sample(1, RIGHT + YEAR, 999);
        assert_eq!(clock.now_ms(1_000), RIGHT);
    }

    proptest! {
        /// Two clocks of three run right, or nearly; the third says what it likes, whenever it likes.
        #[test]
        fn whatever_one_of_three_says_the_time_is_nearly_right(
            steps in vec((1..5_000_u64, any::<u64>(), any::<[bool; 3]>(), 0..300_u64), 1..60),
        ) {
            let mut clock = three([0, 0, 0]);
            let (mut at, mut before) = (0, 0);
            for (pause, nonsense, speaks, off) in steps {
                at += pause;
                let says = [RIGHT + at + off, nonsense, RIGHT + at - off];
                for ((node, wall), _) in (1..).zip(says).zip(speaks).filter(|(_, speaks)| *speaks) {
                    clock.sample(node, wall, at);
                }
                let now = clock.now_ms(at);
                prop_assert!(now >= before, "it went back");
                prop_assert!(now + 300 >= RIGHT + at && now <= RIGHT + at + 300 + AHEAD_MAX_MS, "{now} at {at}");
                before = now;
            }
        }

        #[test]
        fn it_never_goes_back_nor_far_ahead_whatever_is_said(
            steps in vec((0..5_000_u64, 0..5_u64, any::<u64>(), any::<bool>()), 1..80),
        ) {
            let mut clock = GroupClock::new([1, 2, 3]);
            let (mut at, mut before) = (0, 0);
            for (pause, node, wall, leaves) in steps {
                at += pause;
                clock.sample(node, wall, at);
                if leaves {
                    clock.set_members((1..=3).filter(|member| *member != node));
                }
                let median = clock.median_ms(at);
                let now = clock.now_ms(at);
                prop_assert!(now >= before);
                if let Some(median) = median {
                    prop_assert!(now >= median && now <= median.saturating_add(AHEAD_MAX_MS).max(before));
                }
                before = now;
            }
        }
    }
}
