//! D1: a packet id stands for one message until its exchange is complete, and no more is in flight than the client
//! allowed.

use crate::history::Promise;
use crate::run::assert_kept;

#[test]
fn no_packet_id_is_in_use_twice_and_no_window_is_exceeded() {
    assert_kept(Promise::PacketIds);
}
