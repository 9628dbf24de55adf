//! WebSocket over real connections, with tungstenite as the client, and by hand where it would not misbehave.

use super::*;
use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{
        Error, Message,
        client::IntoClientRequest,
        handshake::client::Response,
        http::HeaderValue,
        protocol::{CloseFrame, frame::coding::CloseCode},
    },
};

pub(super) async fn open<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    subprotocol: &'static str,
) -> Result<(WebSocketStream<S>, Response), Error> {
    let mut request = "ws://localhost/mqtt".into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static(subprotocol));
    timeout(PATIENCE, client_async(request, stream)).await.unwrap()
}

pub(super) async fn receive<S: AsyncRead + AsyncWrite + Unpin>(client: &mut WebSocketStream<S>) -> Vec<u8> {
    match timeout(PATIENCE, client.next()).await.unwrap().unwrap().unwrap() {
        Message::Binary(data) => data.to_vec(),
        other => panic!("{other:?}"),
    }
}

pub(super) async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    client: &mut WebSocketStream<S>,
    bytes: &[u8],
) {
    let (mut sender, mut receiver) = client.split();
    let send = async { sender.send(Message::binary(bytes.to_vec())).await.unwrap() };
    let collect = async {
        let mut back = Vec::new();
        while back.len() < bytes.len() {
            back.extend_from_slice(&receiver.next().await.unwrap().unwrap().into_data());
        }
        back
    };
    let ((), back) = timeout(PATIENCE, async { tokio::join!(send, collect) }).await.unwrap();
    assert!(back == bytes);
}

async fn plain() -> (TestNode, WebSocketStream<TcpStream>) {
    let node = TestNode::start(on("127.0.0.1:0", Protocol::Ws));
    let (mut client, _) = open(node.connect().await, "mqtt").await.unwrap();
    assert!(receive(&mut client).await.ends_with(b" ws\n"));
    (node, client)
}

/// The status line of the answer to a request with these headers.
async fn status(listener: ListenerSettings, request: &str) -> String {
    let node = TestNode::start(listener);
    let mut client = node.connect().await;
    let _ = client.write_all(request.as_bytes()).await;
    let mut line = String::new();
    let mut reader = tokio::io::BufReader::new(&mut client);
    let read = tokio::io::AsyncBufReadExt::read_line(&mut reader, &mut line);
    timeout(PATIENCE, read).await.unwrap().unwrap();
    drop(client);
    node.stop().await;
    line.trim_end().to_owned()
}

