//! A connected client: the state of its connection and of its session on this node. One owner, the task of
//! its connection. `inbound` takes packets in, `outbound` sends; what a persistent session keeps lives in
//! its shard, and commands to it are staged here and sent by the task.

mod aliases;
mod barrier;
mod inbound;
mod outbound;
mod parked;
mod released;
mod retained;
mod silence;
mod standing;
mod stored;

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use mqtt_codec::{Disconnect, Offence, Packet, PacketId, PacketKind, ReasonCode, Subscribe, Text, Version};
use session_store::command::{Push, SubscribeTo, WillFate};
use session_store::scan::Scans;
use session_store::{ClientId, Epoch, Inbound, Outbound};

pub(crate) use self::aliases::{InboundAliases, OutboundAliases};
use self::barrier::Gate;
pub(crate) use self::barrier::Suback;
use self::parked::ParkedPublishes;
use self::released::Released;
pub(crate) use self::retained::PageFuture;
use self::silence::Silence;
pub(crate) use self::standing::{Ends, Standing};
pub(crate) use self::stored::StoredMessages;
use crate::access::Shown;
use crate::connection::{AckQueue, Out};
use crate::fanout::{Fanout, Gathering, Matched, Now};
use crate::inbox::Inbox;
use crate::latest::Present;
use crate::limits::{Place, Throttle};
use crate::roll::{Entry, Subscriptions};
use crate::shard::Staged;
use crate::traces::{Carried, Who};
use crate::worker::Worker;

/// How far a connection has got with enhanced authentication.
pub(crate) type Authentication = session_store::authentication::Authentication<Shown>;

/// Bytes that may wait for the socket before no further QoS 1 and 2 message is encoded.
pub(crate) const HIGH_WATER: usize = 256 * 1024;

/// Bytes of publishes that are taken from one read before they are passed on: by aliases a read can stand for much
/// more than its own bytes.
const PUBLISHES_BYTES: usize = 1 << 20;

/// Seconds that the will of a client waits whose connection the broker ended, so that a client that comes
/// right back has none published.
const DRAIN_WILL_GRACE_S: u32 = 2;

/// Why a connection ends.
#[derive(Debug)]
pub(crate) struct Ending {
    /// What the client is told, where its version knows how.
    pub(crate) reason: Option<ReasonCode>,
    /// What happens to its will.
    pub(crate) will: WillFate,
    /// A session expiry that replaces that of CONNECT.
    pub(crate) expiry_s: Option<u32>,
    /// For the log.
    pub(crate) why: String,
}

impl Ending {
    /// The broker ends the connection, for a reason that the client is told.
    pub(crate) fn told(reason: ReasonCode, why: &str) -> Self {
        Self { reason: Some(reason), will: WillFate::Keep, expiry_s: None, why: why.into() }
    }

    /// The broker ends the connection for a reason that is not the client's.
    pub(crate) fn by_server(reason: ReasonCode) -> Self {
        let will = WillFate::KeepAtLeast(DRAIN_WILL_GRACE_S);
        Self { will, ..Self::told(reason, "the server ends the connection") }
    }

    /// A message was dropped, and the policy wants the client disconnected.
    pub(crate) fn queue_full() -> Self {
        Self::told(ReasonCode::QuotaExceeded, "the queue of the session is full")
    }

    /// The network connection is gone.
    pub(crate) fn lost(why: impl ToString) -> Self {
        Self { reason: None, will: WillFate::Keep, expiry_s: None, why: why.to_string() }
    }
}

impl From<Offence> for Ending {
    fn from(offence: Offence) -> Self {
        Self::told(offence.reason(), &offence.to_string())
    }
}

/// What a client said of itself in CONNECT, as it holds for this connection.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    /// The version spoken.
    pub(crate) version: Version,
    /// Its Receive Maximum.
    pub(crate) receive_maximum: u16,
    /// Its Maximum Packet Size.
    pub(crate) maximum_packet_size: Option<u32>,
    /// Its Topic Alias Maximum.
    pub(crate) topic_alias_maximum: u16,
    /// Whether reason strings may be sent on every packet (`[MQTT-3.1.2-29]`).
    pub(crate) problem_information: bool,
    /// Seconds of session expiry; 0 is a transient session.
    pub(crate) expiry_s: u32,
    /// Seconds of keep alive in force; 0 is none.
    pub(crate) keep_alive_s: u16,
}

