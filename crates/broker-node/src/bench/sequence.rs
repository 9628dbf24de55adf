//! Which messages of a publisher have arrived: repeats, late ones and holes are told apart.
//! Used by `subscriber` for each publisher it hears. Pure data; its memory is bounded.

use std::collections::HashMap;
use std::ops::Range;

/// Holes remembered for each publisher; the oldest is taken for lost beyond it.
const HOLES_MAX: usize = 1024;
/// Numbers that a [`Received`] follows: 32 MiB of bits.
const NUMBERS_MAX: u32 = 1 << 28;
/// Publishers that an open subscriber follows.
const PUBLISHERS_MAX: usize = 100_000;

/// How a message stands to those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    InOrder,
    Late,
    Repeated,
}

/// The numbers of one publisher as one subscriber sees all of them.
#[derive(Debug, Default)]
pub(super) struct Sequence {
    next: u32,
    holes: Vec<Range<u32>>,
    given_up: u64,
}

impl Sequence {
    /// For a publisher that was already at work before we listened.
    fn starting_at(next: u32) -> Self {
        Self { next, ..Self::default() }
    }

    pub(super) fn observe(&mut self, number: u32) -> Arrival {
        if number >= self.next {
            if number > self.next {
                self.remember_hole(self.next..number);
            }
            self.next = number.saturating_add(1);
            return Arrival::InOrder;
        }
        self.fill_hole(number)
    }

    /// Numbers that never came, up to the highest seen.
    pub(super) fn missing(&self) -> u64 {
        self.given_up + self.holes.iter().map(|hole| u64::from(hole.end - hole.start)).sum::<u64>()
    }

    fn remember_hole(&mut self, hole: Range<u32>) {
        if self.holes.len() >= HOLES_MAX {
            let oldest = self.holes.remove(0);
            self.given_up += u64::from(oldest.end - oldest.start);
        }
        self.holes.push(hole);
    }

    fn fill_hole(&mut self, number: u32) -> Arrival {
        let after = self.holes.partition_point(|hole| hole.end <= number);
        let Some(hole) = self.holes.get_mut(after).filter(|hole| hole.start <= number) else {
            return Arrival::Repeated;
        };
        let rest = number + 1..hole.end;
        hole.end = number;
        let emptied = hole.start >= hole.end;
        match (emptied, rest.start >= rest.end) {
            (true, true) => drop(self.holes.remove(after)),
            (true, false) => *hole = rest,
            (false, true) => {}
            (false, false) => self.holes.insert(after + 1, rest),
        }
        Arrival::Late
    }
}

/// The numbers of one publisher that reached one member of a shared group, as bits: each member
/// sees only a part, so holes say nothing until all members are put together.
#[derive(Debug, Default, Clone)]
pub(super) struct Received {
    words: Vec<u64>,
    next: u32,
}

impl Received {
    pub(super) fn observe(&mut self, number: u32) -> Arrival {
        if number >= NUMBERS_MAX {
            return Arrival::InOrder;
        }
        let (word, bit) = (number as usize / 64, 1_u64 << (number % 64));
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        if let Some(word) = self.words.get_mut(word) {
            if *word & bit != 0 {
                return Arrival::Repeated;
            }
            *word |= bit;
        }
        if number < self.next {
            return Arrival::Late;
        }
        self.next = number + 1;
        Arrival::InOrder
    }

    /// Takes over what another member received; returns how many numbers both of them had.
    pub(super) fn merge(&mut self, other: &Self) -> u64 {
        if other.words.len() > self.words.len() {
            self.words.resize(other.words.len(), 0);
        }
        let mut both = 0;
        for (mine, theirs) in self.words.iter_mut().zip(&other.words) {
            both += u64::from((*mine & theirs).count_ones());
            *mine |= theirs;
        }
        both
    }
}

/// What a subscriber knows of the publishers it hears.
#[derive(Debug)]
pub(super) enum Tracking {
    /// All messages of the publishers `0..n` come here.
    All(Vec<Sequence>),
    /// Each message of the publishers `0..n` comes to one member of a group.
    Shared(Vec<Received>),
    /// Publishers of other processes, already at work.
    Open(HashMap<u32, Sequence>),
}

impl Tracking {
    pub(super) fn all(publishers: u32) -> Self {
        Self::All((0..publishers).map(|_| Sequence::default()).collect())
    }

    pub(super) fn shared(publishers: u32) -> Self {
        Self::Shared(vec![Received::default(); publishers as usize])
    }

    pub(super) fn open() -> Self {
        Self::Open(HashMap::new())
    }

    /// Notes a message. One from an unknown publisher of a closed run counts as in order.
    pub(super) fn observe(&mut self, publisher: u32, number: u32) -> Arrival {
        match self {
            Self::All(all) => all.get_mut(publisher as usize).map(|one| one.observe(number)),
            Self::Shared(all) => all.get_mut(publisher as usize).map(|one| one.observe(number)),
            Self::Open(all) if all.len() < PUBLISHERS_MAX => {
                Some(all.entry(publisher).or_insert_with(|| Sequence::starting_at(number)).observe(number))
            }
            Self::Open(all) => all.get_mut(&publisher).map(|one| one.observe(number)),
        }
        .unwrap_or(Arrival::InOrder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_late_from_repeated() {
        let mut sequence = Sequence::default();
        for number in [0, 1, 5] {
            assert_eq!(sequence.observe(number), Arrival::InOrder);
        }
        assert_eq!(sequence.missing(), 3);
        assert_eq!(sequence.observe(3), Arrival::Late);
        assert_eq!(sequence.observe(3), Arrival::Repeated);
        assert_eq!(sequence.observe(2), Arrival::Late);
        assert_eq!(sequence.observe(5), Arrival::Repeated);
        assert_eq!(sequence.observe(4), Arrival::Late);
        assert_eq!(sequence.missing(), 0);
        assert!(sequence.holes.is_empty());
    }

    #[test]
    fn holes_are_bounded() {
        let mut sequence = Sequence::default();
        for number in 0..10_000 {
            sequence.observe(number * 2 + 1);
        }
        assert_eq!(sequence.holes.len(), HOLES_MAX);
        assert_eq!(sequence.missing(), 10_000);
        assert_eq!(sequence.observe(u32::MAX), Arrival::InOrder);
        assert_eq!(sequence.observe(u32::MAX), Arrival::InOrder, "the last number cannot be told apart");
    }

    #[test]
    fn members_are_put_together() {
        let (mut one, mut other) = (Received::default(), Received::default());
        for number in 0..100 {
            if number % 3 == 0 {
                one.observe(number)
            } else {
                other.observe(number)
            };
        }
        assert_eq!(other.observe(3), Arrival::Late);
        assert_eq!(other.observe(3), Arrival::Repeated);
        assert_eq!(one.merge(&other), 1);
        assert_eq!(one.words.iter().map(|word| word.count_ones()).sum::<u32>(), 100);
    }

    #[test]
    fn an_open_subscriber_starts_where_it_listens() {
        let mut tracking = Tracking::open();
        assert_eq!(tracking.observe(7, 1000), Arrival::InOrder);
        assert_eq!(tracking.observe(7, 1002), Arrival::InOrder);
        let Tracking::Open(all) = tracking else { panic!("open") };
        assert_eq!(all[&7].missing(), 1);
    }
}
