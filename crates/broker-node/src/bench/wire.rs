//! A client's end of a connection: bytes in and out in batches, packets in between; CONNECT and SUBSCRIBE.
//! Used by `connection` and `conn`. It never sends a packet of its own accord.

use std::io;
use std::num::NonZeroU16;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use mqtt_codec::{
    ConnAck, Connect, Disconnect, EncodeError, Limits, Offence, Packet, PacketId, PacketKind, QoS,
    ReasonCode, Subscribe, SubscribeFilter, SubscriptionOptions, Text, UserProperties, Version, decode,
    frame,
};

use super::endpoint::{Endpoints, Stream};
use super::plan::{Identity, Plan};

/// The first read buffer; it doubles each time it was filled.
const READ_BYTES_MIN: usize = 4 * 1024;
const READ_BYTES_MAX: usize = 256 * 1024;
/// An output buffer that grew beyond this is given back once it is empty.
const OUTPUT_BYTES_KEPT: usize = 256 * 1024;

/// Why a connection did not come about, or ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the broker closed the connection")]
    Closed,
    #[error("the broker sent what is not MQTT: {0}")]
    Offence(#[from] Offence),
    #[error("cannot encode a packet: {0}")]
    Encode(#[from] EncodeError),
    #[error("{0} was refused: {name}", name = .1.name())]
    Refused(PacketKind, ReasonCode),
    #[error("the broker disconnected: {name}", name = .0.name())]
    Disconnected(ReasonCode),
    #[error("expected {expected}, found {found}")]
    Unexpected { expected: PacketKind, found: PacketKind },
    #[error("{0} was not answered within the connect timeout")]
    Timeout(PacketKind),
    #[error("the broker grants {0}, and the load needs more")]
    TooLittle(String),
    #[error("the broker has not kept the session")]
    NoSession,
}

/// A connected client.
pub(super) struct Wire {
    stream: Stream,
    version: Version,
    input: BytesMut,
    read_bytes: usize,
    /// Packets to be sent.
    pub(super) output: BytesMut,
    flushed: bool,
}

impl Wire {
    /// Opens connection `number` of the run. [`Wire::connect`] must follow.
    ///
    /// # Errors
    /// As of the socket or TLS.
    pub(super) async fn open(
        endpoints: &Endpoints,
        number: usize,
        version: Version,
    ) -> Result<Self, ClientError> {
        let stream = endpoints.connect(number).await?;
        let output = BytesMut::new();
        Ok(Self {
            stream,
            version,
            input: BytesMut::new(),
            read_bytes: READ_BYTES_MIN,
            output,
            flushed: true,
        })
    }

    /// Sends CONNECT and waits for CONNACK.
    ///
    /// # Errors
    /// The refusal of the broker, or what happened instead of an answer.
    pub(super) async fn connect(
        &mut self,
        plan: &Plan,
        identity: &Identity,
    ) -> Result<Box<ConnAck>, ClientError> {
        self.send(&Packet::Connect(Box::new(connect_packet(plan, identity))))?;
        match self.answer().await? {
            Packet::ConnAck(ack) if (ack.reason as u8) < 0x80 => Ok(ack),
            Packet::ConnAck(ack) => Err(ClientError::Refused(PacketKind::Connect, ack.reason)),
            other => Err(ClientError::Unexpected { expected: PacketKind::ConnAck, found: other.kind() }),
        }
    }

    /// Appends a packet to the output.
    ///
    /// # Errors
    /// Where a field does not fit.
    pub(super) fn send(&mut self, packet: &Packet) -> Result<(), EncodeError> {
        packet.encode(self.version, &mut self.output)
    }

    /// Appends SUBSCRIBE for one filter.
    pub(super) fn send_subscribe(&mut self, filter: &Text, qos: QoS) -> Result<(), EncodeError> {
        let options = SubscriptionOptions { qos, ..SubscriptionOptions::default() };
        self.send(&Packet::Subscribe(Subscribe {
            packet_id: PacketId::from(NonZeroU16::MIN),
            subscription_id: None,
            user_properties: UserProperties::default(),
            filters: vec![SubscribeFilter { filter: filter.clone(), options }],
        }))
    }

    /// The next complete packet of what was read.
    ///
    /// # Errors
    /// Where the bytes are no packet.
    pub(super) fn next_packet(&mut self) -> Result<Option<Packet>, Offence> {
        let Some(frame) = frame::peek(&self.input, &Limits::NONE)? else { return Ok(None) };
        let whole = frame.header_len + frame.body_len;
        if self.input.len() < whole {
            // A large packet is read into one buffer of its size, not into many that grow.
            self.read_bytes = self.read_bytes.max((whole - self.input.len()).min(READ_BYTES_MAX));
            return Ok(None);
        }
        let mut body: Bytes = self.input.split_to(whole).freeze();
        body.advance(frame.header_len);
        decode(self.version, frame.first_byte, body, &Limits::NONE).map(Some)
    }

    /// Reads once.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, ClientError>> {
        self.input.reserve(self.read_bytes);
        let room = self.input.capacity() - self.input.len();
        let count = ready!(self.stream.poll_read(cx, &mut self.input))?;
        if count == 0 {
            return Poll::Ready(Err(ClientError::Closed));
        }
        if count == room {
            self.read_bytes = (self.read_bytes * 2).min(READ_BYTES_MAX);
        }
        Poll::Ready(Ok(count))
    }

    /// Writes until the output is empty.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ClientError>> {
        while !self.output.is_empty() {
            let count = ready!(self.stream.poll_write(cx, &self.output))?;
            if count == 0 {
                return Poll::Ready(Err(ClientError::Closed));
            }
            self.output.advance(count);
            self.flushed = false;
        }
        if !self.flushed {
            ready!(self.stream.poll_flush(cx))?;
            self.flushed = true;
            if self.output.capacity() > OUTPUT_BYTES_KEPT {
                self.output = BytesMut::new();
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Sends the output, then reads up to the next packet.
    ///
    /// # Errors
    /// Where the connection ends.
    pub(super) async fn answer(&mut self) -> Result<Packet, ClientError> {
        std::future::poll_fn(|cx| {
            ready!(self.poll_flush(cx))?;
            loop {
                if let Some(packet) = self.next_packet()? {
                    return Poll::Ready(Ok(packet));
                }
                ready!(self.poll_read(cx))?;
            }
        })
        .await
    }

    /// Says goodbye and closes. What the broker makes of it is not waited for.
    ///
    /// # Errors
    /// Where the connection had ended.
    pub(super) async fn disconnect(mut self) -> Result<(), ClientError> {
        self.send(&Packet::Disconnect(Disconnect::default()))?;
        std::future::poll_fn(|cx| {
            ready!(self.poll_flush(cx))?;
            self.stream.poll_shutdown(cx).map_err(ClientError::from)
        })
        .await
    }
}

fn connect_packet(plan: &Plan, identity: &Identity) -> Connect {
    let args = &plan.client;
    // Made of checked parts, so the defaults are never taken.
    let text = |text: &str| Text::new(text).unwrap_or_default();
    Connect {
        version: plan.version,
        clean_start: identity.session_expiry_s.is_none(),
        keep_alive_s: args.keep_alive,
        client_id: text(&identity.client_id),
        user_name: args.username.as_deref().map(text),
        password: args.password.as_ref().map(|password| Bytes::copy_from_slice(password.as_bytes())),
        session_expiry_s: identity.session_expiry_s,
        ..Connect::default()
    }
}
