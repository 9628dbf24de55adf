//! What ends by the passing of time: delayed wills, sessions, retained messages, and what dead nodes hosted.
//! Called by `Shard::apply`; never reads a clock.

use super::out::Out;
use super::{Shard, Timer};
use crate::ClientId;

/// Ends at most this many things at once, so that other work comes between.
const BATCH: usize = 1_000;

impl Shard {
    /// Carries out what is due at the log's time; what is left is due at the next tick, which is at once.
    pub(super) fn tick(&mut self, out: &mut Out<'_>) {
        self.end_the_dead(out);
        for _ in 0..BATCH {
            let due = self.due.first().filter(|(at, _, _)| *at <= self.now).cloned();
            let Some((_, what, client)) = due else { break };
            match what {
                Timer::Will => self.publish_will(&client, out),
                Timer::Expiry => self.expire_session(&client, out),
            }
            self.forget_if_nothing_is_left(&client);
        }
        let expired = self.retained.expire(self.now, BATCH);
        self.counters.retained_expired += expired as u64;
    }

    /// Ends a session whose client was away for longer than its expiry, and publishes a will that waited for less.
    pub(super) fn expire_session(&mut self, client: &ClientId, out: &mut Out<'_>) {
        self.counters.sessions_expired += 1;
        self.publish_will_if_alone(client, out);
        self.end_session(client, out);
    }
}
