//! Tests of both sides of leases, one rule each. The sequences in which several nodes meet are in `tests/interleavings`.

use std::time::Duration;

use session_store::{Host, Incarnation, NodeId};

use super::*;

const MS: Duration = Duration::from_millis(1);
/// What a lease of 300 ms is for its leader.
const GUARDED: u64 = 350;

fn run(node: u32) -> Host {
    Host { node: NodeId(node), incarnation: Incarnation(1) }
}

fn at(ms: u64) -> Moment {
    Moment::at(Duration::from_millis(ms))
}

fn profile() -> Profile {
    Profile::lan(MS).unwrap()
}

fn nodes(nodes: &[u32]) -> Vec<NodeId> {
    nodes.iter().map(|node| NodeId(*node)).collect()
}

/// Asks as a run that has applied this much and reaches everybody.
fn ask(leases: &mut Leases, node: u32, applied: u64, now: u64) -> Result<Grant, Denied> {
    let ask = Ask { run: run(node), applied, reached: nodes(&[1, 2, 3]) };
    leases.ask(&ask, at(now))
}

/// Node 1 was elected at 1,000 ms, leads nodes 1 to 3 and has everything applied up to entry 10.
fn leader() -> Leases {
    let mut leases = Leases::elected(profile(), NodeId(1), at(1_000));
    leases.committed(10, true, at(1_000));
    leases.applied(10, true, (1..=3).map(run), at(1_000));
    leases
}

/// The same when it has waited as long as it must, with leases for all of them at that time.
fn leader_with_holders(now: u64) -> Leases {
    let mut leases = leader();
    leases.acknowledged(at(now));
    for node in 1..=3 {
        ask(&mut leases, node, 10, now).unwrap();
    }
    leases
}

/// A quorum answers all the time, and then this is looked at.
fn downs(leases: &mut Leases, (from, to): (u64, u64)) -> Vec<Host> {
    (from..=to).step_by(50).for_each(|now| leases.acknowledged(at(now)));
    leases.downs(at(to))
}

#[test]
fn a_lease_is_dated_from_the_heartbeats_that_it_rests_on() {
    let mut leases = leader();
    assert_eq!(ask(&mut leases, 2, 10, 1_000), Err(Denied::NoQuorum));
    leases.acknowledged(at(1_000));
    leases.acknowledged(at(900));
    assert_eq!(ask(&mut leases, 2, 10, 1_020), Ok(Grant { index: 10, remains: MS * 280 }));
    assert_eq!(ask(&mut leases, 2, 10, 1_299), Ok(Grant { index: 10, remains: MS }));
    assert_eq!(ask(&mut leases, 2, 10, 1_300), Err(Denied::NoQuorum), "no quorum has answered since");
}

#[test]
fn nothing_is_granted_before_an_entry_of_the_own_term_is_committed() {
    let mut leases = Leases::elected(profile(), NodeId(1), at(1_000));
    leases.committed(7, false, at(1_000));
    leases.applied(7, false, (1..=3).map(run), at(1_000));
    leases.acknowledged(at(1_000));
    assert_eq!(ask(&mut leases, 2, 7, 1_001), Err(Denied::NotReady));
    leases.committed(9, true, at(1_010));
    assert_eq!(ask(&mut leases, 2, 7, 1_010).unwrap().index, 9);
}

#[test]
fn only_a_run_that_lives_is_granted_anything() {
    let mut leases = leader();
    leases.acknowledged(at(1_000));
    assert_eq!(ask(&mut leases, 4, 10, 1_000), Err(Denied::NotLive));
    let later = Host { incarnation: Incarnation(2), ..run(2) };
    let of_later = Ask { run: later, applied: 10, reached: vec![] };
    assert_eq!(leases.ask(&of_later, at(1_000)), Err(Denied::NotLive));
    leases.applied(11, true, [run(1), later, run(3)], at(1_001));
    assert_eq!(ask(&mut leases, 2, 11, 1_001), Err(Denied::NotLive), "its earlier run is dead");
    leases.ask(&of_later, at(1_001)).unwrap();
}

