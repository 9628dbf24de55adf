//! G8: whoever is cut off from the others answers nothing, but for what was committed just before. Held against every step
//! of every replica that takes itself for the leader.

use raft_consensus::types::NodeId;
use session_store::Effect;

use crate::history::{History, Promise, Sometimes};
use crate::run::assert_kept;

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
