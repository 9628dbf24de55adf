//! Hostile peers at the port for nodes (B53, F14, F26): whatever they send costs them their connection, and nobody else
//! notices. They speak HTTP/2 by hand where no client would send such a thing.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use node_routing::limits::Limits;
use raft_consensus::network::{Channel, PeerTransport, Refusal, TransportError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::cluster::{WITHIN, eventually};
use crate::place::{Caller, Host, identity};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;
const REFUSED_STREAM: u32 = 7;

/// What no silence ends.
fn patient() -> Limits {
    Limits { keep_alive: Duration::from_secs(3_600), ..Limits::default() }
}

/// A host that hangs up in time on who does not say who it is.
async fn host(limits: Limits) -> Host {
    Host::start(identity(2, 1), Limits { greet_within: Duration::from_secs(10), ..limits }).await
}

async fn still_serves(host: &Host) {
    let caller = Caller::new(identity(1, 1), Limits::default());
    caller.place(2, &host.address);
    caller.reaches(2).await;
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Headers of a request as HPACK has them, none of them indexed.
fn headers(to: &str) -> Vec<u8> {
    let cluster = "07".repeat(16);
    let all = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/quelea.raft.v1.Raft/Call"),
        (":authority", "x"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("quelea-protocol", "1"),
        ("quelea-cluster", &cluster),
        ("quelea-from", "1"),
        ("quelea-run", "1"),
        ("quelea-to", to),
    ];
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    all.into_iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
}

struct Raw {
    stream: TcpStream,
}

/// What came: kind, stream, payload.
type Frame = (u8, u32, Vec<u8>);

impl Raw {
    async fn connect(host: &Host) -> Self {
        Self { stream: TcpStream::connect(&host.address).await.unwrap() }
    }

    /// With what every HTTP/2 client says first.
    async fn greet(host: &Host) -> Self {
        let mut raw = Self::connect(host).await;
        raw.send(PREFACE).await;
        raw.send(&frame(SETTINGS, 0, 0, &[])).await;
        raw
    }

    /// Sends, unless the host has hung up.
    async fn send(&mut self, bytes: &[u8]) {
        let _hung_up = self.stream.write_all(bytes).await;
    }

    /// The next frame; none where the host has hung up.
    async fn next(&mut self) -> Option<Frame> {
        let reading = async {
            let mut head = [0; 9];
            self.stream.read_exact(&mut head).await.ok()?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; usize::try_from(length).unwrap()];
            self.stream.read_exact(&mut payload).await.ok()?;
            Some((head[3], u32::from_be_bytes(head[5..].try_into().unwrap()), payload))
        };
        timeout(WITHIN, reading).await.expect("the host should hang up")
    }

    /// All frames up to the one that is wanted, which is the last; or up to the end.
    async fn until(&mut self, wanted: impl Fn(&Frame) -> bool) -> Option<Frame> {
        while let Some(frame) = self.next().await {
            if wanted(&frame) {
                return Some(frame);
            }
        }
        None
    }

    async fn until_hung_up(mut self) {
        while self.next().await.is_some() {}
    }
}

#[tokio::test]
async fn garbage_and_silence_end_with_the_connection() {
    let soon = Limits { greet_within: Duration::from_millis(200), ..patient() };
    let host = Host::start(identity(2, 1), soon).await;
    let mut seed = 7_u64;
    let mut garbage = |length: usize| -> Vec<u8> {
        let mut byte = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 56) as u8
        };
        (0..length).map(|_| byte()).collect()
    };
    let openings: [&[u8]; 5] = [b"", b"GET / HTTP/1.1\r\n\r\n", &PREFACE[..10], PREFACE, b"\x10\x0cMQTT"];
    for opening in openings {
        for length in [0, 1, 9, 10, 100, 10_000] {
            let mut raw = Raw::connect(&host).await;
            raw.send(opening).await;
            raw.send(&garbage(length)).await;
            raw.until_hung_up().await;
        }
    }
    assert_eq!(host.counters().peer_strangers, 30);
    still_serves(&host).await;
}

#[tokio::test]
async fn who_greets_as_http_and_does_not_say_who_it_is_may_not_stay() {
    let host =
        Host::start(identity(2, 1), Limits { greet_within: Duration::from_secs(5), ..patient() }).await;
    let mut raw = Raw::greet(&host).await;
    raw.send(&frame(HEADERS, END_HEADERS, 1, &headers("3"))).await;
    let answer = raw.until(|(kind, stream, _)| (*kind, *stream) == (HEADERS, 1)).await;
    assert!(answer.is_some(), "it is told why");
    raw.until_hung_up().await;
    assert_eq!((host.counters().peer_refusals, host.counters().peer_strangers), (1, 1));
    still_serves(&host).await;
}