#[test]
fn who_has_not_applied_what_was_committed_a_lease_ago_is_not_renewed() {
    let mut leases = leader_with_holders(1_400);
    leases.committed(20, true, at(1_500));
    leases.committed(30, true, at(1_600));
    leases.acknowledged(at(1_800));
    assert!(ask(&mut leases, 2, 10, 1_799).is_ok());
    assert_eq!(ask(&mut leases, 2, 19, 1_800), Err(Denied::Behind(20)));
    assert!(ask(&mut leases, 2, 20, 1_800).is_ok());
    assert_eq!(ask(&mut leases, 2, 20, 1_900), Err(Denied::Behind(30)));
}

#[test]
fn in_force_is_what_all_who_may_hold_a_lease_have_applied() {
    let mut leases = leader_with_holders(1_400);
    assert_eq!(leases.in_force(at(1_400)), 10);
    leases.applied(12, true, (1..=3).map(run), at(1_410));
    leases.reported(run(1), 12, at(1_410));
    leases.reported(run(2), 12, at(1_410));
    leases.reported(run(3), 11, at(1_410));
    assert_eq!(leases.in_force(at(1_410)), 11);
    assert_eq!(leases.next(at(1_410)), Some(at(1_400 + GUARDED)), "then the leases have run out");
    assert_eq!(leases.in_force(at(1_400 + GUARDED - 1)), 11);
    assert_eq!(leases.in_force(at(1_400 + GUARDED)), 12, "node 3 cannot act any more");
    leases.acknowledged(at(1_800));
    ask(&mut leases, 3, 11, 1_800).unwrap();
    assert_eq!(leases.in_force(at(1_800)), 12, "it never goes back");
    leases.applied(13, true, [run(1), run(2)], at(1_800));
    leases.reported(run(1), 13, at(1_800));
    leases.reported(run(2), 13, at(1_800));
    assert_eq!(leases.in_force(at(1_800)), 13, "who is down is not waited for");
}

#[test]
fn nothing_is_in_force_before_a_new_leader_knows_all_members() {
    let mut leases = Leases::elected(profile(), NodeId(1), at(1_000));
    leases.committed(9, true, at(1_000));
    // Node 3 joined under the last leader, and may hold a lease.
    leases.applied(7, false, [run(1), run(2)], at(1_000));
    leases.reported(run(1), 7, at(1_000));
    leases.reported(run(2), 9, at(1_000));
    assert_eq!(leases.in_force(at(1_000)), 0);
    assert_eq!(downs(&mut leases, (1_000, 4_000)), [], "nor is anybody known to be silent");
    leases.applied(9, true, (1..=3).map(run), at(1_000));
    leases.reported(run(1), 9, at(1_000));
    assert_eq!(leases.in_force(at(1_000 + GUARDED - 1)), 0, "node 3 has not said what it has applied");
    assert_eq!(leases.in_force(at(1_000 + GUARDED)), 9);
}

#[test]
fn a_new_leader_takes_every_lease_as_running() {
    let mut leases = leader();
    assert!(leases.may_hold(run(3), at(1_000 + GUARDED - 1)));
    leases.reported(run(1), 10, at(1_001));
    leases.reported(run(2), 10, at(1_001));
    leases.reported(run(3), 4, at(1_001));
    leases.refuses(run(3), at(1_002));
    assert_eq!(leases.in_force(at(1_000 + GUARDED - 1)), 4);
    assert_eq!(downs(&mut leases, (1_000, 1_000 + GUARDED - 1)), []);
    assert_eq!(leases.in_force(at(1_000 + GUARDED)), 10);
    assert_eq!(leases.downs(at(1_000 + GUARDED)), [run(3)]);
}

