//! What outboxes have for transient members of shared groups: the way to their hosts, and what a host does with it. A host
//! remembers up to where it has given it to them, so that what another leader says again reaches nobody twice.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;
use session_store::Host;
use session_store::command::Input;
use session_store::picks::{InGroup, Taker};
use session_store::word::{ForMember, Given};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};

use super::delivery::node_of;
use super::lane::{TOGETHER, Target};
use super::peers::Word;
use super::{ShardGroup, ShardMachine, Shards, weight};
use crate::fanout::Fanout;
use crate::inbox::{Dropped, Run};

/// How long a host may take to answer before it is asked again.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// How long to wait where a host is not there to hear it.
const NOBODY_HEARS: Duration = Duration::from_millis(50);

/// A shard's outbox, as a host sees it.
#[derive(Debug, Default)]
pub(super) struct Guests {
    /// The last message that was given to a member.
    last: Mutex<Option<InGroup>>,
}

impl Guests {
    /// Gives messages to the members that they are for, in their order, up to one whose member is gone. Those that were
    /// given before are left out.
    pub(super) fn give(&self, fanout: &Fanout, messages: &[ForMember]) -> (Given, Dropped) {
        let mut last = self.last.lock();
        let mut dropped = Dropped::default();
        let new = messages.iter().position(|one| last.as_ref().is_none_or(|last| *last < one.of));
        let new = new.and_then(|first| messages.get(first..)).unwrap_or_default();
        for run in new.chunk_by(|a, b| a.member == b.member && a.of.group == b.of.group) {
            let (Some(first), Some(end)) = (run.first(), run.last()) else { continue };
            let matched = fanout.group_now(&first.of.group);
            let member = matched.groups.first().and_then(|group| group.member(first.member));
            let given = member.map(|member| {
                let messages = run.iter().map(|one| &one.message);
                member.inbox.deliver(Run { messages, copy: &member.copy, group: Some(&first.of.group) })
            });
            match given.filter(|given| !given.closed) {
                Some(given) => dropped.add(given),
                None => return (Given { up_to: last.clone(), gone: Some(first.of.clone()) }, dropped),
            }
            *last = Some(end.of.clone());
        }
        (Given { up_to: last.clone(), gone: None }, dropped)
    }
}

/// Messages by the host that they are for, in their order.
pub(super) fn by_host(messages: Vec<ForMember>) -> BTreeMap<Host, Vec<ForMember>> {
    let mut by_host: BTreeMap<Host, Vec<ForMember>> = BTreeMap::new();
    for message in messages {
        by_host.entry(message.member.host).or_default().push(message);
    }
    by_host
}

/// The way of an outbox to the transient members on one host.
pub(super) struct HostLane {
    pub(super) outbox: u16,
    pub(super) host: Host,
    pub(super) shards: Shards,
    pub(super) group: ShardGroup,
}

impl HostLane {
    /// Ends when there is nothing more to send, or the groups have ended.
    pub(super) async fn run(self, mut messages: mpsc::Receiver<Vec<ForMember>>) -> Option<()> {
        let mut together = Vec::new();
        while messages.recv_many(&mut together, TOGETHER).await > 0 {
            let messages: Vec<ForMember> = together.drain(..).flatten().collect();
            let last = messages.last().map_or(0, |last| last.of.position);
            self.give(messages).await?;
            self.shards.home(self.outbox)?.relay.answered(Target::Host(self.host), last);
        }
        Some(())
    }

