//! Enhanced authentication over a real socket: a node of its own with a method of the tests, and raw packets.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use session_store::authentication::{Exchange, Method, Step};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::access::Shown;
use crate::counters::NodeTotals;
use crate::testing::{self, TestNode};

/// Longer than anything that is expected to happen takes.
const PATIENCE: Duration = Duration::from_secs(20);
/// From accept to the end of CONNECT, where that is to pass.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(6);
/// Long enough for what must not come to come.
const SILENCE: Duration = Duration::from_millis(100);

const CONNACK: u8 = 0x20;
const PUBACK: u8 = 0x40;
const PINGREQ: &[u8] = &[0xC0, 0];
const PINGRESP: u8 = 0xD0;
const DISCONNECT: u8 = 0xE0;
const AUTH: u8 = 0xF0;

/// Challenges twice; the answer to each is the challenge and the secret.
#[derive(Debug)]
struct TwoSteps;

#[derive(Debug)]
struct Asking(u8);

impl Method<Shown> for TwoSteps {
    fn name(&self) -> &str {
        "TWO-STEPS"
    }

    fn begin(&self) -> Box<dyn Exchange<Shown>> {
        Box::new(Asking(0))
    }
}

impl Exchange<Shown> for Asking {
    fn step(&mut self, data: &[u8]) -> Step<Shown> {
        self.0 += 1;
        match (self.0, data) {
            (1, b"user") => Step::Challenge(Bytes::from_static(b"one")),
            (2, b"one secret") => Step::Challenge(Bytes::from_static(b"two")),
            (3, b"two secret") => {
                Step::Accepted(Some(Bytes::from_static(b"proof")), Shown::Password("user".into()))
            }
            _ => Step::Rejected,
        }
    }
}

/// A node with one plain listener and the method.
struct MethodNode {
    node: TestNode,
    _data: tempfile::TempDir,
}

impl MethodNode {
    async fn start() -> Self {
        Self::start_with(PATIENCE).await
    }

    async fn start_with(connect_timeout: Duration) -> Self {
        let mut settings = testing::settings();
        settings.limits.connect_timeout = connect_timeout;
        let data = tempfile::tempdir().unwrap();
        let node = TestNode::alone(data.path(), settings, vec![Arc::new(TwoSteps)]).await;
        Self { node, _data: data }
    }

    async fn client(&self) -> Client {
        Client(TcpStream::connect(&self.node.address).await.unwrap())
    }

    /// A client that has sent CONNECT and got the first challenge.
    async fn challenged(&self) -> Client {
        let mut client = self.client().await;
        client.send(&connect("TWO-STEPS", "user", &[])).await;
        client.expect_auth(0x18, "one").await;
        client
    }

    /// A client that has got CONNACK.
    async fn authenticated(&self) -> Client {
        let mut client = self.challenged().await;
        client.send(&auth(0x18, "one secret")).await;
        client.expect_auth(0x18, "two").await;
        client.send(&auth(0x18, "two secret")).await;
        let (first, body) = client.packet().await;
        assert_eq!((first, &body[..2]), (CONNACK, &[0, 0][..]));
        let names_both = |wanted: &[u8]| body.windows(wanted.len()).any(|part| part == wanted);
        assert!(names_both(&method("TWO-STEPS")) && names_both(&data("proof")), "{body:02x?}");
        client
    }

    fn totals(&self) -> NodeTotals {
        self.node.totals()
    }

    /// Waits until every connection has ended.
    async fn stop(self) -> NodeTotals {
        timeout(PATIENCE, self.node.end_clients()).await.unwrap()
    }
}

/// The client's end of a connection.
struct Client(TcpStream);

impl Client {
    async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    async fn try_packet(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let first = self.0.read_u8().await?;
        let len = self.0.read_u8().await?;
        assert!(len < 0x80, "no packet here is longer");
        let mut body = vec![0; usize::from(len)];
        self.0.read_exact(&mut body).await?;
        Ok((first, body))
    }

    async fn packet(&mut self) -> (u8, Vec<u8>) {
        timeout(PATIENCE, self.try_packet()).await.expect("a packet in time").unwrap()
    }

    async fn expect_auth(&mut self, reason: u8, challenge: &str) {
        let properties = [method("TWO-STEPS"), data(challenge)].concat();
        let mut expected = vec![reason, u8::try_from(properties.len()).unwrap()];
        expected.extend(properties);
        assert_eq!(self.packet().await, (AUTH, expected));
    }

    /// A packet of this kind with this reason code, and nothing but the end behind it.
    async fn expect_last(&mut self, kind: u8, reason: u8) {
        let (first, body) = self.packet().await;
        let at = usize::from(kind == CONNACK);
        assert_eq!((first, body.get(at)), (kind, Some(&reason)), "{body:02x?}");
        self.expect_end().await;
    }

    async fn expect_end(&mut self) {
        let end = timeout(PATIENCE, self.try_packet()).await.expect("an end in time");
        assert!(end.is_err(), "{end:02x?}");
    }