#[test]
fn refused_connections_count_only_once_the_lease_has_run_out() {
    let mut leases = leader_with_holders(1_400);
    leases.refuses(run(2), at(1_450));
    assert_eq!(downs(&mut leases, (1_400, 1_400 + GUARDED - 1)), []);
    leases.heard(run(2), at(1_500));
    assert_eq!(leases.downs(at(1_400 + GUARDED)), [], "it was heard of since");
    leases.refuses(run(2), at(1_760));
    assert_eq!(leases.downs(at(1_770)), [run(2)]);
    leases.acknowledged(at(1_780));
    leases.reported(run(2), 10, at(1_780));
    assert_eq!(ask(&mut leases, 2, 10, 1_780), Err(Denied::NotLive), "the word may be on its way");
    assert_eq!(leases.downs(at(1_790)), [run(2)], "until it is so");
    leases.applied(11, true, [run(1), run(3)], at(1_800));
    assert_eq!(leases.downs(at(1_800)), []);
}

#[test]
fn silence_counts_after_a_second_and_a_half() {
    let mut leases = leader_with_holders(1_400);
    for ms in (1_450..2_900).step_by(50) {
        leases.heard(run(3), at(ms));
    }
    assert_eq!(downs(&mut leases, (1_450, 2_899)), []);
    assert_eq!(leases.downs(at(2_900)), [run(2)], "and never the leader itself");
}

#[test]
fn a_leader_that_was_cut_off_or_stopped_says_of_nobody_that_it_is_silent() {
    let mut leases = leader_with_holders(1_400);
    assert_eq!(leases.downs(at(9_000)), [], "nobody answers it");
    leases.acknowledged(at(9_000));
    leases.reported(run(2), 10, at(9_001));
    assert_eq!(leases.downs(at(9_002)), [], "one answered, and the other is about to");
    assert_eq!(downs(&mut leases, (9_050, 10_499)), []);
    assert_eq!(leases.downs(at(10_500)), [run(3)], "or not");
}

/// All ask every 100 ms, reaching everybody but as `cut` says, from `from` to `to`; says who is down at the end.
fn ask_on(leases: &mut Leases, (from, to): (u64, u64), cut: impl Fn(u32, u32) -> bool) -> Vec<Host> {
    for now in (from..=to).step_by(100) {
        leases.acknowledged(at(now));
        for node in 1..=4 {
            let reached = (1..=4).filter(|other| *other != node && !cut(node, *other)).map(NodeId).collect();
            let _granted = leases.ask(&Ask { run: run(node), applied: 10, reached }, at(now));
        }
    }
    leases.downs(at(to))
}

fn four() -> Leases {
    let mut leases = leader();
    leases.applied(10, true, (1..=4).map(run), at(1_000));
    leases
}

fn both(one: u32, other: u32) -> impl Fn(u32, u32) -> bool {
    move |by, about| (by, about) == (one, other) || (by, about) == (other, one)
}

#[test]
fn of_two_that_do_not_reach_each_other_the_higher_goes() {
    let mut leases = four();
    assert_eq!(ask_on(&mut leases, (1_000, 4_200), both(2, 3)), [], "its lease runs");
    assert!(leases.may_hold(run(3), at(4_200)) && leases.may_hold(run(2), at(4_200)));
    assert_eq!(ask_on(&mut leases, (4_300, 4_600), both(2, 3)), [run(3)]);
    assert!(leases.may_hold(run(2), at(4_600)), "what the one that goes complained of counts no more");
    // Its next run waits until all reach it, and is not taken for dead meanwhile.
    let next = Host { incarnation: Incarnation(2), ..run(3) };
    leases.applied(11, true, [run(1), run(2), next, run(4)], at(4_700));
    let of_next = Ask { run: next, applied: 11, reached: nodes(&[1, 4]) };
    for from in (4_700..12_000).step_by(1_000) {
        leases.heard(next, at(from));
        assert_eq!(ask_on(&mut leases, (from, from + 900), |by, about| (by, about) == (2, 3)), []);
    }
    assert_eq!(leases.ask(&of_next, at(12_650)), Err(Denied::Unreached));
    assert_eq!(ask_on(&mut leases, (12_700, 12_700), |_, _| false), []);
    assert!(leases.ask(&Ask { reached: nodes(&[1, 2, 4]), ..of_next }, at(12_700)).is_ok());
}

#[test]
fn who_has_more_complaints_goes_before_who_has_the_higher_number() {
    let mut leases = four();
    let cut = |by, about| both(2, 3)(by, about) || both(2, 4)(by, about);
    assert_eq!(ask_on(&mut leases, (1_000, 4_500), cut), [run(2)]);
    assert!(leases.may_hold(run(3), at(4_500)) && leases.may_hold(run(4), at(4_500)));
}

