//! Commands for shards and publishes for other hosts, collected and sent together: by a connection while it handles one
//! read, by `Dispatch` for all that it publishes. Never sends anything itself.

use raft_consensus::proposer::{ENTRY_BYTES_MAX, ENTRY_ITEMS_MAX};
use session_store::ConnectionId;
use session_store::command::{Ack, Acks, Command, Publish, PublishItem};
use session_store::{ClientId, Epoch, Host};

use super::in_flight::Flight;
use crate::fanout::Destination;
use crate::latest::is_qos0;

/// A command for a shard.
#[derive(Debug)]
pub(crate) struct ToShard {
    /// The shard.
    pub(crate) shard: u16,
    /// The command.
    pub(crate) command: Command,
    /// It has retained publishes: the oldest of them, which stands for all.
    pub(crate) flight: Option<Flight>,
    /// Bytes of its publishes.
    bytes: usize,
}

impl ToShard {
    /// A command that publishes nothing.
    pub(crate) fn new(shard: u16, command: Command) -> Self {
        Self { shard, command, flight: None, bytes: 0 }
    }
}

/// Whose publishes they are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Publisher<'a> {
    /// The connection that is answered.
    pub(crate) reply_to: Option<ConnectionId>,
    /// Who published.
    pub(crate) client: &'a ClientId,
    /// On which connection; `None` where none did.
    pub(crate) epoch: Option<Epoch>,
}

impl<'a> Publisher<'a> {
    /// Of publishes that no connection waits for, and that none sent just now.
    pub(crate) fn unasked(client: &'a ClientId) -> Self {
        Self { reply_to: None, client, epoch: None }
    }

    fn publish(&self, item: PublishItem) -> Publish {
        let Self { reply_to, client, .. } = *self;
        Publish { reply_to, publisher: client.clone(), epoch: self.epoch_of(&item), items: vec![item] }
    }

    /// Only what may get lost says on which connection it was sent.
    fn epoch_of(&self, item: &PublishItem) -> Option<Epoch> {
        self.epoch.filter(|_| is_qos0(item))
    }

    fn add_to(&self, publish: &mut Publish, item: PublishItem) {
        publish.epoch = publish.epoch.or(self.epoch_of(&item));
        publish.items.push(item);
    }
}

/// Publishes by their host.
pub(crate) type ForHosts = Vec<(Host, Publish)>;

/// Commands by shard, and publishes by host, in the order in which they are to arrive.
#[derive(Debug, Default)]
pub(crate) struct Staged {
    commands: Vec<ToShard>,
    hosts: Vec<(Host, Publish, usize)>,
    bytes_total: usize,
}

impl Staged {
    /// Whether there is nothing to send.
    pub(crate) fn is_empty(&self) -> bool {
        self.commands.is_empty() && self.hosts.is_empty()
    }