/// Messages of one read that match alike, and wait to be delivered together.
#[derive(Debug, Default)]
pub(crate) struct MessageRun {
    pub(crate) matched: Rc<Matched>,
    pub(crate) gathered: Gathering,
}

impl MessageRun {
    /// What the topic matches, if it is that of the message before and the route view has not changed by now.
    pub(crate) fn matching(&self, topic: &[u8], now: Now) -> Option<Rc<Matched>> {
        let last = self.gathered.last()?;
        let same = last.body.topic() == topic && Fanout::stands(&self.matched, now);
        same.then(|| Rc::clone(&self.matched))
    }
}

/// A request that a shard has to answer before anything more of the client is handled.
#[derive(Debug)]
pub(crate) enum Waiting {
    /// SUBSCRIBE: the codes so far, and the filters that were asked for, by their place in the packet.
    Subscribe { packet_id: PacketId, codes: Vec<ReasonCode>, filters: Vec<(usize, SubscribeTo)> },
    /// UNSUBSCRIBE: the codes so far.
    Unsubscribe { packet_id: PacketId, codes: Vec<ReasonCode> },
    /// SUBSCRIBE, which is done but not in force on all nodes.
    Suback(Suback),
    /// SUBSCRIBE, for whose routes there is no room yet.
    Room(Box<Subscribe>),
}

/// A connected client.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) worker: Rc<Worker>,
    pub(crate) id: ClientId,
    pub(crate) epoch: Epoch,
    pub(crate) home: u16,
    pub(crate) terms: Terms,
    pub(crate) persistent: bool,
    pub(crate) inbox: Arc<Inbox>,
    /// Commands for shards.
    pub(crate) staged: Staged,
    pub(crate) waiting: Option<Waiting>,
    /// What [`Waiting::Suback`] and [`Waiting::Room`] wait for.
    pub(crate) gate: Option<Gate>,

    // What it sends.
    pub(crate) run: MessageRun,
    /// Publishes that wait for a lease.
    pub(crate) parked: Option<Box<ParkedPublishes>>,
    pub(crate) acks: AckQueue,
    /// Received QoS 2 ids; for a persistent session those of this connection, for the Receive Maximum.
    pub(crate) inbound: Inbound,
    pub(crate) aliases_in: InboundAliases,
    pub(crate) pings: Pings,
    pub(crate) authentication: Authentication,
    /// When it has to go.
    pub(crate) ends: Ends,
    /// Who it is and what it may do; `None` where nobody asks.
    pub(crate) standing: Option<Box<Standing>>,
    /// Its place among those of its address and its user; `None` where nobody counts them.
    pub(crate) place: Option<Box<Place>>,
    /// How fast it may publish; `None` where it may as fast as it can.
    pub(crate) throttle: Option<Box<Throttle>>,
    /// Its place in the roll of the node; `None` until CONNECT is accepted.
    pub(crate) entry: Option<Entry>,
    /// That this is its latest connection; `None` on a node without peers.
    pub(crate) present: Option<Present>,

    // What it gets.
    pub(crate) out: Out,
    pub(crate) aliases_out: OutboundAliases,
    /// A transient session's queue.
    pub(crate) outbound: Outbound,
    /// A transient session's subscriptions; whoever lists them has a look too.
    pub(crate) subscriptions: Subscriptions,
    /// Packets of a persistent session that wait for the socket.
    pub(crate) pushes: VecDeque<Push>,
    /// Bytes of those of QoS 0.
    pub(crate) pushes_qos0_bytes: u64,
    /// Messages of those that are in the store.
    pub(crate) stored: Option<Box<StoredMessages>>,
    /// The PUBRELs of a persistent session.
    pub(crate) released: Released,
    /// Look-ups of retained messages for a transient session.
    pub(crate) scans: Scans,
    /// What waits until the node may acknowledge something.
    pub(crate) silence: Option<Box<Silence>>,
}

/// PINGREQs of the present second.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pings {
    pub(crate) second: u64,
    pub(crate) count: u32,
}

