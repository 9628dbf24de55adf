//! Which messages of a shared group nobody need have got, though they were acknowledged: those that may have been with a
//! member whose session ended with its connection, where that is the end of them too. A pure function of what the harness knows.

use std::time::{Duration, Instant};

use e2e_tests::nodes::Number;

use crate::deaths::Death;

/// So long a message is with a member or its node at most, on a busy machine too: what was picked for it is in memory there
/// when it is acknowledged, and comes, or goes to another member, at once.
const HELD: Duration = Duration::from_secs(20);

/// A connection of a transient member of a group.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stay {
    pub(crate) node: Number,
    pub(crate) from: Instant,
    /// It was seen to have ended then.
    pub(crate) to: Option<Instant>,
}

/// A message that was acknowledged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Published {
    pub(crate) qos: u8,
    /// First sent.
    pub(crate) sent: Instant,
    pub(crate) acknowledged: Instant,
}

/// Whether a message may have ended with a member's session. At QoS 1 only where the member's node died with what it held:
/// otherwise another member gets it. At QoS 2 wherever its connection ended about then, since it may have had it: for a
/// while some node may not know that it is gone, too.
pub(crate) fn excused(message: &Published, stays: &[Stay], deaths: &[Death]) -> bool {
    let (from, until) = (message.sent, message.acknowledged + HELD);
    stays.iter().any(|stay| {
        let Some(to) = stay.to.filter(|to| stay.from <= until && *to <= until) else { return false };
        let ends_it = |death: &Death| death.node == stay.node && (from..=to + HELD).contains(&death.at);
        match message.qos {
            2 => to + HELD >= from,
            _ => to >= from && deaths.iter().any(ends_it),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message of second 10, a stay on node 2 from second 5 to this one, and a death of a node at another.
    fn is_excused(qos: u8, to: Option<u64>, death: Option<(Number, u64)>) -> bool {
        let zero = Instant::now();
        let at = |second: u64| zero + Duration::from_secs(second);
        let message = Published { qos, sent: at(10), acknowledged: at(11) };
        let stay = Stay { node: 2, from: at(5), to: to.map(at) };
        let deaths: Vec<Death> =
            death.map(|(node, second)| Death { node, at: at(second) }).into_iter().collect();
        excused(&message, &[stay], &deaths)
    }

    #[test]
    fn what_was_with_a_member_whose_node_died_about_then_is_excused_and_nothing_else() {
        assert!(is_excused(1, Some(12), Some((2, 11))));
        for (to, death) in [
            (None, Some((2, 11))),
            (Some(12), None),
            (Some(12), Some((3, 11))),
            (Some(12), Some((2, 9))),
            (Some(9), Some((2, 9))),
            (Some(60), Some((2, 60))),
        ] {
            assert!(!is_excused(1, to, death), "{to:?} {death:?}");
        }
        assert!(is_excused(2, Some(12), None) && is_excused(2, Some(9), None));
        assert!(!is_excused(2, None, None) && !is_excused(2, Some(60), None));
    }
}
