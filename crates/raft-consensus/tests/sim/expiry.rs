//! No message is sent for the first time once the log's time is beyond its expiry. Held against
//! every step of every replica.

use session_store::command::Push;
use session_store::{Effect, Shard};

use crate::history::Promise;
use crate::run::assert_kept;

pub(crate) fn check_step(shard: &Shard, effects: &[Effect]) -> Result<(), String> {
    let now = shard.now();
    for effect in effects {
        let Effect::Push(_, pushes) = effect else { continue };
        for push in pushes {
            if let Push::Publish { dup: false, item, position, .. } = push
                && item.message.expired(now)
            {
                return Err(format!(
                    "position {position} expired at {:?}, and it is {now:?}",
                    item.message.expires_at
                ));
            }
        }
    }
    Ok(())
}

#[test]
fn what_has_expired_is_not_sent_for_the_first_time() {
    assert_kept(Promise::Expiry);
}