    /// Asks the host until it has given all of these to their members, but for those that are for others by then.
    async fn give(&self, mut messages: Vec<ForMember>) -> Option<()> {
        loop {
            // What others take by then is not for this host any more, and all of it where that is dead.
            let left = move |machine: &mut ShardMachine| {
                messages.retain(|one| machine.taker(&one.of) == Some(Taker::Member(one.member)));
                messages
            };
            messages = self.group.look(left).await.ok()?;
            if messages.is_empty() {
                return Some(());
            }
            let (answer, said) = oneshot::channel();
            let word = Word::ForMembers(self.host, messages.clone(), answer);
            self.shards.tell(node_of(self.host), self.outbox, word);
            let Given { up_to, gone } = match timeout(ANSWER_TIMEOUT, said).await {
                Ok(Ok(given)) => given,
                Ok(Err(_)) => {
                    sleep(NOBODY_HEARS).await;
                    Given::default()
                }
                Err(_) => Given::default(),
            };
            messages.retain(|one| up_to.as_ref().is_none_or(|up_to| *up_to < one.of));
            if let Some(gone) = gone {
                let given_back = Input::GivenBack(gone);
                self.shards.has_space().await;
                self.group.room_for(weight::of(&given_back).bytes).await.ok()?.propose(given_back);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use mqtt_codec::{QoS, SharedPublish, Text};
    use session_store::limits::QueuePolicy;
    use session_store::matching::{GroupName, GroupRef, Subscribed};
    use session_store::{ConnectionId, Incarnation, Message, NodeId};
    use topic_index::Filter;

    use super::*;
    use crate::config::SharedStrategy;
    use crate::inbox::{Inbox, InboxLimits};

    const HOST: Host = Host { node: NodeId(1), incarnation: Incarnation(1) };

    fn member(fanout: &Fanout, number: u64) -> Arc<Inbox> {
        let limits = InboxLimits {
            messages_max: 100,
            bytes_max: 1 << 20,
            qos0_bytes_max: 1 << 20,
            policy: QueuePolicy::DropNewest,
        };
        let inbox = Inbox::new(ConnectionId { host: HOST, number }, limits);
        let subscribed =
            Subscribed { qos: QoS::ExactlyOnce, no_local: false, retain_as_published: false, id: None };
        for group in ["$share/a/t", "$share/b/t"] {
            fanout.subscribe(&Filter::parse(group, 9).unwrap(), &inbox, subscribed);
        }
        inbox
    }

    fn group(name: &str) -> GroupRef {
        Arc::new(GroupName { group: name.into(), filter: Filter::parse("t", 9).unwrap().plain().clone() })
    }

    /// The item at a position for a member of a group.
    fn item(position: u64, name: &str, number: u64) -> ForMember {
        let payload = Bytes::from(format!("{position}{name}"));
        let body = SharedPublish::new(&Text::new("t").unwrap(), &Bytes::new(), &payload);
        let message = Arc::new(Message { body, qos: QoS::ExactlyOnce, retain: false, expires_at: None });
        let of = InGroup { position, group: group(name) };
        ForMember { of, member: ConnectionId { host: HOST, number }, message }
    }

    fn got(inbox: &Inbox) -> Vec<String> {
        let messages = inbox.close().messages;
        messages.iter().map(|item| String::from_utf8_lossy(item.message.body.payload()).into()).collect()
    }

    fn up_to(position: u64, name: &str) -> Given {
        Given { up_to: Some(InGroup { position, group: group(name) }), gone: None }
    }

    #[test]
    fn what_is_said_again_is_given_once() {
        let fanout = Fanout::new(SharedStrategy::RoundRobin);
        let members = [member(&fanout, 1), member(&fanout, 2)];
        let guests = Guests::default();
        let items = [item(1, "a", 1), item(1, "b", 1), item(2, "a", 1), item(2, "b", 2), item(4, "a", 1)];
        assert_eq!(guests.give(&fanout, &items[..3]).0, up_to(2, "a"));
        assert_eq!(guests.give(&fanout, &items[..2]).0, up_to(2, "a"), "of an earlier leader");
        assert_eq!(guests.give(&fanout, &items).0, up_to(4, "a"));
        let expected = [vec!["1a", "1b", "2a", "4a"], vec!["2b"]];
        assert_eq!(members.map(|inbox| got(&inbox)), expected);
    }

    #[test]
    fn nothing_is_given_behind_a_member_that_is_gone_until_its_messages_are_for_others() {
        let fanout = Fanout::new(SharedStrategy::RoundRobin);
        let (stays, ended, left) = (member(&fanout, 1), member(&fanout, 2), member(&fanout, 3));
        ended.close();
        let subscriptions = ["$share/a/t"].map(|group| Filter::parse(group, 9).unwrap());
        fanout.unsubscribe_all(subscriptions.iter(), left.id());
        let guests = Guests::default();
        for gone in [2, 3] {
            let first = gone * 10;
            let items = [item(first, "a", 1), item(first + 1, "a", gone), item(first + 2, "a", 1)];
            let gone = Some(InGroup { position: first + 1, group: group("a") });
            let expected = Given { gone, ..up_to(first, "a") };
            assert_eq!(guests.give(&fanout, &items).0, expected);
            assert_eq!(guests.give(&fanout, &items).0, expected, "as often as it is asked");
            let others = [items[0].clone(), items[2].clone()];
            assert_eq!(guests.give(&fanout, &others).0, up_to(first + 2, "a"));
        }
        assert_eq!(got(&stays), ["20a", "22a", "30a", "32a"]);
        assert!(got(&left).is_empty());
    }
}
