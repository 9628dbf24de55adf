//! Models of clients: what any of them does to connect, to publish and to end. Each kind has a file; none of them knows
//! more than a client does.

pub(crate) mod consumer;
pub(crate) mod ending;
pub(crate) mod groups;
pub(crate) mod publisher;
pub(crate) mod retained;
pub(crate) mod willed;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use mqtt_codec::{PacketId, QoS, SharedPublish, Text};
use openraft::type_config::TypeConfigExt;
use session_store::command::{
    Command, Connect, EXPIRY_NEVER, Publish, PublishItem, Reply, RetainedWanted, Subscribe, SubscribeTo, Will,
};
use session_store::matching::Subscribed;
use session_store::{ClientId, ConnectionId, Epoch, Message, MessageRef, Millis};
use topic_index::Filter;

use crate::history::{Number, Promise};
use crate::home::{SHARDS, home_of};
use crate::hosts::{Dead, Event, HostRun};
use crate::replica::SimTypes;
use crate::world::{View, World};

/// Receive Maximum of every client.
pub(crate) const WINDOW: u16 = 6;
const TICK: Duration = Duration::from_millis(5);
/// Between two connections, where the first came to nothing.
const AGAIN: Duration = Duration::from_millis(25);

/// How a client connects.
#[derive(Clone)]
pub(crate) struct Wanted {
    pub(crate) client: ClientId,
    pub(crate) clean_start: bool,
    pub(crate) expiry_s: u32,
    pub(crate) will: Option<Will>,
}

impl Wanted {
    /// With a session that never ends.
    pub(crate) fn steady(client: &str) -> Self {
        Self { client: ClientId::new(client), clean_start: false, expiry_s: EXPIRY_NEVER, will: None }
    }
}

/// A connection that its home has accepted.
#[derive(Clone)]
pub(crate) struct Connected {
    pub(crate) host: HostRun,
    pub(crate) connection: ConnectionId,
    pub(crate) client: ClientId,
    pub(crate) epoch: Epoch,
    pub(crate) present: bool,
    /// Who led its home before it was accepted.
    pub(crate) view: Option<View>,
}

/// Connects by any host.
pub(crate) async fn connect(world: &World, wanted: &Wanted) -> Result<Connected, Dead> {
    let connected = connect_by(world, world.any_host(), wanted).await;
    if connected.is_err() {
        world.history.lost_unheard(wanted.client.as_str());
    }
    connected
}

async fn connect_by(world: &World, host: HostRun, wanted: &Wanted) -> Result<Connected, Dead> {
    let Wanted { client, clean_start, expiry_s, will } = wanted.clone();
    let connection = host.accept(&client);
    let view = world.leader(home_of(client.as_str().as_bytes())).map(|(view, _)| view);
    let steady = !clean_start && expiry_s == EXPIRY_NEVER;
    let (shard, receive_maximum) = (home_of(client.as_str().as_bytes()), WINDOW);
    let connect =
        Connect { client: client.clone(), connection, clean_start, expiry_s, receive_maximum, will };
    let mut reply = host.ask(shard, Command::Connect(connect)).await?;
    while reply.is_none() {
        // It waits for the connection before it, which may not have heard that it is to stop.
        SimTypes::sleep(TICK).await;
        if let Some(Event::Reply(told)) = host.event(connection)? {
            reply = Some(told);
        }
    }
    let Some(Reply::Connected(Ok(told))) = reply else { return Err(Dead) };
    if steady {
        world.history.connected(client.as_str(), told.epoch.0, told.session_present);
    }
    if clean_start && told.session_present {
        world.history.broken(Promise::Epochs, format!("{client} asked for a new session and got an old one"));
    }
    Ok(Connected { host, connection, client, epoch: told.epoch, present: told.session_present, view })
}

/// A message to be published.
#[derive(Clone)]
pub(crate) struct Outbound {
    pub(crate) number: Number,
    pub(crate) message: MessageRef,
}

/// A topic and its payload, which begins with its number. That says too how long it is: many take several sectors of a
/// disk, so that a write of them can be torn.
pub(crate) fn body(number: Number, topic: &str) -> SharedPublish {
    let mut payload = number.to_be_bytes().to_vec();
    payload.resize(8 + (number * 977 % 2_048) as usize, 0);
    SharedPublish::new(&Text::new(topic).unwrap(), &Bytes::new(), &payload.into())
}

pub(crate) fn message(number: Number, topic: &str, qos: QoS, expires_at: Option<Millis>) -> MessageRef {
    Arc::new(Message { body: body(number, topic), qos, retain: false, expires_at })
}

/// The number that a payload begins with; none where it is empty.
pub(crate) fn number(message: &MessageRef) -> Option<Number> {
    let payload = message.body.payload();
    Some(Number::from_be_bytes(payload.get(..8)?.try_into().ok()?))
}

impl Connected {
    pub(crate) fn home(&self) -> u16 {
        home_of(self.client.as_str().as_bytes())
    }

    pub(crate) async fn ask(&self, command: Command) -> Result<Option<Reply>, Dead> {
        self.host.ask(self.home(), command).await
    }

    pub(crate) fn tell(&self, command: Command) {
        self.host.tell(self.home(), command);
    }

    /// Sends messages of QoS 1 to all shards, in their order; returns when all of them have been taken.
    pub(crate) async fn publish(&self, world: &World, messages: &[Outbound]) -> Result<(), Dead> {
        let mut answers = Vec::new();
        for Outbound { number, message } in messages {
            let picks = world.picks(message.body.topic(), *number);
            for shard in 0..SHARDS {
                let mine = picks.iter().filter(|(picked, _)| *picked == shard);
                let item = PublishItem {
                    number: *number,
                    message: message.clone(),
                    sessions: true,
                    store_retained: message.retain && home_of(message.body.topic()) == shard,
                    groups: mine.map(|(_, pick)| pick.clone()).collect(),
                };
                let (reply_to, publisher) = (Some(self.connection), self.client.clone());
                let publish = Publish { reply_to, publisher, epoch: None, items: vec![item] };
                answers.push(self.host.ask(shard, Command::Publish(publish)));
            }
        }
        let answers = join_all(answers).await;
        let taken = |answer: &Result<Option<Reply>, Dead>| matches!(answer, Ok(Some(Reply::Published(_))));
        if answers.iter().all(taken) { Ok(()) } else { Err(Dead) }
    }

    pub(crate) async fn subscribe(
        &self,
        filters: &[&str],
        qos: QoS,
        retained: RetainedWanted,
    ) -> Result<(), Dead> {
        let subscribed = Subscribed { qos, no_local: false, retain_as_published: false, id: None };
        let to =
            |filter: &&str| SubscribeTo { filter: Filter::parse(filter, 9).unwrap(), subscribed, retained };
        let filters = filters.iter().map(to).enumerate().collect();
        let (client, epoch, packet_id) = (self.client.clone(), self.epoch, PacketId::MIN);
        match self.ask(Command::Subscribe(Subscribe { client, epoch, packet_id, filters })).await? {
            Some(Reply::Subscribed(..)) => Ok(()),
            _ => Err(Dead),
        }
    }
}