    /// Bytes of the publishes that wait to be sent.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes_total
    }

    /// Takes all of it: what is for shards, and what is for hosts.
    pub(crate) fn take(&mut self) -> (Vec<ToShard>, ForHosts) {
        let Self { commands, hosts, .. } = std::mem::take(self);
        (commands, hosts.into_iter().map(|(host, publish, _)| (host, publish)).collect())
    }

    /// Drops what needs space in a log, and with it what others were to have of the same publishes.
    pub(crate) fn retain_freeing(&mut self) {
        self.commands.retain(|to| to.command.frees());
        self.hosts.clear();
    }

    /// Adds a command.
    pub(crate) fn push(&mut self, shard: u16, command: Command) {
        self.commands.push(ToShard::new(shard, command));
    }

    /// What was added last for a shard has a retained publish, which had begun before it was matched.
    pub(crate) fn depart(&mut self, shard: u16, flight: Flight) {
        if let Some(to) = self.commands.iter_mut().rfind(|to| to.shard == shard) {
            // An older one ends no sooner.
            to.flight.get_or_insert(flight);
        }
    }

    /// Adds a publish, to those of the same client that are already there for this destination if nothing came
    /// between, and if an entry of the log has room for all of them. All publishes of one `Staged` are answered to
    /// the same connection, or to nobody.
    pub(crate) fn publish(&mut self, to: Destination, by: Publisher<'_>, item: PublishItem) {
        let size = item.size();
        let shard = match to {
            Destination::Shard(shard) => shard,
            Destination::Host(host) => return self.publish_to_host(host, by, item),
        };
        let last = self.commands.iter_mut().rfind(|to| to.shard == shard);
        if let Some(ToShard { command: Command::Publish(publish), bytes, .. }) = last
            && publish.publisher == *by.client
            && publish.items.len() < ENTRY_ITEMS_MAX
            && *bytes + size <= ENTRY_BYTES_MAX
        {
            by.add_to(publish, item);
            *bytes += size;
            self.bytes_total += size;
            return;
        }
        let publish = Command::Publish(by.publish(item));
        self.commands.push(ToShard { bytes: size, ..ToShard::new(shard, publish) });
        self.bytes_total += size;
    }

    fn publish_to_host(&mut self, host: Host, by: Publisher<'_>, item: PublishItem) {
        let size = item.size();
        self.bytes_total += size;
        let last = self.hosts.iter_mut().rev().find(|(to, ..)| *to == host);
        if let Some((_, publish, bytes)) = last
            && publish.publisher == *by.client
            && publish.items.len() < ENTRY_ITEMS_MAX
            && *bytes + size <= ENTRY_BYTES_MAX
        {
            by.add_to(publish, item);
            *bytes += size;
            return;
        }
        self.hosts.push((host, by.publish(item), size));
    }

    /// Adds an acknowledgement, to those that are already there if nothing came between.
    pub(crate) fn ack(&mut self, home: u16, (client, epoch): (&ClientId, Epoch), ack: Ack) {
        let last = self.commands.iter_mut().rfind(|to| to.shard == home);
        if let Some(ToShard { command: Command::Acks(acks), .. }) = last {
            acks.acks.push(ack);
            return;
        }
        let acks = Acks { client: client.clone(), epoch, acks: vec![ack] };
        self.push(home, Command::Acks(acks));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use mqtt_codec::{QoS, SharedPublish, Text};
    use session_store::{Incarnation, Message, NodeId};

    use super::*;

    #[test]
    fn publishes_go_together_as_far_as_an_entry_has_room() {
        let item = |bytes| {
            let body =
                SharedPublish::new(&Text::new("t").unwrap(), &Bytes::new(), &Bytes::from(vec![0; bytes]));
            let message = Arc::new(Message { body, qos: QoS::AtLeastOnce, retain: false, expires_at: None });
            PublishItem { number: 1, message, sessions: true, store_retained: false, groups: Vec::new() }
        };
        let host = Host { node: NodeId(2), incarnation: Incarnation(3) };
        let sent = |to: Destination, bytes: usize, count: usize| {
            let mut staged = Staged::default();
            let client = ClientId::new("c");
            (0..count).for_each(|_| staged.publish(to, Publisher::unasked(&client), item(bytes)));
            assert!(staged.bytes() >= bytes * count);
            let items = |to: ToShard| match to.command {
                Command::Publish(publish) => publish.items.len(),
                other => panic!("{other:?}"),
            };
            let (commands, hosts) = staged.take();
            assert!(staged.is_empty() && staged.bytes() == 0);
            let to_hosts = hosts.into_iter().map(|(_, publish)| publish.items.len());
            commands.into_iter().map(items).chain(to_hosts).collect::<Vec<usize>>()
        };
        for to in [Destination::Shard(1), Destination::Host(host)] {
            assert_eq!(sent(to, 1, 1_000), [ENTRY_ITEMS_MAX, 1_000 - ENTRY_ITEMS_MAX]);
            assert_eq!(sent(to, 4_000, 100), [64, 36]);
            assert_eq!(sent(to, ENTRY_BYTES_MAX, 2), [1, 1]);
        }
    }
}
