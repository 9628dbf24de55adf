//! What shards have to do with other hosts: the numbers of their routes that a SUBACK waits for, and publishes on their way to
//! transient sessions there. Used by connections and by relays; decides nothing.

use std::sync::Arc;

use raft_consensus::cluster::{Live, Owner};
use session_store::command::Publish;
use session_store::word::FramePart;
use session_store::{ClientId, Epoch, Host, ShardId};

use super::Shards;
use crate::inbox::Inbox;
use crate::latest::Present;
use crate::others::Others;
use crate::streams::Asker;

impl Shards {
    /// What a node with peers has besides; `None` where it has none.
    pub(crate) fn others(&self) -> Option<&Others> {
        self.inner.others.as_ref()
    }

    /// The runs of nodes that live, as far as this one knows; none where it has no peers.
    pub(super) fn live_runs(&self) -> Live {
        self.others().map(|others| others.live.borrow().clone()).unwrap_or_default()
    }

    /// The owner of a client's persistent routes, and the number of them with which all is in force that its home has
    /// answered to this host by now.
    pub(crate) fn routes_of(&self, home: u16) -> (Owner, u64) {
        let told = self.home(home).map_or(0, |home| home.routes.told());
        (Owner::Shard(ShardId(home)), told)
    }

    /// Whether ordinary transient subscribers here have had nothing of this position of an outbox: whoever asks gives it
    /// to them.
    pub(crate) fn claim(&self, outbox: u16, position: u64) -> bool {
        self.home(outbox).is_none_or(|home| home.relay.claim(position))
    }

    /// A client is connected here; `None` where the node has no peers, of whom something of it could come late.
    pub(crate) fn is_present(&self, client: &ClientId, epoch: Epoch) -> Option<Present> {
        Some(self.others()?.latest.enter(client, epoch))
    }

    /// Whether what was matched as of an entry of the cluster group's log may be acted on.
    pub(super) fn allows(&self, as_of: u64) -> bool {
        self.others().is_none_or(|others| others.lease.allows(as_of))
    }

    /// Sends what an outbox has for ordinary transient subscribers of another host, which `taken` is told of when they have
    /// it, or are gone.
    pub(super) fn send_to_host(
        &self,
        host: Host,
        (outbox, publish): (u16, Publish),
        taken: impl FnOnce() + Send + 'static,
    ) {
        let Some(others) = self.others() else { return taken() };
        let part = FramePart { outbox: Some(ShardId(outbox)), publish };
        others.streams.send_now(host, part, Asker::Outbox(Box::new(taken)));
    }

    /// Sends publishes of a connection to other hosts, and has it answered; waits while there is no room. Returns how many
    /// of QoS 0 were dropped for want of it.
    pub(crate) async fn send_to_hosts(&self, hosts: Vec<(Host, Publish)>, from: &Arc<Inbox>) -> u64 {
        let Some(others) = self.others() else { return 0 };
        let mut dropped = 0;
        for (host, publish) in hosts {
            let part = FramePart { outbox: None, publish };
            dropped += others.streams.send(host, part, Asker::Connection(Arc::clone(from))).await;
        }
        dropped
    }

    /// Sends publishes to other hosts, which nobody waits for.
    pub(crate) async fn send_unasked(&self, hosts: Vec<(Host, Publish)>) {
        let Some(others) = self.others() else { return };
        for (host, publish) in hosts {
            let part = FramePart { outbox: None, publish };
            others.streams.send(host, part, Asker::Nobody).await;
        }
    }
}
