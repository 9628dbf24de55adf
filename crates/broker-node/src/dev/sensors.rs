//! Simulated sensors: clients of the cluster like any other, which publish a temperature and a humidity every two seconds at
//! QoS 1, and go to the next node when theirs is gone. Spawned by the supervisor.

use std::io;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use mqtt_codec::{Connect, Limits, Packet, PacketId, Publish, QoS, Text, Version, decode, frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Between two readings.
const EVERY: Duration = Duration::from_secs(2);
/// Before the next node is tried.
const AGAIN: Duration = Duration::from_millis(500);
/// How long the broker may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
const KEEP_ALIVE_S: u16 = 30;
const READ_BYTES: usize = 1_024;

/// Starts so many sensors, spread over these addresses. They end when what is returned is dropped.
pub(super) fn spawn(count: u32, addresses: &[String]) -> JoinSet<()> {
    let mut sensors = JoinSet::new();
    for number in 0..count {
        let addresses = addresses.to_vec();
        sensors.spawn(async move {
            let mut at = number as usize;
            let mut sensor = Sensor { number, step: 0 };
            while let Some(address) = addresses.get(at % addresses.len().max(1)) {
                if let Err(error) = sensor.publish_at(address).await {
                    tracing::debug!(sensor = number, address, %error, "a sensor goes to the next node");
                }
                at += 1;
                sleep(AGAIN).await;
            }
        });
    }
    sensors
}

struct Sensor {
    number: u32,
    step: u64,
}

/// A reading that goes up and down, in tenths, as a sensor writes it.
fn reading(step: u64, from: u64, span: u64) -> String {
    let place = step % (2 * span);
    let tenths = from + place.min(2 * span - place);
    format!("{}.{}0", tenths / 10, tenths % 10)
}

impl Sensor {
    /// Publishes until the connection ends.
    async fn publish_at(&mut self, address: &str) -> io::Result<()> {
        let mut line = Line::open(address, &format!("sensor-{}", self.number)).await?;
        // Not all of them at the same time.
        sleep(EVERY * (self.number % 10) / 10).await;
        loop {
            let shifted = self.step + u64::from(self.number);
            line.publish("ESP32/TEM", reading(shifted, 200, 80)).await?;
            line.publish("ESP32/HUM", reading(shifted, 400, 200)).await?;
            self.step += 1;
            sleep(EVERY).await;
        }
    }
}

/// A connection to the broker.
struct Line {
    stream: TcpStream,
    input: BytesMut,
}

impl Line {
    async fn open(address: &str, client_id: &str) -> io::Result<Self> {
        let stream = timeout(ANSWER_WITHIN, TcpStream::connect(address)).await??;
        stream.set_nodelay(true)?;
        let mut line = Self { stream, input: BytesMut::new() };
        let client_id = Text::new(client_id).map_err(io::Error::other)?;
        let connect = Connect {
            version: Version::V5,
            client_id,
            keep_alive_s: KEEP_ALIVE_S,
            clean_start: true,
            ..Connect::default()
        };
        match line.ask(&Packet::Connect(Box::new(connect))).await? {
            Packet::ConnAck(ack) if !ack.reason.is_error() => Ok(line),
            other => Err(unexpected(&other)),
        }
    }

    async fn publish(&mut self, topic: &str, payload: String) -> io::Result<()> {
        let publish = Publish {
            qos: QoS::AtLeastOnce,
            packet_id: Some(PacketId::MIN),
            topic: Text::new(topic).map_err(io::Error::other)?,
            payload: Bytes::from(payload),
            ..Publish::default()
        };
        match self.ask(&Packet::Publish(publish)).await? {
            Packet::PubAck(ack) if !ack.reason.is_error() => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    async fn ask(&mut self, packet: &Packet) -> io::Result<Packet> {
        let mut output = BytesMut::new();
        packet.encode(Version::V5, &mut output).map_err(io::Error::other)?;
        self.stream.write_all(&output).await?;
        timeout(ANSWER_WITHIN, self.answer()).await?
    }

    async fn answer(&mut self) -> io::Result<Packet> {
        loop {
            if let Some(frame) = frame::peek(&self.input, &Limits::NONE).map_err(io::Error::other)? {
                let whole = frame.header_len + frame.body_len;
                if self.input.len() >= whole {
                    let mut body = self.input.split_to(whole).freeze();
                    body.advance(frame.header_len);
                    return decode(Version::V5, frame.first_byte, body, &Limits::NONE)
                        .map_err(io::Error::other);
                }
            }
            self.input.reserve(READ_BYTES);
            if self.stream.read_buf(&mut self.input).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

fn unexpected(packet: &Packet) -> io::Error {
    io::Error::other(format!("the broker answered with {}", packet.kind()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readings_go_up_and_down_and_look_like_a_sensors() {
        let readings: Vec<String> = (0..5).map(|step| reading(step, 200, 2)).collect();
        assert_eq!(readings, ["20.00", "20.10", "20.20", "20.10", "20.00"]);
        assert_eq!(reading(67, 200, 80), "26.70");
    }
}
