//! G8: whoever is cut off from the others answers nothing, but for what was committed just before. Held against every step
//! of every replica that takes itself for the leader.

use std::time::Duration;

use mqtt_codec::QoS;
use openraft::async_runtime::AsyncRuntime;
use openraft::type_config::TypeConfigExt;
use openraft_rt_sim::SimRuntime;
use raft_consensus::types::NodeId;
use session_store::Effect;
use session_store::failpoint::{self, Mutant};

use crate::clients::{Outbound, Wanted, connect, message};
use crate::history::{History, Outcome, Promise, Sometimes};
use crate::home::SHARDS;
use crate::replica::{NODES, SimTypes};
use crate::run::{assert_kept, until};
use crate::world::World;

/// A lease, which is how long a success may come after the last word of a majority, and what a sync takes that is under way.
const ANSWERS_MS: u64 = 300 + 240;

/// What a replica that leads is about to say.
pub(crate) fn check(history: &History, node: NodeId, effects: &[Effect]) {
    let Some(cut_off_ms) = history.cut_off_for(node, 0).filter(|ms| *ms > ANSWERS_MS) else { return };
    if let Some(answer) = effects.iter().find(|effect| matches!(effect, Effect::Answer(_))) {
        let how = format!("node {node}, cut off for {cut_off_ms} ms, says {answer:?}");
        history.broken(Promise::Minority, how);
    }
}

/// Requests were proposed to a leader that is cut off, long enough for an answer to be one too many.
pub(crate) fn proposed(history: &History, node: NodeId) {
    if history.cut_off_for(node, 0).is_some_and(|ms| ms > ANSWERS_MS) {
        history.saw(Sometimes::MinorityHeld);
    }
}

#[test]
fn a_minority_answers_nothing() {
    assert_kept(Promise::Minority);
}

/// A publish to a leader that has been cut off from all others for longer than it may answer.
pub(crate) fn cut_off(mutant: Option<Mutant>) -> Outcome {
    const SEED: u64 = 7;
    failpoint::build_in(mutant);
    let outcome = SimRuntime::with_seed(SEED).block_on(async {
        let world = World::begin(SEED).await;
        until(&world, || (0..SHARDS).all(|shard| world.leader(shard).is_some())).await;
        let Ok(at) = connect(&world, &Wanted::steady("plain")).await else { panic!("not connected") };
        NODES.into_iter().for_each(|node| world.isolate(node));
        SimTypes::sleep(Duration::from_millis(2 * ANSWERS_MS)).await;
        let sent = Outbound { number: 1, message: message(1, "t/1", QoS::AtLeastOnce, None) };
        let _unanswered = SimTypes::timeout(Duration::from_secs(2), at.publish(&world, &[sent])).await;
        world.history.outcome()
    });
    failpoint::build_in(None);
    outcome
}

#[test]
fn what_is_published_to_a_leader_that_is_cut_off_waits() {
    let outcome = cut_off(None);
    assert!(outcome.sometimes.contains_key(&Sometimes::MinorityHeld), "{outcome:?}");
    assert!(
        !outcome.sometimes.contains_key(&Sometimes::Acknowledged) && outcome.broken.is_empty(),
        "{outcome:?}"
    );
}
