//! A client of 5.0 for tests within the process: a persistent session, acknowledged as the standard wants it.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use mqtt_codec::{
    Connect, Disconnect, Limits, Packet, PacketId, PubAck, PubComp, PubRec, PubRel, Publish, QoS, ReasonCode,
    Subscribe, SubscribeFilter, SubscriptionOptions, Text, UserProperties, Version, Will, decode, frame,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

/// Longer than anything that is expected to happen takes.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// A client's end of a connection.
pub(super) struct Client {
    stream: TcpStream,
    input: BytesMut,
    next_id: u16,
    /// Publishes that came while something else was waited for.
    early: VecDeque<Publish>,
    /// QoS 2 messages that came and are not released.
    open: BTreeSet<PacketId>,
    /// How many PUBRELs came that were not due.
    pub(super) stray_releases: usize,
    pub(super) session_present: bool,
}

fn id(number: u16) -> PacketId {
    PacketId::new(number).unwrap()
}

fn text(text: &str) -> Text {
    Text::new(text).unwrap()
}

/// CONNECT of a persistent session.
pub(super) fn persistent(client: &str) -> Connect {
    Connect {
        version: Version::V5,
        clean_start: false,
        client_id: text(client),
        session_expiry_s: Some(3_600),
        ..Connect::default()
    }
}

/// A will at QoS 1.
pub(super) fn will(topic: &str) -> Will {
    Will {
        topic: text(topic),
        payload: Bytes::from_static(b"gone"),
        qos: QoS::AtLeastOnce,
        ..Will::default()
    }
}

fn message(topic: &str, payload: u64, qos: QoS) -> Publish {
    Publish {
        dup: false,
        qos,
        retain: false,
        topic: text(topic),
        packet_id: None,
        topic_alias: None,
        message_expiry_s: None,
        subscription_ids: Vec::new(),
        application: Bytes::new(),
        payload: Bytes::copy_from_slice(&payload.to_be_bytes()),
    }
}

impl Client {
    /// Connects with a persistent session.
    pub(super) async fn connect(address: &str, client: &str) -> Self {
        Self::connect_with(address, persistent(client)).await
    }

