//! Two replicas of one shard without a network: both apply what the log has, and what one of them decides is looked at.
//! For sequences that need no chance. The second one is written to a store and read back as often as a test wants.

use std::sync::Arc;

use bytes::Bytes;
use mqtt_codec::{PacketId, QoS, SharedPublish, Text};
use session_store::command::{
    Ack, Acks, Command, Connect, End, GroupPick, Input, Publish, PublishItem, Push, Reply, RetainedWanted,
    Subscribe, SubscribeTo, Will, WillFate,
};
use session_store::limits::ShardLimits;
use session_store::matching::{GroupName, GroupRef, Subscribed};
use session_store::{
    ClientId, ConnectionId, Effect, Epoch, Host, Incarnation, Message, MessageRef, Millis, NodeId, Request,
    Shard, ShardId, ShardNumber, Source,
};
use topic_index::Filter;

use crate::home;
use crate::store_files::Records;

/// When it begins.
const BEGIN: Millis = Millis(1_000_000);
/// Of a client's first connection, when it begins, and of the next one then.
pub(crate) const FIRST: Epoch = Epoch(BEGIN.0);
pub(crate) const SECOND: Epoch = Epoch(BEGIN.0 + 1);

pub(crate) const HOST: Host = Host { node: NodeId(11), incarnation: Incarnation(1) };

pub(crate) struct Twins {
    pub(crate) first: Shard,
    pub(crate) second: Shard,
    pub(crate) now: Millis,
    records: Records,
    requests: u64,
    connections: u64,
}

pub(crate) fn packet(number: u16) -> PacketId {
    PacketId::new(number).unwrap()
}

pub(crate) fn message(topic: &str, payload: &[u8], qos: QoS) -> MessageRef {
    let payload = Bytes::copy_from_slice(payload);
    let body = SharedPublish::new(&Text::new(topic).unwrap(), &Bytes::new(), &payload);
    Arc::new(Message { body, qos, retain: false, expires_at: None })
}

pub(crate) fn will(delay_s: u32) -> Will {
    let body = message("w", b"gone", QoS::AtLeastOnce).body.clone();
    Will { body, qos: QoS::AtLeastOnce, retain: false, delay_s, expiry_s: None }
}

pub(crate) fn group(name: &str) -> GroupRef {
    let Filter::Shared { group, filter } = Filter::parse(name, 9).unwrap() else { panic!("not shared") };
    Arc::new(GroupName { group, filter })
}

/// What was pushed: packet id, whether it may have come before, and the payload; PUBREL has none.
pub(crate) fn pushed(effects: &[Effect]) -> Vec<(u16, bool, Vec<u8>)> {
    let pushes = effects.iter().filter_map(|effect| match effect {
        Effect::Push(_, pushes) => Some(pushes),
        _ => None,
    });
    let told = |push: &Push| match push {
        Push::Publish { packet_id, dup, item, .. } => {
            Some((packet_id.map_or(0, PacketId::get), *dup, item.message.body.payload().to_vec()))
        }
        Push::Release(id) => Some((id.get(), false, Vec::new())),
        _ => None,
    };
    pushes.flatten().filter_map(told).collect()
}

/// The replies in answers.
pub(crate) fn replies(effects: &[Effect]) -> Vec<Reply> {
    let told = |effect: &Effect| match effect {
        Effect::Answer(answer) => answer.reply.clone().map(|(_, reply)| reply),
        Effect::Reply(_, reply) => Some(reply.clone()),
        _ => None,
    };
    effects.iter().filter_map(told).collect()
}

impl Twins {
    pub(crate) fn new() -> Self {
        Self::with(ShardLimits::default())
    }

    pub(crate) fn with(limits: ShardLimits) -> Self {
        let shard = || Shard::new(ShardNumber { number: ShardId(0), of: home::SHARDS }, limits);
        let (first, second, records) = (shard(), shard(), Records::new());
        Self { first, second, now: BEGIN, records, requests: 0, connections: 0 }
    }

