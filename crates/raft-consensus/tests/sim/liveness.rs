//! G13: with faults stopped everything is answered, delivered and applied everywhere, without an operator.

use crate::history::Promise;
use crate::run::assert_kept;

#[test]
fn a_world_in_peace_comes_to_rest() {
    assert_kept(Promise::Liveness);
}
