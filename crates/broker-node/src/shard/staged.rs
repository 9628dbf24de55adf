//! Commands for shards, collected and sent together: by a connection while it handles one read, by `Dispatch` for
//! all that it publishes. Never sends anything itself.

use raft_consensus::proposer::ENTRY_BYTES_MAX;
use session_store::ConnectionId;
use session_store::command::{Ack, Acks, Command, Publish, PublishItem};
use session_store::{ClientId, Epoch};

use super::Dispatch;

/// Messages larger than this go to a shard by themselves: those that go together fit into an entry of its log.
const TOGETHER_BYTES_MAX: usize = ENTRY_BYTES_MAX / Dispatch::BATCH;

/// Commands by shard, in the order in which they are to arrive.
#[derive(Debug, Default)]
pub(crate) struct Staged {
    commands: Vec<(u16, Command)>,
}

impl Staged {
    /// Whether there is nothing to send.
    pub(crate) fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// Takes all of it.
    pub(crate) fn take(&mut self) -> Vec<(u16, Command)> {
        std::mem::take(&mut self.commands)
    }

    /// Adds a command.
    pub(crate) fn push(&mut self, shard: u16, command: Command) {
        self.commands.push((shard, command));
    }

    /// Adds a publish, to those of the same client that are already there for this shard if nothing came
    /// between. All publishes of one `Staged` are answered to the same connection, or to nobody.
    pub(crate) fn publish(
        &mut self,
        shard: u16,
        (reply_to, client): (Option<ConnectionId>, &ClientId),
        item: PublishItem,
    ) {
        let last = self.commands.iter_mut().rev().find(|(to, _)| *to == shard);
        if let Some((_, Command::Publish(publish))) = last
            && publish.publisher == *client
            && item.message.size() <= TOGETHER_BYTES_MAX
            && publish.items.last().is_some_and(|last| last.message.size() <= TOGETHER_BYTES_MAX)
        {
            publish.items.push(item);
            return;
        }
        let publish = Publish { reply_to, publisher: client.clone(), items: vec![item] };
        self.commands.push((shard, Command::Publish(publish)));
    }

    /// Adds an acknowledgement, to those that are already there if nothing came between.
    pub(crate) fn ack(&mut self, home: u16, (client, epoch): (&ClientId, Epoch), ack: Ack) {
        let last = self.commands.iter_mut().rev().find(|(to, _)| *to == home);
        if let Some((_, Command::Acks(acks))) = last {
            acks.acks.push(ack);
            return;
        }
        let acks = Acks { client: client.clone(), epoch, acks: vec![ack] };
        self.commands.push((home, Command::Acks(acks)));
    }
}
