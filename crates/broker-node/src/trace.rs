//! `quelea run -v`: a line a packet, in the form that users of `mosquitto -v` read. Never prints payloads,
//! user names or passwords.

use std::fmt::Display;

use mqtt_codec::{Connect, Packet, PublishHeader, ReasonCode, SharedPublish};
use session_store::ClientId;
use tracing::info;

use crate::listener::Peer;

/// A packet in words, without its payload.
pub(crate) fn words(packet: &Packet) -> String {
    format!("{}{}", packet.kind(), details(packet))
}

/// A PUBLISH that is sent in words, without its payload.
pub(crate) fn publish_words(body: &SharedPublish, header: &PublishHeader<'_>) -> String {
    let (dup, qos, retain) = (u8::from(header.dup), header.qos as u8, u8::from(header.retain));
    let id = header.packet_id.map_or(0, mqtt_codec::PacketId::get);
    let (topic, len) = (String::from_utf8_lossy(body.topic()), body.payload().len());
    format!("PUBLISH (d{dup}, q{qos}, r{retain}, m{id}, '{topic}', ... ({len} bytes))")
}

/// A CONNECT in words, without what is secret.
pub(crate) fn connect_words(connect: &Connect) -> String {
    let Connect { version, clean_start, keep_alive_s, will, .. } = connect;
    let will = will.is_some();
    format!("CONNECT ({version}, clean start {clean_start}, keep alive {keep_alive_s} s, will {will})")
}

/// A packet that came.
pub(crate) fn received(client: &impl Display, packet: &Packet) {
    info!(target: "quelea::packet", "received {} from {client}{}", packet.kind(), details(packet));
}

/// A CONNECT, whether or not it is accepted.
pub(crate) fn received_connect(peer: Peer, connect: &Connect) {
    let Connect { version, clean_start, keep_alive_s, client_id, .. } = connect;
    let will = connect.will.is_some();
    info!(
        target: "quelea::packet",
        "received CONNECT from {peer} as '{client_id}' ({version}, clean start {clean_start}, \
         keep alive {keep_alive_s} s, will {will})"
    );
}

/// The CONNACK of a CONNECT that is refused.
pub(crate) fn refused_connect(peer: Peer, reason: ReasonCode) {
    info!(target: "quelea::packet", "sending CONNACK to {peer} ({reason}, session present false)");
}

/// A packet that was sent.
pub(crate) fn sent(client: &impl Display, packet: &Packet) {
    info!(target: "quelea::packet", "sending {} to {client}{}", packet.kind(), details(packet));
}

/// A PUBLISH that was sent.
pub(crate) fn sent_publish(client: &ClientId, body: &SharedPublish, header: &PublishHeader<'_>) {
    let words = publish_words(body, header);
    let words = words.strip_prefix("PUBLISH ").unwrap_or(&words);
    info!(target: "quelea::packet", "sending PUBLISH to {client} {words}");
}

fn details(packet: &Packet) -> String {
    match packet {
        Packet::ConnAck(connack) => {
            format!(" ({}, session present {})", connack.reason, connack.session_present)
        }
        Packet::Publish(publish) => format!(
            " (d{}, q{}, r{}, m{}, '{}', ... ({} bytes))",
            u8::from(publish.dup),
            publish.qos as u8,
            u8::from(publish.retain),
            publish.packet_id.map_or(0, mqtt_codec::PacketId::get),
            publish.topic,
            publish.payload.len()
        ),
        Packet::PubAck(ack) => format!(" (m{}, {})", ack.packet_id.get(), ack.reason),
        Packet::PubRec(ack) => format!(" (m{}, {})", ack.packet_id.get(), ack.reason),
        Packet::PubRel(ack) => format!(" (m{}, {})", ack.packet_id.get(), ack.reason),
        Packet::PubComp(ack) => format!(" (m{}, {})", ack.packet_id.get(), ack.reason),
        Packet::Subscribe(subscribe) => {
            let filters = subscribe.filters.iter();
            let filters = filters.map(|f| format!("{} (q{})", f.filter, f.options.qos as u8));
            format!(" (m{}): {}", subscribe.packet_id.get(), join(filters))
        }
        Packet::SubAck(suback) => {
            let codes = suback.codes.iter().map(ToString::to_string);
            format!(" (m{}): {}", suback.packet_id.get(), join(codes))
        }
        Packet::Unsubscribe(unsubscribe) => {
            let filters = unsubscribe.filters.iter().map(ToString::to_string);
            format!(" (m{}): {}", unsubscribe.packet_id.get(), join(filters))
        }
        Packet::UnsubAck(unsuback) => format!(" (m{})", unsuback.packet_id.get()),
        Packet::Disconnect(disconnect) => format!(" ({})", disconnect.reason),
        Packet::Auth(auth) => format!(" ({})", auth.reason),
        // CONNECT has a line of its own; a second one ends the connection.
        Packet::Connect(_) | Packet::PingReq | Packet::PingResp => String::new(),
    }
}

fn join(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(", ")
}