impl Client {
    /// The client of a connection that was accepted.
    pub(crate) fn new(worker: &Rc<Worker>, inbox: &Arc<Inbox>, id: ClientId, terms: Terms) -> Self {
        let home = worker.node.shards.home_of_client(&id);
        let alias_maximum = worker.node.settings.mqtt.topic_alias_maximum;
        Self {
            worker: Rc::clone(worker),
            id,
            epoch: Epoch::default(),
            home,
            persistent: false,
            inbox: Arc::clone(inbox),
            staged: Staged::default(),
            waiting: None,
            gate: None,
            run: MessageRun::default(),
            parked: None,
            acks: AckQueue::default(),
            inbound: Inbound::default(),
            aliases_in: InboundAliases::new(alias_maximum),
            pings: Pings::default(),
            authentication: Authentication::default(),
            ends: Ends::default(),
            standing: None,
            place: None,
            throttle: Throttle::new(&worker.node.settings.limits, worker.node.clock),
            entry: None,
            present: None,
            out: Out::default(),
            aliases_out: OutboundAliases::new(terms.topic_alias_maximum),
            outbound: Outbound::new(false),
            subscriptions: Subscriptions::default(),
            pushes: VecDeque::new(),
            released: Released::default(),
            pushes_qos0_bytes: 0,
            stored: None,
            scans: Scans::default(),
            silence: None,
            terms,
        }
    }

    /// Whether more may be read: what waits for the socket is not yet more than all that is sent unasked
    /// can come to, the client's last request is answered, not all of its Receive Maximum waits for
    /// acknowledgements, and it has not published more than it may.
    pub(crate) fn wants_read(&self) -> bool {
        let unasked = self.worker.node.inbox.qos0_bytes_max + 2 * HIGH_WATER as u64;
        self.waiting.is_none()
            && (self.out.len() as u64) < unasked
            && self.acks.len() < usize::from(self.worker.node.settings.mqtt.receive_maximum)
            && !self.throttle.as_ref().is_some_and(|throttle| throttle.pauses())
    }

    /// Counts a packet of so many bytes against what the client may publish.
    pub(crate) fn meter(&mut self, first_byte: u8, bytes: usize) {
        let Some(throttle) = &mut self.throttle else { return };
        if first_byte >> 4 == PacketKind::Publish as u8 && throttle.published(bytes) {
            self.worker.counters.publishes_throttled.add(1);
        }
    }

    /// Ready when the client is read again that published more than it may.
    pub(crate) fn poll_throttle(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.throttle.as_mut().map_or(Poll::Pending, |throttle| throttle.poll(context))
    }

    /// Whether what the client published is so much that it is passed on before more of its packets are handled.
    pub(crate) fn has_much_to_pass_on(&self) -> bool {
        self.staged.bytes() + self.run.gathered.bytes() + self.parked_bytes() > PUBLISHES_BYTES
    }

    /// Encodes a packet that is not a PUBLISH.
    pub(crate) fn send(&mut self, packet: &Packet) {
        let version = self.terms.version;
        match packet.encode_within(version, self.terms.maximum_packet_size, self.out.tail()) {
            Ok(_) => {
                self.worker.counters.packets_sent.add(1);
                self.worker.counters.kinds.count_sent(packet.kind());
                self.trace_sent(packet);
            }
            Err(error) => {
                self.worker.counters.dropped_too_large.add(1);
                tracing::debug!(client = %self.id, %error, kind = %packet.kind(), "packet not sent");
            }
        }
    }

    /// A word to a reason code that says no, where the client's version has it and the client wants it
    /// (`[MQTT-3.1.2-29]`).
    pub(crate) fn reason_string(&self, reason: ReasonCode) -> Option<Text> {
        let wanted = reason.is_error() && self.terms.version.is_v5() && self.terms.problem_information;
        wanted.then(|| Text::from_static(reason.name()))
    }

    /// Tells the client why its connection ends, where its version knows how (5.0).
    pub(crate) fn say_goodbye(&mut self, ending: &Ending) {
        if let (Some(reason), true) = (ending.reason, self.terms.version.is_v5()) {
            let mut disconnect = Disconnect::new(reason);
            disconnect.reason_string = Text::new(&ending.why).ok();
            if reason == ReasonCode::UseAnotherServer {
                disconnect.server_reference = self.worker.node.entrance.reference().cloned();
            }
            self.send(&Packet::Disconnect(disconnect));
        }
    }

    fn trace_sent(&self, packet: &Packet) {
        if self.worker.node.settings.packet_trace {
            crate::trace::sent(&self.id, packet);
        }
        if self.worker.node.traces.are_on() {
            self.show(None, || format!("sent {}", crate::trace::words(packet)));
        }
    }

    /// Something that whoever traces this client may want to see.
    pub(crate) fn show(&self, carried: Carried<'_>, text: impl FnOnce() -> String) {
        let node = &self.worker.node;
        let peer = self.entry.as_ref().map(|entry| entry.card.peer);
        node.traces.offer(node.clock.now(), Who { client: self.id.as_str(), peer }, carried, text);
    }
}
