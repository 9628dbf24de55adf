//! CONNECT (section 3.1 of MQTT 5.0): the first packet of a connection, what it may ask for, and CONNACK.
//! Called once by the task of a connection; knows nothing of later packets.

use std::future::poll_fn;
use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;
use std::time::Duration;

use mqtt_codec::{
    ConnAck, ConnAckProperties, Connect, Offence, Packet, PacketKind, ReasonCode, SharedPublish, Text,
    Version, connect_version, decode_connect,
};
use session_store::command::{Connect as ConnectCommand, Connected, EXPIRY_NEVER, Refused, Reply, WillFate};
use session_store::{ClientId, command};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::debug;

use super::authenticate::{Identified, Refused as NotAuthenticated, identify};
use super::limited;
use super::socket::Socket;
use crate::access::Origin;
use crate::inbox::{Inbox, Mail};
use crate::lease::Admission;
use crate::listener::Peer;
use crate::packet::Denied;
use crate::roll::Card;
use crate::session::{Client, Standing, Terms};
use crate::shard::Shards;
use crate::traces::Who;
use crate::worker::Worker;

/// How long a refused client has to take its CONNACK.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);

/// Why there is no connection.
enum Refusal {
    /// The socket ended, or nothing complete came in time.
    Gone(&'static str),
    /// Closed without a word.
    Silent(Offence),
    /// Answered by CONNACK.
    Told(Version, ReasonCode),
}

/// Why a CONNECT whose form is right is not accepted.
struct NotAccepted {
    /// What the client is told.
    reason: ReasonCode,
    /// The home has not answered in time, and may still accept it.
    unanswered: Option<Unanswered>,
}

impl From<ReasonCode> for NotAccepted {
    fn from(reason: ReasonCode) -> Self {
        Self { reason, unanswered: None }
    }
}

/// A connection whose home was asked for it and has not answered.
struct Unanswered {
    shards: Shards,
    home: u16,
    client: ClientId,
    inbox: Arc<Inbox>,
}

/// Serves CONNECT. `None` where the connection is refused or lost; the client knows then what its version
/// lets it know. What comes after CONNECT is boxed, so that a peer that sends none costs little.
pub(super) async fn connect(socket: &mut Socket, from: &Origin, deadline: Instant) -> Option<Box<Client>> {
    let peer = from.peer;
    let refusal = match timeout_at(deadline, introduce(socket, from)).await {
        Err(_) => {
            socket.worker.counters.connect_timeouts.add(1);
            Refusal::Gone("no complete CONNECT in time")
        }
        Ok(Err(refusal)) => refusal,
        Ok(Ok((connect, identified))) => match Box::pin(accept(socket, &connect, identified)).await {
            Ok(mut client) => {
                // Before CONNACK is written.
                let card = Card::of(&client, from, socket.kind());
                client.entry = Some(socket.worker.node.roll.enter(card));
                let (listener, kind) = (from.listener.name.as_str(), socket.kind().as_str());
                let user = client.standing.as_ref().and_then(|standing| standing.user());
                debug!(client = %client.id, user, %peer, listener, kind, version = %client.terms.version, "connected");
                return Some(Box::new(client));
            }
            Err(NotAccepted { reason, unanswered }) => {
                show(&socket.worker, peer, &connect, || {
                    format!("sent CONNACK ({reason}, session present false)")
                });
                if let Some(client) = unanswered {
                    // Of its own: the socket does not wait for it.
                    tokio::spawn(take_back(client));
                }
                Refusal::Told(connect.version, reason)
            }
        },
    };
    socket.worker.counters.connects_refused.add(1);
    match refusal {
        Refusal::Gone(why) => debug!(%peer, why, "connection ended before CONNECT"),
        Refusal::Silent(offence) => debug!(%peer, %offence, "connection refused"),
        Refusal::Told(version, reason) => {
            debug!(%peer, %version, %reason, "CONNECT refused");
            Box::pin(tell(socket, peer, version, reason)).await;
        }
    }
    None
}

/// CONNECT, and who it is from.
async fn introduce(socket: &mut Socket, from: &Origin) -> Result<(Box<Connect>, Identified), Refusal> {
    let connect = first_packet(socket).await?;
    let worker = &socket.worker;
    worker.counters.packets_received.add(1);
    worker.counters.kinds.count_received(PacketKind::Connect);
    if worker.node.settings.packet_trace {
        crate::trace::received_connect(from.peer, &connect);
    }
    show(worker, from.peer, &connect, || format!("received {}", crate::trace::connect_words(&connect)));
    let told = |worker: &Worker, reason| {
        show(worker, from.peer, &connect, || format!("sent CONNACK ({reason}, session present false)"));
        Refusal::Told(connect.version, reason)
    };
    if let Err(reason) = limited::before_login(worker, from.peer) {
        return Err(told(worker, reason));
    }
    match Box::pin(identify(socket, &connect, from)).await {
        Ok(identified) => Ok((connect, identified)),
        Err(NotAuthenticated::Told(reason)) => Err(told(&socket.worker, reason)),
        Err(NotAuthenticated::Gone(why)) => Err(Refusal::Gone(why)),
    }
}

/// Something that whoever traces may want to see of who is not connected yet.
fn show(worker: &Worker, peer: Peer, connect: &Connect, text: impl FnOnce() -> String) {
    let node = &worker.node;
    if node.traces.are_on() {
        let who = Who { client: connect.client_id.as_str(), peer: Some(peer) };
        node.traces.offer(node.clock.now(), who, None, text);
    }
}

async fn first_packet(socket: &mut Socket) -> Result<Box<Connect>, Refusal> {
    let worker = std::rc::Rc::clone(&socket.worker);
    let limits = &worker.node.connect_limits;
    loop {
        match poll_fn(|context| socket.poll_read(context)).await {
            Ok(0) => return Err(Refusal::Gone("the client closed the connection")),
            Err(_) => return Err(Refusal::Gone("the connection was lost")),
            Ok(_) => {}
        }
        if socket.frames.first_byte().is_some_and(|byte| byte >> 4 != PacketKind::Connect as u8) {
            return Err(Refusal::Silent(Offence::FirstPacketNotConnect));
        }
        let Some(raw) = socket.frames.next(limits).map_err(Refusal::Silent)? else { continue };
        let version = connect_version(&raw.body);
        return decode_connect(raw.first_byte, raw.body, limits).map_err(|offence| refused(offence, version));
    }
}

/// What a client is told of a CONNECT that breaks the protocol.
fn refused(offence: Offence, version: Option<Version>) -> Refusal {
    match (offence, version) {
        (Offence::UnsupportedProtocolVersion { answer, .. }, _) => Refusal::Told(answer, offence.reason()),
        (Offence::ClientIdTooLong, Some(version)) => Refusal::Told(version, offence.reason()),
        (Offence::ProtocolNameInvalid, _) => Refusal::Silent(offence),
        (_, Some(Version::V5)) => Refusal::Told(Version::V5, offence.reason()),
        _ => Refusal::Silent(offence),
    }
}

async fn tell(socket: &mut Socket, peer: Peer, version: Version, reason: ReasonCode) {
    let mut connack = ConnAck { reason, ..ConnAck::default() };
    if reason == ReasonCode::UseAnotherServer {
        connack.properties.server_reference = socket.worker.node.entrance.reference().cloned();
    }
    let mut out = super::Out::default();
    if Packet::ConnAck(Box::new(connack)).encode(version, out.tail()).is_ok() {
        let counters = &socket.worker.counters;
        counters.packets_sent.add(1);
        counters.kinds.count_sent(PacketKind::ConnAck);
        if socket.worker.node.settings.packet_trace {
            crate::trace::refused_connect(peer, reason);
        }
        let mut written = 0;
        let write = poll_fn(|context| socket.poll_write(&mut out, context, &mut written));
        let _client_gone = timeout(REFUSAL_TIMEOUT, write).await;
    }
}

/// Accepts a CONNECT whose form is right, or says why not.
async fn accept(
    socket: &Socket,
    connect: &Connect,
    Identified { who, authentication, data }: Identified,
) -> Result<Client, NotAccepted> {
    let worker = &socket.worker;
    if let Some(elsewhere) = worker.node.entrance.refusal() {
        return Err(elsewhere.into());
    }
    let settings = worker.node.live.now();
    let will = will(connect, settings.mqtt.topic_levels_max)?;
    let (id, assigned) = client_id(connect, || worker.unique_client_id())?;
    if worker.node.access.has_banned(&who, Some(id.as_str())) {
        return Err(ReasonCode::Banned.into());
    }
    let chosen = !assigned || who.names_client();
    if chosen && !worker.node.access.may_be(&who, id.as_str()) {
        return Err(ReasonCode::ClientIdentifierNotValid.into());
    }
    let place = limited::after_login(worker, &who, &id)?;
    let standing = Standing::of(&worker.node.access, who, id.as_str(), connect)?;
    let terms = terms(connect, &settings);
    let inbox = Inbox::new(worker.node.next_connection(), worker.node.inbox);
    let mut client = Client::new(worker, &inbox, id, terms);
    let command = ConnectCommand {
        client: client.id.clone(),
        connection: inbox.id(),
        clean_start: connect.clean_start,
        expiry_s: client.terms.expiry_s,
        receive_maximum: client.terms.receive_maximum,
        will,
    };
    let until = Instant::now() + settings.limits.connect_timeout;
    let (connected, mail) = ask_home(&client, command, until).await?;
    let connected = connected.map_err(|refused| match refused {
        Refused::Quota => ReasonCode::QuotaExceeded,
        Refused::TakenOver => ReasonCode::ServerBusy,
    })?;
    client.epoch = connected.epoch;
    client.present = worker.node.shards.is_present(&client.id, client.epoch);
    client.persistent = connected.persistent;
    let admission = worker.node.lease.until_admitted(&client.id, (client.epoch, inbox.id()));
    if timeout_at(until, admission).await != Ok(Admission::Admitted) {
        inbox.reply(Reply::Connected(Ok(connected)));
        inbox.put_back(mail);
        return Err(unanswered(&client));
    }
    (client.authentication, client.standing, client.place) = (authentication, Some(standing), place);
    worker.counters.connects_accepted.add(1);
    let assigned = assigned.then(|| Text::new(client.id.as_str()).ok()).flatten();
    let mut connack = connack(connect, &client, connected, assigned);
    connack.properties.authentication_method = connect.authentication_method.clone();
    connack.properties.authentication_data = data;
    client.send(&Packet::ConnAck(Box::new(connack)));
    inbox.put_back(mail);
    Ok(client)
}

/// Asks a client's home, which has so long to answer: without space for the log it does not, and the client is better
/// told to come back.
async fn ask_home(
    client: &Client,
    connect: ConnectCommand,
    until: Instant,
) -> Result<(Result<Connected, Refused>, Mail), NotAccepted> {
    let (shards, inbox) = (&client.worker.node.shards, &client.inbox);
    // Who stops waiting for room has asked for nothing.
    timeout_at(until, shards.connect(client.home, connect, inbox))
        .await
        .map_err(|_late| ReasonCode::ServerUnavailable)?;
    timeout_at(until, answer_of_home(inbox)).await.map_err(|_late| unanswered(client))
}

/// The client is told nothing in time: what its home knows of the connection has to be taken back.
fn unanswered(client: &Client) -> NotAccepted {
    NotAccepted {
        reason: ReasonCode::ServerUnavailable,
        unanswered: Some(Unanswered {
            shards: client.worker.node.shards.clone(),
            home: client.home,
            client: client.id.clone(),
            inbox: Arc::clone(&client.inbox),
        }),
    }
}

/// Waits for an answer that nobody waits for any more, and ends the connection if it was accepted.
async fn take_back(unanswered: Unanswered) {
    let Unanswered { shards, home, client, inbox } = unanswered;
    let (Ok(Connected { epoch, .. }), mut mail) = answer_of_home(&inbox).await else { return };
    mail.pushes.append(&mut inbox.close().pushes);
    let unsent = mail.pushes.into_iter().filter_map(super::end::packet_id_of).collect();
    let end = command::End { client, epoch, will: WillFate::Discard, expiry_s: None, unsent };
    shards.end(home, end, &inbox).await;
}

pub(super) async fn answer_of_home(inbox: &Arc<Inbox>) -> (Result<Connected, Refused>, Mail) {
    let mut rest = Mail::default();
    let mut end = None;
    loop {
        let taken = poll_fn(|context| inbox.poll_take(context)).await;
        let mut answer = None;
        for reply in taken.mail.replies {
            match reply {
                Reply::Connected(connected) => answer = Some(connected),
                other => rest.replies.push(other),
            }
        }
        end = taken.end.or(end);
        rest.pushes.extend(taken.mail.pushes);
        rest.messages.extend(taken.mail.messages);
        if let Some(answer) = answer {
            if let Some(reason) = end {
                inbox.end(reason);
            }
            return (answer, rest);
        }
    }
}

fn will(connect: &Connect, levels_max: u16) -> Result<Option<command::Will>, ReasonCode> {
    let Some(will) = &connect.will else { return Ok(None) };
    if !topic_index::topic_levels_within(will.topic.as_bytes(), levels_max) {
        return Err(ReasonCode::TopicNameInvalid);
    }
    if let Some(denied) = Denied::of(will.topic.as_bytes()) {
        // Who could not be told why is not kept out for its will.
        return if denied.is_told(connect.version) { Err(ReasonCode::NotAuthorized) } else { Ok(None) };
    }
    Ok(Some(command::Will {
        body: SharedPublish::new(&will.topic, &will.application, &will.payload),
        qos: will.qos,
        retain: will.retain,
        delay_s: will.delay_interval_s,
        expiry_s: will.message_expiry_s,
    }))
}

/// The client's identifier, and whether it was assigned (`[MQTT-3.1.3-6]`, `[MQTT-3.1.3-8]` of 3.1.1).
fn client_id(
    connect: &Connect,
    unique: impl FnOnce() -> Option<String>,
) -> Result<(ClientId, bool), ReasonCode> {
    if !connect.client_id.is_empty() {
        return Ok((ClientId::new(connect.client_id.as_str()), false));
    }
    match connect.version {
        Version::V3_1_1 if !connect.clean_start => Err(ReasonCode::ClientIdentifierNotValid),
        Version::V3_1 => Err(ReasonCode::ClientIdentifierNotValid),
        Version::V5 | Version::V3_1_1 => {
            let assigned = unique().ok_or(ReasonCode::ServerUnavailable)?;
            Ok((ClientId::new(&assigned), true))
        }
    }
}

fn terms(connect: &Connect, settings: &crate::config::Settings) -> Terms {
    let is_v5 = connect.version.is_v5();
    let asked_expiry_s = match (is_v5, connect.clean_start) {
        (true, _) => connect.session_expiry_s.unwrap_or(0),
        (false, true) => 0,
        (false, false) => EXPIRY_NEVER,
    };
    let receive_maximum = match connect.receive_maximum {
        Some(maximum) => maximum.get(),
        None if is_v5 => u16::MAX,
        None => settings.mqtt.receive_maximum,
    };
    Terms {
        version: connect.version,
        receive_maximum,
        maximum_packet_size: connect.maximum_packet_size.map(NonZeroU32::get),
        topic_alias_maximum: connect.topic_alias_maximum,
        problem_information: connect.request_problem_information,
        expiry_s: asked_expiry_s.min(settings.max_session_expiry_s().unwrap_or(EXPIRY_NEVER)),
        keep_alive_s: keep_alive_s(connect, settings),
    }
}

/// The keep alive in force: at most the server's maximum, also for a client that asks for none; 5.0 is told of it
/// (`[MQTT-3.1.2-21]`).
fn keep_alive_s(connect: &Connect, settings: &crate::config::Settings) -> u16 {
    match (connect.keep_alive_s, settings.max_keep_alive_s(connect.version)) {
        (asked, None) => asked,
        (0, Some(maximum)) => maximum,
        (asked, Some(maximum)) => asked.min(maximum),
    }
}

fn connack(connect: &Connect, client: &Client, connected: Connected, assigned: Option<Text>) -> ConnAck {
    let settings = &client.worker.node.settings;
    let terms = &client.terms;
    let differs = |ours: u32| (connect.session_expiry_s.unwrap_or(0) != ours).then_some(ours);
    let keep_alive_differs = terms.keep_alive_s != connect.keep_alive_s;
    let response = format!("response/{}", client.id);
    let response = connect.request_response_information.then(|| Text::new(&response).ok()).flatten();
    let properties = ConnAckProperties {
        session_expiry_s: differs(terms.expiry_s),
        receive_maximum: NonZeroU16::new(settings.mqtt.receive_maximum).filter(|max| max.get() < u16::MAX),
        maximum_packet_size: NonZeroU32::new(settings.mqtt.max_packet_size),
        assigned_client_id: assigned,
        topic_alias_maximum: settings.mqtt.topic_alias_maximum,
        server_keep_alive_s: keep_alive_differs.then_some(terms.keep_alive_s),
        response_information: response.filter(|text| !text.as_str().contains(['+', '#'])),
        ..ConnAckProperties::default()
    };
    ConnAck { session_present: connected.session_present, reason: ReasonCode::Success, properties }
}