const GOOD: &str = "GET /mqtt HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Protocol: chat, mqtt\r\n\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn data_goes_both_ways_in_frames_of_any_size() {
    let (node, mut client) = plain().await;
    for size in [1, 125, 126, 65_535, 65_536, 1_000_000] {
        let bytes: Vec<u8> = (0..size).map(|n| u8::try_from(n % 251).unwrap()).collect();
        exchange(&mut client, &bytes).await;
    }
    client.send(Message::Ping(b"hello"[..].into())).await.unwrap();
    let pong = timeout(PATIENCE, client.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(pong, Message::Pong(b"hello"[..].into()));
    let close = CloseFrame { code: CloseCode::Normal, reason: "bye".into() };
    client.close(Some(close)).await.unwrap();
    let answer = timeout(PATIENCE, client.next()).await.unwrap().unwrap().unwrap();
    assert!(matches!(answer, Message::Close(Some(frame)) if frame.code == CloseCode::Normal));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_in_order_is_answered_as_the_standard_says() {
    let node = TestNode::start(on("127.0.0.1:0", Protocol::Ws));
    for (offered, chosen) in [("mqtt", "mqtt"), ("mqttv3.1", "mqttv3.1"), ("mqttv3.1, mqtt", "mqtt")] {
        let (_, response) = open(node.connect().await, offered).await.unwrap();
        assert_eq!(response.headers()["sec-websocket-protocol"], chosen);
    }
    let mut client = node.connect().await;
    let (first, second) = GOOD.split_at(100);
    client.write_all(first.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    // Data right behind the request, in one segment with its end.
    client.write_all(&[second.as_bytes(), b"\x82\x83\0\0\0\0abc"].concat()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\x82\x03abc") {
        answer.push(timeout(PATIENCE, client.read_u8()).await.unwrap().unwrap());
    }
    let head = String::from_utf8_lossy(&answer).into_owned();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(head.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{head}");
    drop(client);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_out_of_order_is_refused() {
    let mut guarded = on("127.0.0.1:0", Protocol::Ws);
    guarded.ws_origins = vec!["https://good.example".into()];
    let open = || on("127.0.0.1:0", Protocol::Ws);
    let origin = |name: &str| GOOD.replace("Host: h", &format!("Origin: {name}"));
    for (listener, request, expected) in [
        (open(), GOOD.to_owned(), 101),
        (open(), GOOD.replace("/mqtt", "/mqtt?x=1"), 101),
        (open(), GOOD.replace("/mqtt", "/other"), 404),
        (open(), GOOD.replace("chat, mqtt", "chat"), 400),
        (open(), GOOD.replace("Sec-WebSocket-Protocol: chat, mqtt\r\n", ""), 400),
        (open(), GOOD.replace("Version: 13", "Version: 8"), 426),
        (open(), GOOD.replace("GET", "POST"), 400),
        (open(), GOOD.replace("Upgrade: websocket\r\n", ""), 400),
        (open(), GOOD.replace("dGhlIHNhbXBsZSBub25jZQ==", "short"), 400),
        (open(), "GET / HTTP/1.1\r\nHost: h\r\n\r\n".into(), 404),
        (open(), GOOD.replace("Host: h", &format!("X: {}", "x".repeat(100_000))), 431),
        (open(), GOOD.replace("Host: h", &"A: b\r\n".repeat(100).trim_end().replace("\r\n\r\n", "")), 431),
        (open(), "SSH-2.0-OpenSSH_9.2\r\n".into(), 400),
        (open(), "\x10\x0c\0\x04MQTT\x05\x02\0\0\0\0".into(), 400),
        (guarded.clone(), GOOD.to_owned(), 403),
        (guarded.clone(), origin("https://evil.example"), 403),
        (guarded, origin("https://good.example"), 101),
    ] {
        let found = status(listener, &request).await;
        assert!(found.starts_with(&format!("HTTP/1.1 {expected} ")), "{expected}: {found}");
    }
}

/// Sends raw frames after the handshake and gives the code of the close frame that answers.
async fn close_code(frames: &[u8]) -> u16 {
    let (node, mut client) = plain().await;
    client.get_mut().write_all(frames).await.unwrap();
    let code = loop {
        match timeout(PATIENCE, client.next()).await.unwrap() {
            Some(Ok(Message::Close(Some(frame)))) => break frame.code.into(),
            Some(Ok(Message::Binary(_) | Message::Pong(_))) => {}
            other => panic!("{other:?}"),
        }
    };
    drop(client);
    node.stop().await;
    code
}

#[tokio::test(flavor = "multi_thread")]
async fn what_breaks_the_protocol_is_closed_with_the_code_for_it() {
    for (frames, expected) in [
        (&b"\x81\x83\0\0\0\0abc"[..], 1003),
        (b"\x82\x03abc", 1002),
        (b"\xC2\x83\0\0\0\0abc", 1002),
        (b"\x83\x80\0\0\0\0", 1002),
        (b"\x80\x83\0\0\0\0abc", 1002),
        (b"\x02\x83\0\0\0\0abc\x82\x83\0\0\0\0abc", 1002),
        (b"\x09\x80\0\0\0\0", 1002),
        (b"\x89\xFE\0\x7E\0\0\0\0", 1002),
        (b"\x88\x81\0\0\0\0a", 1002),
        (b"\x88\x82\0\0\0\0\x03\xED", 1002),
        (b"\x82\xFF\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFF\0\0\0\0", 1009),
        (b"\x82\xFF\0\0\0\0\x10\0\0\x05\0\0\0\0", 1009),
        (b"\x88\x82\0\0\0\0\x03\xE9", 1001),
    ] {
        assert_eq!(close_code(frames).await, expected, "{frames:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_pings_and_empty_fragments_costs_nothing_and_stops_nobody() {
    let (node, mut client) = plain().await;
    let ping = b"\x89\x84\0\0\0\0ping".repeat(50_000);
    let flood = async {
        // Nothing is read meanwhile, until the socket is full.
        let _ = timeout(Duration::from_millis(500), client.get_mut().write_all(&ping)).await;
    };
    let (mut second, _) = open(node.connect().await, "mqtt").await.unwrap();
    receive(&mut second).await;
    tokio::join!(flood, exchange(&mut second, &[1; 100_000]));
    let mut fragments = b"\x02\x80\0\0\0\0".to_vec();
    fragments.extend(b"\0\x80\0\0\0\0".repeat(10_000));
    fragments.extend(b"\x80\x83\0\0\0\0end");
    second.get_mut().write_all(&fragments).await.unwrap();
    assert_eq!(receive(&mut second).await, b"end");
    drop((client, second));
    node.stop().await;
}