    /// Both apply an input; gives what the first one wants to be done, and what the second one would.
    pub(crate) fn both(&mut self, input: Input) -> (Vec<Effect>, Vec<Effect>) {
        let (mut one, mut other) = (Vec::new(), Vec::new());
        self.first.apply(self.now, input.clone(), &mut one);
        self.second.apply(self.now, input, &mut other);
        assert_eq!(self.first.digest(), self.second.digest());
        self.first.validate().unwrap();
        (one, other)
    }

    /// Both apply an input, and the first one leads.
    pub(crate) fn input(&mut self, input: Input) -> Vec<Effect> {
        self.both(input).0
    }

    /// A request as it is numbered by its host.
    pub(crate) fn request(&self, number: u64, command: Command) -> Input {
        Input::from(Request { source: Source::Host(HOST), number, done_below: 1, command })
    }

    /// The next request of the host.
    pub(crate) fn ask(&mut self, command: Command) -> Vec<Effect> {
        self.requests += 1;
        let request = self.request(self.requests, command);
        self.input(request)
    }

    /// The second one crashes and starts with what its store has, which is everything.
    pub(crate) fn restart_second(&mut self) {
        for (key, value) in self.second.take_changes().iter() {
            match value {
                Some(value) => drop(self.records.insert(key.to_vec().into(), value.clone())),
                None => drop(self.records.remove(key)),
            }
        }
        self.second = home::restore(0, &self.records).unwrap();
        assert_eq!(self.first.digest(), self.second.digest());
    }

    pub(crate) fn connection(&mut self) -> ConnectionId {
        self.connections += 1;
        ConnectionId { host: HOST, number: self.connections }
    }

    pub(crate) fn connecting(&mut self, client: &str, expiry_s: u32) -> Connect {
        let (client, connection) = (ClientId::new(client), self.connection());
        let (clean_start, receive_maximum, will) = (false, 100, None);
        Connect { client, connection, clean_start, expiry_s, receive_maximum, will }
    }

    pub(crate) fn connect(&mut self, client: &str, expiry_s: u32) -> Vec<Effect> {
        let connect = self.connecting(client, expiry_s);
        self.ask(Command::Connect(connect))
    }

    pub(crate) fn end(&mut self, client: &str, epoch: Epoch, will: WillFate) -> Vec<Effect> {
        let client = ClientId::new(client);
        self.ask(Command::End(End { client, epoch, will, expiry_s: None, unsent: Vec::new() }))
    }

    pub(crate) fn subscribing(client: &str, filter: &str, retained: RetainedWanted) -> Command {
        let subscribed =
            Subscribed { qos: QoS::ExactlyOnce, no_local: false, retain_as_published: false, id: None };
        let to = SubscribeTo { filter: Filter::parse(filter, 9).unwrap(), subscribed, retained };
        let (client, filters) = (ClientId::new(client), vec![(0, to)]);
        Command::Subscribe(Subscribe { client, epoch: FIRST, packet_id: PacketId::MIN, filters })
    }

    pub(crate) fn subscribe(&mut self, client: &str, filter: &str) -> Vec<Effect> {
        self.ask(Self::subscribing(client, filter, RetainedWanted::Never))
    }

    pub(crate) fn publishing(message: MessageRef, groups: Vec<GroupPick>) -> Command {
        let item = PublishItem { number: 1, message, sessions: true, store_retained: false, groups };
        Command::Publish(Publish {
            reply_to: None,
            publisher: ClientId::new("p"),
            epoch: None,
            items: vec![item],
        })
    }

    pub(crate) fn publish(&mut self, message: MessageRef) -> Vec<Effect> {
        self.ask(Self::publishing(message, Vec::new()))
    }

    pub(crate) fn acks(client: &str, epoch: Epoch, acks: Vec<Ack>) -> Command {
        Command::Acks(Acks { client: ClientId::new(client), epoch, acks })
    }
}