    pub(super) async fn connect_with(address: &str, connect: Connect) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let (input, early, open) = (BytesMut::new(), VecDeque::new(), BTreeSet::new());
        let mut client =
            Self { stream, input, next_id: 0, early, open, stray_releases: 0, session_present: false };
        client.send(&Packet::Connect(Box::new(connect))).await;
        match client.packet().await {
            Packet::ConnAck(ack) if ack.reason == ReasonCode::Success => {
                client.session_present = ack.session_present;
            }
            other => panic!("{other:?}"),
        }
        client
    }

    async fn send(&mut self, packet: &Packet) {
        let mut bytes = BytesMut::new();
        packet.encode(Version::V5, &mut bytes).unwrap();
        // An end of the connection shows when it is read.
        let _gone = self.stream.write_all(&bytes).await;
    }

    /// The next packet; `None` at the end of the connection.
    async fn read(&mut self) -> Option<Packet> {
        loop {
            if let Some(header) = frame::peek(&self.input, &Limits::NONE).unwrap() {
                let len = header.header_len + header.body_len;
                if self.input.len() >= len {
                    let mut body = self.input.split_to(len).freeze();
                    body.advance(header.header_len);
                    return Some(decode(Version::V5, header.first_byte, body, &Limits::NONE).unwrap());
                }
            }
            match self.stream.read_buf(&mut self.input).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    async fn packet(&mut self) -> Packet {
        timeout(PATIENCE, self.read()).await.expect("a packet in time").expect("a packet")
    }

    pub(super) async fn subscribe(&mut self, filter: &str) {
        let options = SubscriptionOptions { qos: QoS::ExactlyOnce, ..SubscriptionOptions::default() };
        let filters = vec![SubscribeFilter { filter: text(filter), options }];
        let (packet_id, user_properties) = (id(60_000), UserProperties::default());
        let subscribe = Subscribe { packet_id, subscription_id: None, user_properties, filters };
        self.send(&Packet::Subscribe(subscribe)).await;
        loop {
            match self.packet().await {
                Packet::SubAck(_) => return,
                Packet::Publish(publish) => self.early.push_back(publish),
                other => panic!("{other:?}"),
            }
        }
    }

    /// Publishes, and waits until the exchange is complete; `false` where the connection ended before.
    pub(super) async fn publish(&mut self, topic: &str, payload: u64, qos: QoS) -> bool {
        self.publish_with(message(topic, payload, qos)).await
    }

    pub(super) async fn retain(&mut self, topic: &str, payload: u64) -> bool {
        self.retain_at(topic, payload, QoS::AtLeastOnce).await
    }

    pub(super) async fn retain_at(&mut self, topic: &str, payload: u64, qos: QoS) -> bool {
        self.publish_with(Publish { retain: true, ..message(topic, payload, qos) }).await
    }

    /// Publishes at QoS 1 or 2, and waits for nothing.
    pub(super) async fn send_publish(&mut self, topic: &str, payload: u64, qos: QoS) {
        self.next_id = self.next_id % 50_000 + 1;
        let packet_id = Some(id(self.next_id));
        self.send(&Packet::Publish(Publish { packet_id, ..message(topic, payload, qos) })).await;
    }

    async fn publish_with(&mut self, mut publish: Publish) -> bool {
        if publish.qos == QoS::AtMostOnce {
            self.send(&Packet::Publish(publish)).await;
            return true;
        }
        self.next_id = self.next_id % 50_000 + 1;
        let packet_id = id(self.next_id);
        publish.packet_id = Some(packet_id);
        self.send(&Packet::Publish(publish)).await;
        loop {
            let Some(packet) = timeout(PATIENCE, self.read()).await.expect("an answer in time") else {
                return false;
            };
            match packet {
                Packet::PubAck(ack) if ack.packet_id == packet_id => return true,
                Packet::PubComp(ack) if ack.packet_id == packet_id => return true,
                Packet::PubRec(ack) if ack.packet_id == packet_id => {
                    self.send(&Packet::PubRel(PubRel::new(packet_id, ReasonCode::Success))).await;
                }
                Packet::Publish(publish) => self.early.push_back(publish),
                Packet::Disconnect(_) => return false,
                other => panic!("{other:?}"),
            }
        }
    }

    /// Goes away as a client does that comes back.
    pub(super) async fn disconnect(self) {
        self.disconnect_with(None).await;
    }

    /// Goes away, and may want its session to be kept for another time than it said; waits until that is so.
    pub(super) async fn disconnect_with(mut self, session_expiry_s: Option<u32>) {
        let disconnect = Disconnect { session_expiry_s, ..Disconnect::default() };
        self.send(&Packet::Disconnect(disconnect)).await;
        let ended = async { while self.read().await.is_some() {} };
        timeout(PATIENCE, ended).await.expect("an end in time");
    }

    /// Waits for DISCONNECT, or for the bare end of the connection.
    pub(super) async fn end(&mut self) -> Option<ReasonCode> {
        loop {
            let packet = timeout(PATIENCE, self.read()).await.expect("an end in time")?;
            if let Packet::Disconnect(disconnect) = packet {
                return Some(disconnect.reason);
            }
        }
    }

    /// Receives publishes, acknowledging them, until so many came with all that their exchanges want, or nothing comes for
    /// a while: their payloads and whether they were repeats.
    pub(super) async fn receive(&mut self, count: usize, quiet: Duration) -> Vec<(u64, bool)> {
        let mut got = Vec::new();
        for publish in std::mem::take(&mut self.early) {
            self.take(publish, &mut got).await;
        }
        let mut deadline = Instant::now() + quiet;
        while got.len() < count || !self.open.is_empty() {
            let Ok(packet) = timeout_at(deadline, self.read()).await else { break };
            match packet {
                Some(Packet::Publish(publish)) => self.take(publish, &mut got).await,
                Some(Packet::PubRel(release)) => {
                    self.stray_releases += usize::from(!self.open.remove(&release.packet_id));
                    self.send(&Packet::PubComp(PubComp::new(release.packet_id, ReasonCode::Success))).await;
                }
                Some(other) => panic!("{other:?}"),
                None => break,
            }
            deadline = Instant::now() + quiet;
        }
        got
    }

    async fn take(&mut self, publish: Publish, got: &mut Vec<(u64, bool)>) {
        match (publish.qos, publish.packet_id) {
            (QoS::AtLeastOnce, Some(packet_id)) => {
                self.send(&Packet::PubAck(PubAck::new(packet_id, ReasonCode::Success))).await
            }
            (QoS::ExactlyOnce, Some(packet_id)) => {
                self.open.insert(packet_id);
                self.send(&Packet::PubRec(PubRec::new(packet_id, ReasonCode::Success))).await
            }
            _ => {}
        }
        let payload = publish.payload.as_ref().try_into().map_or(u64::MAX, u64::from_be_bytes);
        got.push((payload, publish.dup));
    }
}