#[test]
fn a_complaint_that_is_taken_back_begins_anew() {
    let mut leases = four();
    assert_eq!(ask_on(&mut leases, (1_000, 3_900), both(2, 3)), []);
    assert_eq!(ask_on(&mut leases, (4_000, 4_000), |_, _| false), []);
    assert_eq!(ask_on(&mut leases, (4_100, 7_000), both(2, 3)), []);
    assert!(leases.may_hold(run(3), at(7_000)));
}

#[test]
fn a_lease_is_counted_from_when_it_was_asked_for() {
    let mut holding = Holding::new(&profile(), at(0));
    assert_eq!(holding.asks_at(), at(0));
    holding.asks(at(50));
    assert_eq!(holding.asks_at(), at(150));
    // The answer took 200 ms.
    holding.granted(at(50), Grant { index: 7, remains: MS * 300 });
    assert!(holding.allows(7, at(349)) && holding.allows(9, at(250)));
    assert!(!holding.allows(7, at(350)), "it has run out");
    assert!(!holding.allows(6, at(250)), "the view was matched too early");
}

#[test]
fn a_lease_for_a_later_view_does_not_end_the_one_that_counts() {
    let mut holding = Holding::new(&profile(), at(0));
    holding.granted(at(0), Grant { index: 7, remains: MS * 300 });
    holding.granted(at(100), Grant { index: 9, remains: MS * 300 });
    assert!(holding.allows(7, at(299)) && !holding.allows(8, at(300)) && holding.allows(9, at(399)));
    // Answers may overtake each other.
    holding.granted(at(90), Grant { index: 9, remains: MS * 300 });
    assert!(!holding.allows(9, at(400)));
}

#[test]
fn a_lapsed_lease_silences_and_after_five_seconds_it_is_over() {
    let mut holding = Holding::new(&profile(), at(0));
    assert_eq!(holding.hold(7, at(100)), Hold::Silent);
    holding.granted(at(100), Grant { index: 7, remains: MS * 300 });
    assert_eq!(holding.hold(7, at(399)), Hold::Holds);
    assert_eq!(holding.hold(7, at(400)), Hold::Silent);
    assert_eq!(holding.hold(7, at(5_399)), Hold::Silent);
    assert_eq!(holding.hold(7, at(5_400)), Hold::Over);
    holding.granted(at(5_400), Grant { index: 7, remains: MS });
    assert_eq!(holding.hold(7, at(5_400)), Hold::Holds);
}

#[test]
fn who_had_no_lease_yet_or_has_had_none_for_long_had_better_lead_nothing() {
    let mut holding = Holding::new(&profile(), at(0));
    assert!(holding.yields(at(1)));
    holding.granted(at(100), Grant { index: 7, remains: MS * 300 });
    assert!(!holding.yields(at(100)) && !holding.yields(at(3_399)));
    assert!(holding.yields(at(3_400)));
    holding.granted(at(3_400), Grant { index: 9, remains: MS * 300 });
    assert!(!holding.yields(at(3_400)), "though it has not applied so far");
}

#[test]
fn a_barrier_opens_in_the_order_of_numbers() {
    let mut barrier = Barrier::default();
    let change = |number, index| Applied { number, index };
    barrier.applied(change(1, 10));
    barrier.applied(change(2, 20));
    barrier.applied(change(2, 25));
    barrier.in_force(19);
    assert_eq!(barrier.reached(), 1);
    barrier.in_force(5);
    barrier.applied(change(3, 19));
    assert_eq!(barrier.reached(), 1, "number 2 is not in force");
    barrier.in_force(20);
    assert_eq!(barrier.reached(), 3);
    for number in 4..2_000 {
        barrier.applied(change(number, 20 + number));
    }
    barrier.in_force(2_000);
    assert!(barrier.reached() < 1_999, "what is waited for together opens with its last");
    barrier.in_force(2_019);
    assert_eq!(barrier.reached(), 1_999);
}
