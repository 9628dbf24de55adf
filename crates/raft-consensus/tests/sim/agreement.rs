//! G14, G15: every replica starts again from what its disk kept, and those that applied the same entries are equal.

use crate::history::Promise;
use crate::run::assert_kept;

#[test]
fn replicas_that_applied_the_same_entries_are_the_same() {
    assert_kept(Promise::Agreement);
}
