//! The end of a connection: what it still owes, what its home is told, and the last packet.
//! Called once, last; never reads from the socket.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use mqtt_codec::{PacketId, ReasonCode};
use node_routing::lease::Hold;
use session_store::Outbound;
use session_store::command::{End, Push};
use tokio::time::timeout;
use tracing::debug;

use super::Connection;
use crate::session::Ending;
use crate::shard::Dispatch;
use crate::worker::Node;

/// How long the frames of a connection that ends have to be answered.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a client has to take the last packets.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(1);

impl Connection {
    /// Ends the connection. Its home hears of it before the socket is closed, so that a DISCONNECT that
    /// was taken has its effect.
    pub(super) async fn end(mut self: Box<Self>, ending: Ending) {
        debug!(client = %self.client.id, why = %ending.why, "connection ended");
        if self.client.worker.node.traces.are_on() {
            self.client.show(None, || format!("the connection ends: {}", ending.why));
        }
        self.count(&ending);
        let will = self.client.will_fate(ending.will);
        let node = Arc::clone(&self.client.worker.node);
        self.client.drop_parked();
        if node.shards.is_full() || node.lease.hold() == Hold::Over {
            // The rest was never acknowledged.
            self.client.staged.retain_freeing();
            let _without_space = self.send_staged().await;
        } else {
            let _without_space = self.send_staged().await;
            let _late = timeout(SETTLE_TIMEOUT, self.settle()).await;
            let _without_space = self.send_staged().await;
        }
        let mut unsent = Vec::new();
        if self.client.persistent {
            let rest = self.client.inbox.close();
            unsent.extend(self.client.pushes.drain(..).chain(rest.pushes).filter_map(packet_id_of));
        } else {
            self.end_transient_session().await;
        }
        let client = &self.client;
        let (id, epoch, home) = (client.id.clone(), client.epoch, client.home);
        let end = End { client: id, epoch, will, expiry_s: ending.expiry_s, unsent };
        let inbox = Arc::clone(&client.inbox);
        let mut told = pin!(node.shards.end(home, end, &inbox));
        let stops = ending.reason == Some(ReasonCode::ServerShuttingDown);
        let (heard, stops) = tokio::select! {
            biased;
            () = &mut told => (true, stops),
            () = has_waited(&ending, &node) => (false, stops),
            _reason = inbox.ended() => (false, true),
        };
        self.client.worker.counters.clients_ended.add(1);
        // Before the client can see the end: whoever comes next finds the place.
        self.client.place = None;
        self.client.say_goodbye(&ending);
        let _client_gone = timeout(
            GOODBYE_TIMEOUT,
            poll_fn(|context| {
                let mut written = 0;
                self.socket.poll_write(&mut self.client.out, context, &mut written)
            }),
        )
        .await;
        self.socket.close().await;
        // A node that stops waits for nobody.
        if !heard && !stops {
            tokio::select! {
                () = told => {}
                _reason = inbox.ended() => {}
            }
        }
    }

    fn count(&self, ending: &Ending) {
        let counters = &self.client.worker.counters;
        match ending.reason {
            Some(ReasonCode::SessionTakenOver) => counters.taken_over.add(1),
            Some(
                ReasonCode::KeepAliveTimeout
                | ReasonCode::ServerShuttingDown
                | ReasonCode::AdministrativeAction
                | ReasonCode::UseAnotherServer
                | ReasonCode::QuotaExceeded
                | ReasonCode::NotAuthorized
                | ReasonCode::MessageRateTooHigh,
            )
            | None => {}
            Some(_) => counters.protocol_errors.add(1),
        }
    }

    /// Waits until every publish of the connection is answered, so that nothing of it takes effect after
    /// the client's next CONNACK, or after its will.
    async fn settle(&mut self) {
        while !self.client.acks.is_empty() {
            let taken = poll_fn(|context| self.client.inbox.poll_take(context)).await;
            // Whatever else a shard says of a connection that ends changes nothing any more.
            let _ending_already = self.client.receive_mail(taken.mail);
        }
    }

    /// Removes the session's subscriptions; messages of shared groups that nobody acknowledged go to other
    /// members.
    async fn end_transient_session(&mut self) {
        let client = &mut self.client;
        let node = Arc::clone(&client.worker.node);
        let subscriptions = std::mem::take(&mut *client.subscriptions.lock());
        if !subscriptions.is_empty() {
            node.fanout.unsubscribe_all(subscriptions.keys(), client.inbox.id());
        }
        // After the subscriptions: what was matched before is there now, what comes later is picked again.
        let rest = client.inbox.close();
        let outbound = std::mem::replace(&mut client.outbound, Outbound::new(false));
        let (mut back, in_doubt) = outbound.into_unacknowledged();
        client.worker.counters.qos2_in_doubt.add(in_doubt);
        back.extend(rest.messages.into_iter().filter_map(|item| Some((item.group?, item.message))));
        let mut dispatch = Dispatch::new(&node.fanout);
        for part in back.chunks(Dispatch::BATCH) {
            part.iter().for_each(|(group, message)| dispatch.redispatch(group, (message, 0)));
            let dispatched = dispatch.finish();
            client.worker.counters.count_dropped(dispatched.dropped);
            for command in dispatched.commands {
                node.shards.send(command, &client.inbox).await;
            }
            node.shards.send_unasked(dispatched.hosts).await;
        }
    }
}

/// Whoever is sent away need not wait for a log that has no space, and not at all when the node stops; whoever takes leave
/// waits.
async fn has_waited(ending: &Ending, node: &Node) {
    match ending.reason {
        Some(ReasonCode::ServerShuttingDown) if node.shards.is_full() => {}
        Some(_) if node.lease.hold() == Hold::Over => {}
        Some(_) => tokio::time::sleep(SETTLE_TIMEOUT).await,
        None => std::future::pending().await,
    }
}

/// The packet identifier of a message that was pushed.
pub(super) fn packet_id_of(push: Push) -> Option<PacketId> {
    match push {
        Push::Publish { packet_id, .. } => packet_id,
        Push::Stored { packet_id, .. } => Some(packet_id),
        Push::Release(_) | Push::ReleaseUnknown(_) | Push::PageEnd(_) => None,
    }
}
