//! Messages that come from no connection: those that a shard itself publishes, those of the node, and those of
//! shared groups whose member is gone. Used by relays, by connections that end, and for `$SYS`; never waits. Of a relay's
//! messages it picks nobody in shared groups: the log says who takes them.

use std::sync::Arc;

use session_store::command::{GroupPick, Publish, PublishItem};
use session_store::matching::GroupRef;
use session_store::outbox::{OutboxItem, OutboxKind};
use session_store::picks::{InGroup, Pick, Taker};
use session_store::word::ForMember;
use session_store::{ClientId, ConnectionId, Host, Incarnation, MessageRef, NodeId};

use super::{Publisher, Staged, ToShard};
use crate::fanout::{Accepted, Destination, Fanout, Gathering, Matched, Placed};
use crate::inbox::Dropped;

/// Nobody's connection.
const NO_CONNECTION: ConnectionId =
    ConnectionId { host: Host { node: NodeId(0), incarnation: Incarnation(0) }, number: 0 };

/// What the gathered messages were matched by.
#[derive(Debug)]
enum MatchedBy {
    /// The topic of this message.
    Topic(MessageRef),
    /// The same without its groups, and without transient subscribers where they have had it.
    Ungrouped(MessageRef, bool),
    /// The name of a group.
    Group(GroupRef),
}

/// An item of an outbox.
pub(super) struct Relayed<'a> {
    /// Its position.
    pub(super) position: u64,
    /// The item, with who takes it in shared groups.
    pub(super) item: &'a OutboxItem,
    /// The shard that stores it as retained, where it is to be.
    pub(super) topic_home: Option<u16>,
    /// Whether ordinary transient subscribers here have had it.
    pub(super) given_here: bool,
}

/// Messages on their way to all who get them. Consecutive ones of one topic, or of one group, are matched once
/// and delivered together.
#[derive(Debug)]
pub(crate) struct Dispatch {
    fanout: Arc<Fanout>,
    matched: Matched,
    by: Option<MatchedBy>,
    gathered: Gathering,
    staged: Staged,
    members: Vec<ForMember>,
    dropped: Dropped,
    nobody: ClientId,
    /// The oldest view that something was matched in.
    as_of: u64,
}

/// What is left to do after messages were dispatched.
#[derive(Debug)]
pub(crate) struct Dispatched {
    /// Commands for shards, in the order in which they are to arrive.
    pub(crate) commands: Vec<ToShard>,
    /// Publishes for other hosts, likewise.
    pub(crate) hosts: Vec<(Host, Publish)>,
    /// What transient members of groups get of an outbox, in the order of its positions.
    pub(super) members: Vec<ForMember>,
    /// What mailboxes had no room for.
    pub(crate) dropped: Dropped,
    /// The oldest entry of the cluster group's log that something was matched as of: without a lease that allows it, all
    /// that goes to others is to be matched again.
    pub(crate) as_of: u64,
}

impl Dispatch {
    /// Messages dispatched at most before [`Dispatch::finish`]: others get their turn then.
    pub(crate) const BATCH: usize = 64;

    /// Nothing to dispatch yet.
    pub(crate) fn new(fanout: &Arc<Fanout>) -> Self {
        Self {
            fanout: Arc::clone(fanout),
            matched: Matched::default(),
            by: None,
            gathered: Gathering::default(),
            staged: Staged::default(),
            members: Vec::new(),
            dropped: Dropped::default(),
            nobody: ClientId::new(""),
            as_of: u64::MAX,
        }
    }

    fn match_anew(&mut self, matched: Matched, by: MatchedBy) {
        self.as_of = self.as_of.min(matched.as_of);
        self.matched = matched;
        self.by = Some(by);
    }

