//! Requests that a log without space holds back: who waits for them too long is sent away, and who comes back to drain its
//! queue is let in. Used by `Shards` and run as a task of the node; it never refuses a request, since a client would not
//! repeat it.

use std::sync::Arc;
use std::time::Duration;

use mqtt_codec::ReasonCode;
use raft_consensus::wal::Room;
use session_store::command::{Command, Connect};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{info, warn};

use super::drains::Turn;
use super::link::Asker;
use super::parked::Request;
use super::{Shards, ToShard, weight};
use crate::inbox::Inbox;

/// How long a request may wait for a log that has no space, before its connection is ended; up to twice that.
pub(crate) const HELD_MAX: Duration = Duration::from_secs(30);

impl Shards {
    /// Whether the log takes nothing more until there is space, but for what takes something out of a shard.
    pub(crate) fn is_full(&self) -> bool {
        *self.inner.room.borrow() != Room::Ok
    }

    /// Waits until there is space in the log.
    pub(crate) async fn has_space(&self) {
        let mut room = self.inner.room.clone();
        let _stopping = room.wait_for(|room| *room == Room::Ok).await.is_err();
    }

    /// Whether what is for a shard waits for space in this node's log. Where another node leads the shard, it is that one's
    /// log which has to have some.
    pub(super) fn is_held(&self, shard: u16) -> bool {
        let elsewhere = |leader| leader != self.node();
        self.is_full() && !self.home(shard).and_then(|home| home.link.leader()).is_some_and(elsewhere)
    }

    /// Waits until [`Self::is_held`] is over.
    pub(super) async fn has_space_for(&self, shard: u16) {
        let Some(home) = self.home(shard) else { return };
        tokio::select! {
            () = self.has_space() => {}
            () = home.link.until_led_elsewhere(self.node()) => {}
        }
    }

    /// Asks the home of a client to connect it, and waits until there is space for that; whoever does not wait so long has
    /// asked for nothing. One who comes back to its session takes something out of the shard before long: it has a part
    /// of the log where nobody else has.
    pub(crate) async fn connect(&self, shard: u16, connect: Connect, from: &Arc<Inbox>) {
        let comes_back = self.is_held(shard) && self.has_session(shard, &connect).await;
        let command = Command::Connect(connect);
        let bytes = weight::command(&command).bytes;
        while comes_back && self.is_held(shard) && *self.inner.room.borrow() == Room::Full {
            match self.inner.drains.take(bytes, Instant::now()) {
                Turn::Now => {
                    from.ask();
                    let asker = Asker { inbox: Some(Arc::clone(from)), ..Asker::default() };
                    let _stopping = self.put(shard, command, asker).await;
                    return;
                }
                Turn::At(then) => sleep_until(then).await,
                Turn::Over => break,
            }
        }
        self.has_space_for(shard).await;
        self.send(ToShard::new(shard, command), from).await;
    }

    /// Whether there is a session that a CONNECT goes on with, as far as this node knows.
    async fn has_session(&self, shard: u16, connect: &Connect) -> bool {
        let Some(group) = self.group(shard).filter(|_| !connect.clean_start) else { return false };
        let client = connect.client.clone();
        group.look_now(move |state| state.machine().has_session(&client)).await.unwrap_or(false)
    }

    /// Puts what waits for space into the log of a shard when there is some; runs until the node stops.
    pub(super) async fn unpark(self, shard: u16) {
        let Some(home) = self.home(shard) else { return };
        loop {
            home.parked.filled().await;
            self.has_space_for(shard).await;
            let Some(Request { command, asker, ticket, .. }) = home.parked.take() else { continue };
            // Whoever started the group hears of its end.
            let _ended = self.put(shard, command, asker).await;
            drop(ticket);
        }
    }

    /// Ends connections that have waited too long for a log that has no space; runs until the node stops.
    pub(crate) async fn end_held(self) {
        let mut room = self.inner.room.clone();
        while room.wait_for(|room| *room != Room::Ok).await.is_ok() {
            warn!(target: "quelea", "no space for the log: publishes of QoS 1 and 2 wait until there is");
            let mut asked_before = self.asked();
            while timeout(HELD_MAX, room.wait_for(|room| *room == Room::Ok)).await.is_err() {
                for (home, before) in self.inner.homes.iter().zip(&asked_before) {
                    let (asked, parked) = *before;
                    home.link.end_asked_before(asked, ReasonCode::QuotaExceeded);
                    home.parked.end_first(parked, ReasonCode::QuotaExceeded);
                }
                asked_before = self.asked();
            }
            self.inner.drains.refill();
            info!(target: "quelea", "there is space for the log again");
        }
    }

    /// The number of each shard's next request, and how many have waited for space so far.
    fn asked(&self) -> Vec<(u64, u64)> {
        self.inner.homes.iter().map(|home| (home.link.next(), home.parked.seen())).collect()
    }
}
