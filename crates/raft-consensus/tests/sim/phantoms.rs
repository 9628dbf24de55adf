//! Nothing is delivered that nobody sent.

use crate::history::Promise;
use crate::run::assert_kept;

#[test]
fn nothing_is_delivered_that_nobody_sent() {
    assert_kept(Promise::Phantoms);
}