    /// Publishes a message; `topic_home` is the shard that stores it as retained, where it is to be. `number`
    /// goes with it to each shard: its position in an outbox, else 0.
    pub(crate) fn publish(
        &mut self,
        publisher: &ClientId,
        (message, number): (&MessageRef, u64),
        topic_home: Option<u16>,
    ) {
        let topic = message.body.topic();
        let same = matches!(&self.by, Some(MatchedBy::Topic(last)) if last.body.topic() == topic);
        if !same || !self.fanout.is_current(&self.matched) {
            self.deliver();
            self.match_anew(self.fanout.match_now(topic), MatchedBy::Topic(Arc::clone(message)));
        }
        self.add((message, number), publisher, topic_home);
    }

    /// Picks another member of a group for a message whose member is gone; nobody gets it when none is left.
    pub(crate) fn redispatch(&mut self, group: &GroupRef, (message, number): (&MessageRef, u64)) {
        let same = matches!(&self.by, Some(MatchedBy::Group(last)) if last == group);
        if !same || !self.fanout.is_current(&self.matched) {
            self.deliver();
            self.match_anew(self.fanout.group_now(group), MatchedBy::Group(Arc::clone(group)));
        }
        let nobody = self.nobody.clone();
        self.add((message, number), &nobody, None);
    }

    /// Dispatches an item of an outbox to whoever matches, and in shared groups to whoever was picked.
    pub(super) fn relay(&mut self, relayed: Relayed<'_>) {
        let Relayed { position, item, topic_home, given_here } = relayed;
        if item.kind == OutboxKind::Publish {
            self.match_ungrouped(&item.message, given_here);
            self.add((&item.message, position), &item.publisher, topic_home);
        }
        for Pick { group, taker } in item.picks.iter() {
            let (group, message) = (GroupRef::clone(group), Arc::clone(&item.message));
            match *taker {
                Taker::Shard(shard, choice) => {
                    let groups = vec![GroupPick { group, choice }];
                    let (number, sessions, store_retained) = (position, false, false);
                    let part = PublishItem { number, message, sessions, store_retained, groups };
                    let by = Publisher::unasked(&item.publisher);
                    self.staged.publish(Destination::Shard(shard.0), by, part);
                }
                Taker::Member(member) => {
                    self.members.push(ForMember { of: InGroup { position, group }, member, message });
                }
            }
        }
    }

    fn match_ungrouped(&mut self, message: &MessageRef, given: bool) {
        let topic = message.body.topic();
        let same = matches!(&self.by, Some(MatchedBy::Ungrouped(last, had)) if last.body.topic() == topic && *had == given);
        if !same || !self.fanout.is_current(&self.matched) {
            self.deliver();
            let mut matched = self.fanout.match_now(topic);
            matched.groups.clear();
            if given {
                matched.locals.clear();
            }
            self.match_anew(matched, MatchedBy::Ungrouped(Arc::clone(message), given));
        }
    }

    fn add(&mut self, (message, number): (&MessageRef, u64), publisher: &ClientId, topic_home: Option<u16>) {
        let accepted = Accepted { message: Arc::clone(message), publisher, topic_home, number };
        let Self { fanout, matched, gathered, staged, .. } = self;
        gathered.add((fanout, matched), accepted, |to, item| {
            staged.publish(to, Publisher::unasked(publisher), PublishItem { number, ..item });
        });
    }

    fn deliver(&mut self) {
        let Self { matched, gathered, staged, nobody, .. } = self;
        let dropped = gathered.deliver(matched, NO_CONNECTION, |placed| match placed {
            Placed::Here(_) => {}
            Placed::Elsewhere(to, item) => staged.publish(to, Publisher::unasked(nobody), item),
        });
        self.dropped.add(dropped);
    }

