//! Who a client is, before CONNACK: by certificate, token, or name and password, or by enhanced authentication (section 4.12 of MQTT 5.0), in
//! which AUTH packets go back and forth until the client is accepted or refused. Called by `connect`, under the deadline of CONNECT; what a packet
//! means is decided by `session_store::authentication`.

use std::future::poll_fn;
use std::num::NonZeroU32;

use bytes::Bytes;
use mqtt_codec::{Auth, Connect, Packet, PacketKind, ReasonCode, Text, Version, decode};
use session_store::authentication::Answer;

use super::socket::Socket;
use crate::access::{Asked, Origin, Principal, Refusal};
use crate::session::Authentication;

/// Why there is no CONNACK with success.
pub(super) enum Refused {
    /// The client is told.
    Told(ReasonCode),
    /// It is gone, or said something that is answered by closing.
    Gone(&'static str),
}

/// What was found of a client.
pub(super) struct Identified {
    /// Who it is.
    pub(super) who: Principal,
    /// How it authenticates again.
    pub(super) authentication: Authentication,
    /// What CONNACK carries.
    pub(super) data: Option<Bytes>,
}

/// Finds out who a client is: by the method it names, else by name and password.
pub(super) async fn identify(
    socket: &mut Socket,
    connect: &Connect,
    from: &Origin,
) -> Result<Identified, Refused> {
    let worker = std::rc::Rc::clone(&socket.worker);
    let counters = &worker.counters;
    let found = if connect.authentication_method.is_some() {
        Box::pin(authenticate(socket, connect, from)).await?
    } else {
        let (found, took) = Box::pin(worker.node.access.log_in(connect, from)).await;
        counters.password_hashes.add(took.hashes);
        match took.asked {
            Some(Asked::Server) => counters.hook_answers.add(1),
            Some(Asked::Memory) => counters.hook_answers_remembered.add(1),
            Some(Asked::Failed) => counters.hook_failures.add(1),
            None => {}
        }
        let who = found.map_err(|refusal| {
            match refusal {
                Refusal::Busy => counters.logins_busy.add(1),
                // Counted with the hook.
                Refusal::Unavailable => {}
                _ => counters.logins_refused.add(1),
            }
            Refused::Told(refusal.reason())
        })?;
        Identified { who, authentication: Authentication::default(), data: None }
    };
    counters.tokens_accepted.add(u64::from(found.who.has_token()));
    Ok(found)
}

/// Authenticates a client by the method that it names.
async fn authenticate(socket: &mut Socket, connect: &Connect, from: &Origin) -> Result<Identified, Refused> {
    let worker = std::rc::Rc::clone(&socket.worker);
    let refused = |reason: ReasonCode| {
        let known = matches!(reason, ReasonCode::NotAuthorized | ReasonCode::Banned);
        worker.counters.logins_refused.add(u64::from(known));
        Refused::Told(reason)
    };
    let access = &worker.node.access;
    let nobody = access.stranger(from).map_err(|refusal| refused(refusal.reason()))?;
    let mut state = Authentication::default();
    let method = connect.authentication_method.as_ref().map_or("", Text::as_str);
    let data = connect.authentication_data.as_deref().unwrap_or(&[]);
    let mut answer = state.connect(&worker.node.methods, method, data);
    loop {
        match answer.map_err(|refusal| refused(refusal.reason()))? {
            Answer::Accepted(data, shown) => {
                let named = connect.user_name.as_ref().map(Text::as_str);
                let who = access.shown(shown, nobody, named).map_err(|refusal| match refusal {
                    // Whatever is wrong with a method is told alike.
                    Refusal::BadCredentials => refused(ReasonCode::NotAuthorized),
                    other => refused(other.reason()),
                })?;
                return Ok(Identified { who, authentication: state, data });
            }
            Answer::Wait => answer = poll_fn(|context| state.poll(context)).await,
            Answer::Challenge(data) => {
                challenge(socket, connect, data).await?;
                let auth = next_auth(socket, connect).await?;
                let method = auth.authentication_method.as_ref().map(Text::as_str);
                let data = auth.authentication_data.as_deref().unwrap_or(&[]);
                answer = state.auth(auth.reason, method, data);
            }
        }
    }
}

async fn challenge(socket: &mut Socket, connect: &Connect, data: Bytes) -> Result<(), Refused> {
    let auth = Auth {
        reason: ReasonCode::ContinueAuthentication,
        authentication_method: connect.authentication_method.clone(),
        authentication_data: Some(data),
        ..Auth::default()
    };
    let mut out = super::Out::default();
    let packet = Packet::Auth(auth);
    let maximum = connect.maximum_packet_size.map(NonZeroU32::get);
    let encoded = packet.encode_within(Version::V5, maximum, out.tail());
    encoded.map_err(|_| Refused::Told(ReasonCode::PacketTooLarge))?;
    let counters = &socket.worker.counters;
    counters.packets_sent.add(1);
    counters.kinds.count_sent(PacketKind::Auth);
    if socket.worker.node.settings.packet_trace {
        crate::trace::sent(&connect.client_id, &packet);
    }
    let mut written = 0;
    let sent = poll_fn(|context| socket.poll_write(&mut out, context, &mut written)).await;
    sent.map_err(|_| Refused::Gone("the connection was lost"))
}

/// The client's next packet, which must be AUTH (`[MQTT-3.1.2-30]`).
async fn next_auth(socket: &mut Socket, connect: &Connect) -> Result<Auth, Refused> {
    let worker = std::rc::Rc::clone(&socket.worker);
    let limits = &worker.node.connect_limits;
    loop {
        let raw = socket.frames.next(limits).map_err(|offence| Refused::Told(offence.reason()))?;
        if let Some(raw) = raw {
            worker.counters.packets_received.add(1);
            let packet = decode(Version::V5, raw.first_byte, raw.body, limits)
                .and_then(|packet| packet.check_from_client().map(|()| packet))
                .map_err(|offence| Refused::Told(offence.reason()))?;
            worker.counters.kinds.count_received(packet.kind());
            if worker.node.settings.packet_trace {
                crate::trace::received(&connect.client_id, &packet);
            }
            return match packet {
                Packet::Auth(auth) => Ok(auth),
                Packet::Disconnect(_) => Err(Refused::Gone("the client disconnected")),
                _ => Err(Refused::Told(ReasonCode::ProtocolError)),
            };
        }
        match poll_fn(|context| socket.poll_read(context)).await {
            Ok(0) | Err(_) => return Err(Refused::Gone("the connection was lost")),
            Ok(_) => {}
        }
    }
}

#[cfg(test)]
mod tests;
