//! What is in flight to a client is never more than it allowed, and no queue is
//! longer than its bound. Held against every step of every replica.

use session_store::Shard;

use crate::clients::WINDOW;
use crate::history::Promise;
use crate::run::{CLIENTS, assert_kept};

pub(crate) fn check_step(shard: &Shard) -> Result<(), String> {
    let bound = shard.limits().queue;
    for (client, session) in CLIENTS.iter().filter_map(|client| Some((client, shard.session(client)?))) {
        let queue = session.outbound();
        if queue.in_flight() > u32::from(WINDOW) {
            return Err(format!("{} are in flight to {client}", queue.in_flight()));
        }
        if queue.len() > bound.messages_max || queue.bytes() > bound.bytes_max {
            return Err(format!("{} messages of {} bytes wait for {client}", queue.len(), queue.bytes()));
        }
    }
    Ok(())
}

#[test]
fn no_window_and_no_queue_goes_beyond_its_bound() {
    assert_kept(Promise::Bounds);
}
