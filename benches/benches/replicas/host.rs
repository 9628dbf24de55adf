//! The one host of a shard's clients: it numbers their requests, hands out the answers, and keeps what is pushed to them.
//! Used by all measurements. It has no connections.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use mqtt_codec::{PacketId, QoS, SharedPublish, Text};
use parking_lot::Mutex;
use raft_consensus::group::Group;
use raft_consensus::types::TokioTypes;
use session_store::command::{
    Command, Connect, Connected, End, Input, Publish, PublishItem, Push, Reply, RetainedWanted, Subscribe,
    SubscribeTo, WillFate,
};
use session_store::matching::Subscribed;
use session_store::{ClientId, ConnectionId, Effect, Epoch, Host, Message, MessageRef, Request, Source};
use tokio::sync::{Notify, oneshot};
use topic_index::Filter;

use crate::node::Home;

/// What the host has asked of one shard, and what was pushed to its clients.
#[derive(Default)]
pub(crate) struct Asked {
    answered: u64,
    waiting: VecDeque<oneshot::Sender<Option<Reply>>>,
    pushed: VecDeque<Push>,
}

/// The same, of which the shard's machine has the other end.
#[derive(Clone, Default)]
pub(crate) struct Desk {
    asked: Arc<Mutex<Asked>>,
    filled: Arc<Notify>,
}

impl Desk {
    /// Hands out what an entry led to.
    pub(crate) fn carry_out(&self, effects: &mut Vec<Effect>) {
        let mut asked = self.asked.lock();
        for effect in effects.drain(..) {
            match effect {
                Effect::Answer(answer) => {
                    asked.answered += 1;
                    if let Some(waits) = asked.waiting.pop_front() {
                        let _nobody_waits = waits.send(answer.reply.map(|(_, reply)| reply));
                    }
                }
                Effect::Push(_, pushes) => {
                    asked.pushed.extend(pushes);
                    self.filled.notify_one();
                }
                _ => {}
            }
        }
    }

    /// What was pushed since the last call, which is something.
    pub(crate) async fn pushed(&self) -> VecDeque<Push> {
        loop {
            let pushed = std::mem::take(&mut self.asked.lock().pushed);
            if !pushed.is_empty() {
                return pushed;
            }
            self.filled.notified().await;
        }
    }
}

/// One group with its leader here.
#[derive(Clone)]
pub(crate) struct Led {
    pub(crate) group: Group<TokioTypes, Home>,
    pub(crate) desk: Desk,
    pub(crate) host: Host,
}

impl Led {
    /// Has something done, and waits until it is applied.
    pub(crate) async fn ask(&self, command: Command) -> Option<Reply> {
        let room = self.group.room().await.unwrap();
        let (waits, answer) = oneshot::channel();
        {
            let mut asked = self.desk.asked.lock();
            asked.waiting.push_back(waits);
            let number = asked.answered + asked.waiting.len() as u64;
            let (source, done_below) = (Source::Host(self.host), number.saturating_sub(1_000));
            room.propose(Input::from(Request { source, number, done_below, command }));
        }
        answer.await.unwrap()
    }

    /// A client comes, to a session that outlives its connection.
    pub(crate) async fn connect(
        &self,
        client: &ClientId,
        (number, clean_start, receive_maximum): (u64, bool, u16),
    ) -> (ConnectionId, Connected) {
        let connection = ConnectionId { host: self.host, number };
        let client = client.clone();
        let connect =
            Connect { client, connection, clean_start, expiry_s: 86_400, receive_maximum, will: None };
        let reply = self.ask(Command::Connect(connect)).await;
        let Some(Reply::Connected(Ok(connected))) = reply else { panic!("{reply:?}") };
        (connection, connected)
    }

    pub(crate) async fn subscribe(&self, client: &ClientId, epoch: Epoch, filter: &str) {
        let filter = Filter::parse(filter, 9).unwrap();
        let subscribed =
            Subscribed { qos: QoS::AtLeastOnce, no_local: false, retain_as_published: false, id: None };
        let filters = vec![(0, SubscribeTo { filter, subscribed, retained: RetainedWanted::Never })];
        let (client, packet_id) = (client.clone(), PacketId::MIN);
        self.ask(Command::Subscribe(Subscribe { client, epoch, packet_id, filters })).await;
    }

    /// The client's connection ends, and its session stays.
    pub(crate) async fn end(&self, client: &ClientId, epoch: Epoch) {
        let (client, unsent) = (client.clone(), Vec::new());
        self.ask(Command::End(End { client, epoch, will: WillFate::Discard, expiry_s: None, unsent })).await;
    }

    pub(crate) async fn publish(&self, message: &MessageRef) {
        let item = PublishItem {
            number: 1,
            message: Arc::clone(message),
            sessions: true,
            store_retained: false,
            groups: Vec::new(),
        };
        let publisher = ClientId::new("publisher");
        self.ask(Command::Publish(Publish { reply_to: None, publisher, epoch: None, items: vec![item] }))
            .await;
    }
}

/// A message of so many bytes.
pub(crate) fn message(topic: &'static str, bytes: usize) -> MessageRef {
    let payload = Bytes::from(vec![7; bytes]);
    let body = SharedPublish::new(&Text::from_static(topic), &Bytes::new(), &payload);
    Arc::new(Message { body, qos: QoS::AtLeastOnce, retain: false, expires_at: None })
}