#[tokio::test]
async fn a_message_that_announces_a_gigabyte_is_refused_before_it_comes() {
    let host = host(Limits::default()).await;
    let mut raw = Raw::greet(&host).await;
    raw.send(&frame(HEADERS, END_HEADERS, 1, &headers("2"))).await;
    raw.send(&frame(DATA, 0, 1, &[0, 0x40, 0, 0, 0])).await;
    let answer = raw.until(|(kind, stream, _)| (*kind, *stream) == (HEADERS, 1)).await;
    assert!(answer.is_some(), "although its request has not ended");
    still_serves(&host).await;
}

#[tokio::test]
async fn a_message_that_is_too_large_is_refused_by_name_at_either_end() {
    let small = Limits { message_bytes_max: 1 << 10, ..Limits::default() };
    let host = host(small).await;
    let refused = || TransportError::Refused { to: 2, refusal: Refusal::TooLarge };
    for limits in [Limits::default(), small] {
        let caller = Caller::new(identity(1, 1), limits);
        caller.place(2, &host.address);
        let call = caller.transport.call(2, Channel::Replication, Bytes::from(vec![1; 2_000]), WITHIN);
        assert_eq!(call.await, Err(refused()));
    }
    let caller = Caller::new(identity(1, 1), Limits::default());
    caller.place(2, &host.address);
    let requests = stream::once(async { Bytes::from(vec![1; 2_000]) }).chain(stream::pending());
    let answers = caller.transport.open(2, Channel::Replication, requests.boxed(), WITHIN).await.unwrap();
    let answers: Vec<_> = timeout(WITHIN, answers.collect()).await.unwrap();
    assert_eq!(answers, [Err(refused())]);
    still_serves(&host).await;
}

#[tokio::test]
async fn streams_beyond_the_bound_are_refused() {
    let host = host(Limits { streams_max: 8, ..Limits::default() }).await;
    let mut raw = Raw::greet(&host).await;
    let last = 2 * 8 + 1;
    for stream in (1..=last).step_by(2) {
        raw.send(&frame(HEADERS, END_HEADERS, stream, &headers("2"))).await;
    }
    let (_, stream, why) = raw.until(|(kind, ..)| *kind == RESET).await.unwrap();
    assert_eq!((stream, why), (last, REFUSED_STREAM.to_be_bytes().to_vec()));
    still_serves(&host).await;
}

#[tokio::test]
async fn streams_that_are_reset_as_fast_as_they_are_opened_cost_the_connection() {
    let host = host(Limits::default()).await;
    let mut raw = Raw::greet(&host).await;
    let mut flood = Vec::new();
    for stream in (1..=20_001_u32).step_by(2) {
        flood.extend(frame(HEADERS, END_HEADERS, stream, &headers("2")));
        flood.extend(frame(RESET, 0, stream, &8_u32.to_be_bytes()));
    }
    let (reader, mut writer) = raw.stream.into_split();
    let sending = tokio::spawn(async move { writer.write_all(&flood).await.is_err() });
    let mut reading = tokio::io::BufReader::new(reader);
    let mut all = Vec::new();
    let _reset = timeout(WITHIN, reading.read_to_end(&mut all)).await.expect("the host should hang up");
    sending.await.unwrap();
    still_serves(&host).await;
    raw = Raw::connect(&host).await;
    raw.until_hung_up().await;
}

#[tokio::test]
async fn headers_without_end_cost_the_connection() {
    let host = host(Limits::default()).await;
    let mut raw = Raw::greet(&host).await;
    raw.send(&frame(HEADERS, 0, 1, &headers("2"))).await;
    for _ in 0..2_000 {
        raw.send(&frame(CONTINUATION, 0, 1, &[b"\x00\x01x\x7f\x01".as_slice(), &[b'y'; 128]].concat())).await;
    }
    let told = raw.until(|(kind, ..)| *kind == GOAWAY).await;
    drop(told);
    raw.until_hung_up().await;
    assert_eq!(host.counters().peer_strangers, 1);
    still_serves(&host).await;
}

#[tokio::test]
async fn connections_beyond_the_bound_are_closed_at_once_and_there_is_room_again() {
    let long = Duration::from_secs(3_600);
    let limits = Limits { connections_max: 2, greet_within: long, ..Limits::default() };
    let host = Host::start(identity(2, 1), limits).await;
    let (first, second) = (Raw::connect(&host).await, Raw::connect(&host).await);
    eventually("two connections", || async { (host.counters().peer_accepted == 2).then_some(()) }).await;
    Raw::connect(&host).await.until_hung_up().await;
    assert_eq!(host.counters().peer_turned_away, 1);
    drop((first, second));
    let caller = Caller::new(identity(1, 1), Limits::default());
    caller.place(2, &host.address);
    caller.reaches(2).await;
}