    /// Delivers what was gathered, and gives what is left to do. Remembers nothing that was matched.
    pub(crate) fn finish(&mut self) -> Dispatched {
        self.deliver();
        self.by = None;
        self.matched = Matched::default();
        let (members, dropped) = (std::mem::take(&mut self.members), std::mem::take(&mut self.dropped));
        let as_of = std::mem::replace(&mut self.as_of, u64::MAX);
        let (commands, hosts) = self.staged.take();
        Dispatched { commands, hosts, members, dropped, as_of }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use mqtt_codec::{QoS, SharedPublish, Text};
    use session_store::command::{Command, Members, RouteChange};
    use session_store::limits::QueuePolicy;
    use session_store::matching::{GroupName, Subscribed};
    use session_store::{Message, ShardId};
    use topic_index::Filter;

    use super::*;
    use crate::config::SharedStrategy;
    use crate::inbox::{Inbox, InboxLimits};

    fn message(topic: &str, n: u8) -> MessageRef {
        let payload = Bytes::copy_from_slice(&[n]);
        let body = SharedPublish::new(&Text::new(topic).unwrap(), &Bytes::new(), &payload);
        Arc::new(Message { body, qos: QoS::AtLeastOnce, retain: false, expires_at: None })
    }

    fn filter(text: &str) -> Filter {
        Filter::parse(text, 9).unwrap()
    }

    fn subscriber(fanout: &Fanout, id: u64, text: &str) -> Arc<Inbox> {
        let limits = InboxLimits {
            messages_max: 100,
            bytes_max: 1 << 20,
            qos0_bytes_max: 1 << 20,
            policy: QueuePolicy::DropNewest,
        };
        let inbox = Inbox::new(ConnectionId { number: id, ..NO_CONNECTION }, limits);
        let subscribed =
            Subscribed { qos: QoS::AtLeastOnce, no_local: false, retain_as_published: false, id: None };
        fanout.subscribe(&filter(text), &inbox, subscribed);
        inbox
    }

    fn payloads(inbox: &Inbox) -> Vec<u8> {
        inbox.close().messages.iter().map(|item| item.message.body.payload()[0]).collect()
    }

    /// For each command: its shard, its publisher, and the first payload byte of each message.
    fn sent(commands: &[ToShard]) -> Vec<(u16, &str, Vec<u8>)> {
        let payload = |item: &PublishItem| item.message.body.payload()[0];
        let mut all = Vec::new();
        for to in commands {
            let Command::Publish(publish) = &to.command else { panic!("{to:?}") };
            all.push((to.shard, publish.publisher.as_str(), publish.items.iter().map(payload).collect()));
        }
        all
    }

    #[test]
    fn messages_of_one_publisher_go_in_one_command_and_none_overtakes() {
        let fanout = Arc::new(Fanout::new(SharedStrategy::RoundRobin));
        let (all, only_a) = (subscriber(&fanout, 1, "#"), subscriber(&fanout, 2, "a"));
        let change =
            RouteChange { filter: filter("a"), qos: Some(QoS::AtLeastOnce), members: Members::default() };
        fanout.change_route(3, &change);
        let mut dispatch = Dispatch::new(&fanout);
        let (one, two) = (ClientId::new("one"), ClientId::new("two"));
        for (publisher, topic, n) in
            [(&one, "a", 0), (&one, "a", 1), (&one, "b", 2), (&two, "a", 3), (&one, "a", 4)]
        {
            dispatch.publish(publisher, (&message(topic, n), 0), (n == 2).then_some(3));
        }
        let dispatched = dispatch.finish();
        let expected = [(3, "one", vec![0, 1, 2]), (3, "two", vec![3]), (3, "one", vec![4])];
        assert_eq!(sent(&dispatched.commands), expected);
        assert_eq!(dispatched.dropped, Dropped::default());
        assert!(dispatch.finish().commands.is_empty(), "what is finished is not sent again");
        assert_eq!((payloads(&all), payloads(&only_a)), (vec![0, 1, 2, 3, 4], vec![0, 1, 3, 4]));
    }

    #[test]
    fn a_change_of_the_view_is_seen_by_the_next_message_of_the_same_topic() {
        let fanout = Arc::new(Fanout::new(SharedStrategy::RoundRobin));
        let mut dispatch = Dispatch::new(&fanout);
        let early = subscriber(&fanout, 1, "a");
        dispatch.publish(&ClientId::new("p"), (&message("a", 0), 0), None);
        let late = subscriber(&fanout, 2, "a");
        dispatch.publish(&ClientId::new("p"), (&message("a", 1), 0), None);
        dispatch.finish();
        assert_eq!((payloads(&early), payloads(&late)), (vec![0, 1], vec![1]));
    }

    #[test]
    fn messages_of_a_member_that_is_gone_go_to_the_others_of_its_group_alone() {
        let fanout = Arc::new(Fanout::new(SharedStrategy::RoundRobin));
        let members: Vec<Arc<Inbox>> = (1..=2).map(|id| subscriber(&fanout, id, "$share/g/a")).collect();
        let other = subscriber(&fanout, 3, "a");
        let Filter::Shared { group, filter } = filter("$share/g/a") else { panic!("not shared") };
        let name = Arc::new(GroupName { group, filter: filter.clone() });
        let nobody = Arc::new(GroupName { group: "none".into(), filter });
        let mut dispatch = Dispatch::new(&fanout);
        for n in 0..4 {
            dispatch.redispatch(&name, (&message("a", n), 0));
            dispatch.redispatch(&nobody, (&message("a", n), 0));
        }
        assert!(dispatch.finish().commands.is_empty());
        let got: Vec<Vec<u8>> = members.iter().map(|inbox| payloads(inbox)).collect();
        assert_eq!((got, payloads(&other)), (vec![vec![0, 2], vec![1, 3]], vec![]));
    }

    #[test]
    fn an_item_of_an_outbox_goes_to_whom_was_picked_and_is_given_to_others_here_once() {
        let fanout = Arc::new(Fanout::new(SharedStrategy::RoundRobin));
        let all = subscriber(&fanout, 1, "#");
        let in_group = subscriber(&fanout, 2, "$share/g/a");
        let change =
            RouteChange { filter: filter("a"), qos: Some(QoS::AtLeastOnce), members: Members::default() };
        fanout.change_route(3, &change);
        let mut dispatch = Dispatch::new(&fanout);
        let Filter::Shared { group, filter } = filter("$share/g/a") else { panic!("not shared") };
        let group = Arc::new(GroupName { group, filter });
        let picked = [Taker::Shard(ShardId(5), 9), Taker::Member(in_group.id()), Taker::Shard(ShardId(3), 8)];
        for (position, taker) in (4..).zip(picked) {
            let mut item = OutboxItem::new(ClientId::new("p"), message("a", 0), OutboxKind::Publish);
            item.picks.add(vec![Pick { group: GroupRef::clone(&group), taker }], false);
            let given_here = position <= 4;
            dispatch.relay(Relayed { position, item: &item, topic_home: None, given_here });
        }
        let dispatched = dispatch.finish();
        let told = |item: &PublishItem| {
            (item.number, item.sessions, item.groups.iter().map(|pick| pick.choice).collect::<Vec<_>>())
        };
        let mut commands: Vec<_> = dispatched
            .commands
            .iter()
            .map(|to| match &to.command {
                Command::Publish(publish) => (to.shard, publish.items.iter().map(told).collect::<Vec<_>>()),
                other => panic!("{other:?}"),
            })
            .collect();
        commands.sort();
        let to_3 = vec![(4, true, vec![]), (5, true, vec![]), (6, true, vec![]), (6, false, vec![8])];
        assert_eq!(commands, [(3, to_3), (5, vec![(4, false, vec![9])])]);
        let members: Vec<_> = dispatched.members.iter().map(|one| (one.of.position, one.member)).collect();
        assert_eq!(members, [(5, in_group.id())]);
        assert_eq!(payloads(&all).len(), 2, "what was given before is left out");
        assert!(payloads(&in_group).is_empty(), "its host gives it to it");
    }
}
