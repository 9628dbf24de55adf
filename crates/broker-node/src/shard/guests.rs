//! What outboxes have for transient members of shared groups: the way to their hosts, and what a host does with it. A host
//! remembers up to where it has given it to them, so that what another leader says again reaches nobody twice.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;
use session_store::command::Input;
use session_store::picks::{InGroup, Pick, Taker};
use session_store::word::{ForMember, Given};
use session_store::{ClientId, ConnectionId, Host};
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
/// Bytes of messages and names that a host is told at a time, but for one that is larger by itself.
const WORD_BYTES_MAX: usize = 1 << 20;
/// How long to wait where a host is not there to hear it.
const NOBODY_HEARS: Duration = Duration::from_millis(50);

/// A shard's outbox, as a host sees it.
#[derive(Debug, Default)]
pub(super) struct Guests {
    said: Mutex<Said>,
}

/// What a host has said of an outbox.
#[derive(Debug, Default)]
struct Said {
    /// The last message that was given to a member.
    last: Option<InGroup>,
    /// The last one whose member was gone. It stays so for that one, also where the member comes back: the shard may hear
    /// it from a leader that was cut off meanwhile, and has then given the message to somebody else.
    gone: Option<(InGroup, ConnectionId)>,
}

impl Said {
    fn is_gone(&self, one: &ForMember) -> bool {
        self.gone.as_ref().is_some_and(|(of, member)| *of == one.of && *member == one.member)
    }
}

impl Guests {
    /// Gives messages to the members that they are for, in their order, up to one whose member is gone. Those that were
    /// given before are left out.
    pub(super) fn give(&self, fanout: &Fanout, messages: &[ForMember]) -> (Given, Dropped) {
        let mut said = self.said.lock();
        let mut dropped = Dropped::default();
        let new = messages.iter().position(|one| said.last.as_ref().is_none_or(|last| *last < one.of));
        let new = new.and_then(|first| messages.get(first..)).unwrap_or_default();
        let together = |a: &ForMember, b: &ForMember| {
            a.member == b.member && a.of.group == b.of.group && !a.member.is_any()
        };
        for run in new.chunk_by(together) {
            let (Some(first), Some(end)) = (run.first(), run.last()) else { continue };
            let given = if said.is_gone(first) { None } else { give_run(fanout, run, first) };
            match given.filter(|given| !given.closed) {
                Some(given) => dropped.add(given),
                None => {
                    said.gone = Some((first.of.clone(), first.member));
                    return (Given { up_to: said.last.clone(), gone: Some(first.of.clone()) }, dropped);
                }
            }
            said.last = Some(end.of.clone());
        }
        (Given { up_to: said.last.clone(), gone: None }, dropped)
    }
}

/// Gives messages to the member that they are for, or one to whichever is here.
fn give_run(fanout: &Fanout, run: &[ForMember], first: &ForMember) -> Option<Dropped> {
    if first.member.is_any() {
        return fanout.give_here(&first.of.group, &ClientId::new(""), &first.message);
    }
    let matched = fanout.group_now(&first.of.group);
    let member = matched.groups.first().and_then(|group| group.member(first.member))?;
    let messages = run.iter().map(|one| &one.message);
    Some(member.inbox.deliver(Run { messages, copy: &member.copy, group: Some(&first.of.group) }))
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
    async fn give(&self, messages: Vec<ForMember>) -> Option<()> {
        give(
            messages,
            |messages| self.still_theirs(messages),
            |messages| self.ask(messages),
            |of| self.back(of),
        )
        .await
    }

    /// Those of the messages that are for the same members yet, as of everything that was proposed before: none where
    /// their host is dead.
    async fn still_theirs(&self, mut messages: Vec<ForMember>) -> Option<Vec<ForMember>> {
        let left = move |machine: &mut ShardMachine| {
            messages.retain(|one| machine.taker(&one.of) == Some(Taker::Member(one.member)));
            messages
        };
        self.group.look(left).await.ok()
    }

    /// Asks the host once; it has given nothing where it does not answer in time.
    async fn ask(&self, messages: Vec<ForMember>) -> Given {
        let (answer, said) = oneshot::channel();
        self.shards.tell(node_of(self.host), self.outbox, Word::ForMembers(self.host, messages, answer));
        match timeout(ANSWER_TIMEOUT, said).await {
            Ok(Ok(given)) => return given,
            Ok(Err(_)) => sleep(NOBODY_HEARS).await,
            Err(_) => {}
        }
        Given::default()
    }

    /// A member is gone: what it was to have is for others of its groups.
    async fn back(&self, of: InGroup) -> Option<()> {
        let given_back = Input::GivenBack(of);
        self.shards.has_space().await;
        self.group.room_for(weight::of(&given_back).bytes).await.ok()?.propose(given_back);
        Some(())
    }
}