    async fn expect_ping_answered(&mut self) {
        self.send(PINGREQ).await;
        assert_eq!(self.packet().await.0, PINGRESP);
    }
}

fn text(text: &str) -> Vec<u8> {
    let mut bytes = u16::try_from(text.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend(text.as_bytes());
    bytes
}

fn method(name: &str) -> Vec<u8> {
    [&[0x15][..], &text(name)].concat()
}

fn data(data: &str) -> Vec<u8> {
    [&[0x16][..], &text(data)].concat()
}

fn packet(first: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    assert!(body.len() < 0x80);
    [&[first, u8::try_from(body.len()).unwrap()][..], &body].concat()
}

fn block(properties: &[u8]) -> Vec<u8> {
    [&[u8::try_from(properties.len()).unwrap()][..], properties].concat()
}

/// CONNECT of 5.0 with clean start, a method and data, and further properties.
fn connect(name: &str, first: &str, more: &[u8]) -> Vec<u8> {
    let properties = [&method(name), &data(first), more].concat();
    packet(0x10, &[&text("MQTT"), &[5, 2, 0, 0], &block(&properties), &text("client")])
}

fn auth(reason: u8, answer: &str) -> Vec<u8> {
    auth_by("TWO-STEPS", reason, answer)
}

fn auth_by(name: &str, reason: u8, answer: &str) -> Vec<u8> {
    packet(AUTH, &[&[reason], &block(&[method(name), data(answer)].concat())])
}

/// PUBLISH at QoS 1, without properties.
fn publish(id: u8) -> Vec<u8> {
    packet(0x32, &[&text("t"), &[0, id, 0], b"x"])
}

#[tokio::test]
async fn challenges_go_back_and_forth_before_connack_and_again_later() {
    let node = MethodNode::start().await;
    let mut client = node.authenticated().await;
    client.expect_ping_answered().await;
    for _ in 0..2 {
        client.send(&auth(0x19, "user")).await;
        client.expect_auth(0x18, "one").await;
        client.send(&auth(0x18, "one secret")).await;
        client.expect_auth(0x18, "two").await;
        client.send(&auth(0x18, "two secret")).await;
        client.expect_auth(0x00, "proof").await;
    }
    client.expect_ping_answered().await;
    drop(client);
    let totals = node.stop().await;
    assert_eq!((totals.connects_accepted, totals.connects_refused), (1, 0));
    assert_eq!((totals.reauthentications, totals.reauthentications_failed), (2, 0));
    assert_eq!((totals.kinds_received[15], totals.kinds_sent[15]), (8, 8), "every AUTH is counted");
    let sent = totals.kinds_sent.iter().sum::<u64>();
    assert_eq!((totals.packets_received, totals.packets_sent), (11, sent));
}

#[tokio::test]
async fn everything_else_goes_on_while_a_client_authenticates_again() {
    let node = MethodNode::start().await;
    let mut client = node.authenticated().await;
    client.send(&[auth(0x19, "user"), publish(1)].concat()).await;
    client.expect_auth(0x18, "one").await;
    // 0x10 is "no matching subscribers".
    assert_eq!(client.packet().await, (PUBACK, vec![0, 1, 0x10]));
    client.send(&[publish(2), auth(0x18, "one secret"), publish(3), PINGREQ.to_vec()].concat()).await;
    assert_eq!(client.packet().await.1[..2], [0, 2]);
    client.expect_auth(0x18, "two").await;
    assert_eq!(client.packet().await.1[..2], [0, 3]);
    assert_eq!(client.packet().await.0, PINGRESP);
    // What is sent with the last answer is handled behind it.
    client.send(&[auth(0x18, "two secret"), publish(4)].concat()).await;
    client.expect_auth(0x00, "proof").await;
    assert_eq!(client.packet().await.1[..2], [0, 4]);
    drop(client);
    node.stop().await;
}

#[tokio::test]
async fn who_cannot_answer_is_refused_with_0x87() {
    let node = MethodNode::start().await;
    let mut client = node.client().await;
    client.send(&connect("TWO-STEPS", "nobody", &[])).await;
    client.expect_last(CONNACK, 0x87).await;
    let mut client = node.challenged().await;
    client.send(&auth(0x18, "one guess")).await;
    client.expect_last(CONNACK, 0x87).await;
    let mut client = node.challenged().await;
    client.send(&auth(0x18, "one secret")).await;
    client.expect_auth(0x18, "two").await;
    client.send(&auth(0x18, "one secret")).await;
    client.expect_last(CONNACK, 0x87).await;
    let mut client = node.authenticated().await;
    client.send(&auth(0x19, "nobody")).await;
    client.expect_last(DISCONNECT, 0x87).await;
    let mut client = node.authenticated().await;
    client.send(&auth(0x19, "user")).await;
    client.expect_auth(0x18, "one").await;
    client.send(&[auth(0x18, "one guess"), publish(1)].concat()).await;
    client.expect_last(DISCONNECT, 0x87).await;
    let totals = node.stop().await;
    assert_eq!((totals.connects_accepted, totals.connects_refused), (2, 3));
    assert_eq!(totals.publish_received, 0, "nothing behind a refusal is handled");
}

#[tokio::test]
async fn another_method_is_a_protocol_error_and_an_unknown_one_is_0x8c() {
    let node = MethodNode::start().await;
    let mut client = node.client().await;
    client.send(&connect("ONE-STEP", "user", &[])).await;
    client.expect_last(CONNACK, 0x8C).await;
    let mut client = node.challenged().await;
    client.send(&auth_by("ONE-STEP", 0x18, "one secret")).await;
    client.expect_last(CONNACK, 0x82).await;
    let mut client = node.authenticated().await;
    client.send(&auth_by("ONE-STEP", 0x19, "user")).await;
    client.expect_last(DISCONNECT, 0x82).await;
    let mut client = node.authenticated().await;
    client.send(&auth(0x19, "user")).await;
    client.expect_auth(0x18, "one").await;
    client.send(&auth_by("ONE-STEP", 0x18, "one secret")).await;
    client.expect_last(DISCONNECT, 0x82).await;
    node.stop().await;
}

#[tokio::test]
async fn only_auth_and_disconnect_may_come_before_connack() {
    let node = MethodNode::start().await;
    let subscribe = packet(0x82, &[&[0, 1, 0], &text("t"), &[0]]);
    let others = [publish(1), subscribe, PINGREQ.to_vec(), connect("TWO-STEPS", "user", &[])];
    for other in others {
        let mut client = node.challenged().await;
        client.send(&other).await;
        client.expect_last(CONNACK, 0x82).await;
    }
    for out_of_turn in [auth(0x19, "user"), auth(0x00, "one secret"), vec![AUTH, 0]] {
        let mut client = node.challenged().await;
        client.send(&out_of_turn).await;
        client.expect_last(CONNACK, 0x82).await;
    }
    let mut client = node.challenged().await;
    client.send(&packet(AUTH, &[&[0x18, 9, 0x15]])).await;
    client.expect_last(CONNACK, 0x81).await;
    let mut client = node.challenged().await;
    client.send(&[DISCONNECT, 0]).await;
    client.expect_end().await;
    let totals = node.stop().await;
    assert_eq!((totals.connects_accepted, totals.connects_refused), (0, 9));
}

#[tokio::test]
async fn auth_out_of_turn_ends_a_connection_that_is_authenticated() {
    let node = MethodNode::start().await;
    for out_of_turn in [auth(0x18, "one secret"), auth(0x00, "user")] {
        let mut client = node.authenticated().await;
        client.send(&out_of_turn).await;
        client.expect_last(DISCONNECT, 0x82).await;
    }
    let mut client = node.authenticated().await;
    client.send(&[auth(0x19, "user"), auth(0x19, "user")].concat()).await;
    client.expect_auth(0x18, "one").await;
    client.expect_last(DISCONNECT, 0x82).await;
    node.stop().await;
}

#[tokio::test]
async fn who_never_answers_a_challenge_is_closed_at_the_deadline_of_connect() {
    let node = MethodNode::start_with(CONNECT_TIMEOUT).await;
    let start = Instant::now();
    let mut silent = node.challenged().await;
    let mut slow = node.challenged().await;
    tokio::time::sleep(CONNECT_TIMEOUT / 4).await;
    slow.send(&auth(0x18, "one secret")).await;
    slow.expect_auth(0x18, "two").await;
    silent.expect_end().await;
    slow.expect_end().await;
    let took = start.elapsed();
    assert!(took >= CONNECT_TIMEOUT, "{took:?}: a challenge does not shorten the time");
    assert!(took < CONNECT_TIMEOUT * 10, "{took:?}: an answer does not begin it anew");
    assert_eq!(node.totals().connect_timeouts, 2);
    node.stop().await;
}

#[tokio::test]
async fn a_client_that_goes_away_in_the_middle_leaves_nothing_behind() {
    let node = MethodNode::start().await;
    drop(node.challenged().await);
    let mut half = node.challenged().await;
    half.send(&auth(0x18, "one secret")[..5]).await;
    drop(half);
    let both_ended = async {
        while node.totals().connections_closed < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, both_ended).await.expect("no connection is left");
    let totals = node.stop().await;
    assert_eq!(
        (totals.connects_refused, totals.connect_timeouts),
        (2, 0),
        "they did not wait for the deadline"
    );
}

#[tokio::test]
async fn a_challenge_larger_than_the_client_takes_is_not_sent() {
    let node = MethodNode::start().await;
    let mut client = node.client().await;
    client.send(&connect("TWO-STEPS", "user", &[0x27, 0, 0, 0, 10])).await;
    client.expect_last(CONNACK, 0x95).await;
    assert!(timeout(SILENCE, client.try_packet()).await.expect("closed").is_err());
    node.stop().await;
}