/// Asks again and again until nothing is left of the messages. Before each time those are left out that are for others
/// by then: they may have been given to these, and their host may be dead.
async fn give<L, A, B>(
    mut messages: Vec<ForMember>,
    still_theirs: impl Fn(Vec<ForMember>) -> L,
    ask: impl Fn(Vec<ForMember>) -> A,
    back: impl Fn(InGroup) -> B,
) -> Option<()>
where
    L: Future<Output = Option<Vec<ForMember>>>,
    A: Future<Output = Given>,
    B: Future<Output = Option<()>>,
{
    loop {
        messages = still_theirs(messages).await?;
        if messages.is_empty() {
            return Some(());
        }
        let Given { up_to, gone } = ask(fits_into_a_word(&messages).to_vec()).await;
        messages.retain(|one| up_to.as_ref().is_none_or(|up_to| *up_to < one.of));
        if let Some(gone) = gone {
            back(gone).await?;
        }
    }
}

/// The first of these messages, as many as a host is told at a time.
fn fits_into_a_word(messages: &[ForMember]) -> &[ForMember] {
    let mut bytes = 0;
    let fits = messages.iter().take_while(|one| {
        let first = bytes == 0;
        bytes += one.message.size() + Pick::size_in(&one.of.group);
        first || bytes <= WORD_BYTES_MAX
    });
    messages.get(..fits.count()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use mqtt_codec::{QoS, SharedPublish, Text};
    use session_store::limits::QueuePolicy;
    use session_store::matching::{GroupName, GroupRef, Subscribed};
    use session_store::{Incarnation, Message, NodeId};
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
    /// A leader that was cut off may still have it logged that the member is gone: its message is for others then.
    #[test]
    fn who_was_gone_once_gets_nothing_of_that_message_when_it_is_back() {
        let fanout = Fanout::new(SharedStrategy::RoundRobin);
        let member = member(&fanout, 1);
        let filter = Filter::parse("$share/a/t", 9).unwrap();
        fanout.unsubscribe(&filter, member.id());
        let guests = Guests::default();
        let items = [item(1, "a", 1), item(2, "a", 1)];
        let gone = |position| Given { up_to: None, gone: Some(InGroup { position, group: group("a") }) };
        assert_eq!(guests.give(&fanout, &items).0, gone(1));
        let subscribed =
            Subscribed { qos: QoS::ExactlyOnce, no_local: false, retain_as_published: false, id: None };
        fanout.subscribe(&filter, &member, subscribed);
        assert_eq!(guests.give(&fanout, &items).0, gone(1), "under another leader");
        assert_eq!(guests.give(&fanout, &items[1..]).0, up_to(2, "a"), "the shard has heard of it");
        assert_eq!(got(&member), ["2a"]);
    }

    /// Its host says nothing at first. When it is asked again somebody else has what was the first, and the second's member
    /// is gone.
    #[tokio::test]
    async fn what_is_for_others_by_then_is_not_asked_for_again() {
        let (looks, asked, given_back) = (Mutex::new(0), Mutex::new(Vec::new()), Mutex::new(Vec::new()));
        let items = vec![item(1, "a", 1), item(2, "a", 2), item(3, "a", 1)];
        let taken_by_others = [&[][..], &[1], &[1, 2], &[1, 2, 3]];
        let still_theirs = |mut messages: Vec<ForMember>| {
            let others = taken_by_others[*looks.lock()];
            *looks.lock() += 1;
            messages.retain(|one| !others.contains(&one.of.position));
            async { Some(messages) }
        };
        let ask = |messages: Vec<ForMember>| {
            asked.lock().push(messages.iter().map(|one| one.of.position).collect::<Vec<_>>());
            let gone = (asked.lock().len() == 2).then(|| messages[0].of.clone());
            async { Given { up_to: None, gone } }
        };
        let back = |of: InGroup| {
            given_back.lock().push(of.position);
            async { Some(()) }
        };
        give(items, still_theirs, ask, back).await.unwrap();
        assert_eq!(*asked.lock(), [vec![1, 2, 3], vec![2, 3], vec![3]]);
        assert_eq!(*given_back.lock(), [2]);
    }

    #[test]
    fn a_host_is_told_no_more_at_a_time_than_a_message_between_nodes_has() {
        let mut items: Vec<ForMember> = (1..=9).map(|position| item(position, "a", 1)).collect();
        let of = |bytes: usize| {
            let body = SharedPublish::new(&Text::new("t").unwrap(), &Bytes::new(), &vec![0; bytes].into());
            Arc::new(Message { body, qos: QoS::ExactlyOnce, retain: false, expires_at: None })
        };
        let third = of(WORD_BYTES_MAX / 3);
        items.iter_mut().for_each(|one| one.message = Arc::clone(&third));
        assert_eq!(fits_into_a_word(&items).len(), 2);
        assert_eq!(fits_into_a_word(&items[8..]).len(), 1);
        items[0].message = of(2 * WORD_BYTES_MAX);
        assert_eq!(fits_into_a_word(&items).len(), 1, "one that is larger by itself");
    }
}
