//! B49: WebSocket handshakes and frames that are none, too large, too slow, or from elsewhere.
//! Each test has a broker of its own, see `guard`.

use std::time::{Duration, Instant};

use e2e_tests::client::Read;
use e2e_tests::transport::{Transport, tcp};
use e2e_tests::ws::{WsStream, frame, opcode, response_head, upgrade_request};
use e2e_tests::{BOUND, Connect, Publish, RawClient, unique};

use crate::guard::Guard;

const PROTOCOL_ERROR: u16 = 1002;
const UNSUPPORTED_DATA: u16 = 1003;
const TOO_BIG: u16 = 1009;

fn ws(guard: &Guard) -> String {
    guard.broker().addr("ws")
}

/// The status of the answer to a request; 0 when the broker just closed.
fn status(addr: &str, request: &[u8]) -> u16 {
    let mut stream = tcp(addr);
    drop(Transport::send(&mut stream, request));
    let (head, _) = response_head(&mut stream);
    head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
}

/// Sends raw bytes on an open WebSocket, before CONNECT and after it; both must end with one of these codes.
#[track_caller]
fn closes_with(guard: &Guard, bytes: &[u8], codes: &[u16], what: &str) {
    for connected in [false, true] {
        let mut stream = WsStream::connect(&ws(guard));
        if connected {
            drop(stream.send(&Connect::v5(unique("ws")).bytes()));
            stream.read_frame(BOUND).unwrap().expect("CONNACK");
        }
        drop(stream.send_raw(bytes));
        let code = stream.expect_closed();
        assert!(
            code.is_none_or(|code| codes.contains(&code)),
            "{what}: closed with {code:?}, expected {codes:?}"
        );
        assert!(code.is_some() || !connected, "{what}: a client is told why");
    }
}

#[test]
fn b49_a_text_frame_is_unsupported_data() {
    let guard = Guard::new();
    let connect = Connect::v5(unique("ws")).bytes();
    closes_with(&guard, &frame(opcode::TEXT, true, &connect, true), &[UNSUPPORTED_DATA], "text");
    closes_with(
        &guard,
        &frame(opcode::TEXT, false, b"", true),
        &[UNSUPPORTED_DATA],
        "an empty text fragment",
    );
}

#[test]
fn b49_frames_that_break_the_framing() {
    let guard = Guard::new();
    let masked = |code: u8, fin: bool, payload: &[u8]| frame(code, fin, payload, true);
    for (bytes, what) in [
        (frame(opcode::BINARY, true, b"\xC0\0", false), "unmasked"),
        (frame(opcode::PING, true, b"", false), "unmasked ping"),
        (masked(3, true, b""), "reserved opcode"),
        (masked(11, true, b""), "reserved control opcode"),
        (masked(opcode::BINARY | 0x40, true, b"x"), "reserved bit"),
        (masked(opcode::BINARY | 0x10, true, b"x"), "reserved bit"),
        (masked(opcode::PING, false, b"x"), "fragmented ping"),
        (masked(opcode::PING, true, &[b'x'; 126]), "ping of 126 bytes"),
        (masked(opcode::CLOSE, true, &[3]), "close with half a code"),
        (masked(opcode::CONTINUATION, true, b"\xC0\0"), "continuation of nothing"),
        (
            [masked(opcode::BINARY, false, b""), masked(opcode::BINARY, true, b"")].concat(),
            "message in a message",
        ),
    ] {
        closes_with(&guard, &bytes, &[PROTOCOL_ERROR], what);
    }
}

#[test]
fn b49_lengths_of_64_bits() {
    let guard = Guard::new();
    for length in [1u64 << 62, u64::MAX >> 1, 1 << 32, 300_000_000] {
        let header = [&[0x82, 0xFF][..], &length.to_be_bytes(), &[1, 2, 3, 4]].concat();
        closes_with(&guard, &header, &[TOO_BIG, PROTOCOL_ERROR], &format!("a frame of {length} bytes"));
    }
    let header = [&[0x82, 0xFF][..], &u64::MAX.to_be_bytes(), &[1, 2, 3, 4]].concat();
    closes_with(&guard, &header, &[TOO_BIG, PROTOCOL_ERROR], "the highest bit");
}

#[test]
fn b49_announced_lengths_cost_no_memory() {
    let guard = Guard::new();
    if guard.is_external() {
        return;
    }
    let open = |_| {
        let mut stream = WsStream::connect(&ws(&guard));
        drop(stream.send_raw(&[&[0x82, 0xFF][..], &200_000_000u64.to_be_bytes(), &[0; 4], &[0x10]].concat()));
        stream
    };
    drop((0..50).map(open).collect::<Vec<_>>());
    let before = guard.broker().rss_kib();
    let strangers: Vec<_> = (0..500).map(open).collect();
    let rise = guard.broker().rss_kib().saturating_sub(before);
    assert!(rise < 500 * 8, "{rise} KiB for 500 frames announced");
    drop(strangers);
}

#[test]
fn b49_fragments_without_end_cost_no_memory() {
    let guard = Guard::with_config("[limits]\nconnect_timeout = \"3s\"\n");
    let mut stream = WsStream::connect(&ws(&guard));
    let rss = if guard.is_external() { 0 } else { guard.broker().rss_kib() };
    drop(stream.send_frame(opcode::BINARY, false, b"\x10"));
    let nothing = frame(opcode::CONTINUATION, false, b"", true).repeat(10_000);
    let started = Instant::now();
    while stream.send_raw(&nothing).is_ok() {
        assert!(started.elapsed() < BOUND, "empty fragments do not stretch the connect timeout");
    }
    if !guard.is_external() {
        assert!(guard.broker().rss_kib() < rss + 8 * 1024);
    }
}

#[test]
fn b49_pings_without_end_cost_no_memory() {
    let guard = Guard::with_config("[limits]\nwrite_timeout = \"2s\"\n");
    if guard.is_external() {
        return;
    }
    let mut stream = WsStream::connect(&ws(&guard));
    drop(stream.send(&Connect::v5(unique("ws")).bytes()));
    let rss = guard.broker().rss_kib();
    let pings = frame(opcode::PING, true, &[b'x'; 100], true).repeat(5_000);
    for _ in 0..40 {
        drop(stream.send_raw(&pings));
        while let Ok(Some(_)) = stream.read_frame(Duration::from_millis(1)) {}
    }
    assert!(guard.broker().rss_kib() < rss + 16 * 1024, "20 MB of pings");
}

#[test]
fn b49_handshakes_that_are_refused() {
    let guard = Guard::new();
    let addr = ws(&guard);
    let good = upgrade_request(&addr, "/mqtt", Some("mqtt"), "");
    assert_eq!(status(&addr, good.as_bytes()), 101);
    let without = |header: &str| {
        let lines = good.split_inclusive("\r\n").filter(|line| !line.starts_with(header));
        lines.collect::<String>()
    };
    for (request, codes) in [
        (upgrade_request(&addr, "/mqtt", None, ""), [400, 400]),
        (upgrade_request(&addr, "/mqtt", Some("chat"), ""), [400, 400]),
        (upgrade_request(&addr, "/elsewhere", Some("mqtt"), ""), [404, 400]),
        (without("Upgrade"), [400, 426]),
        (without("Connection"), [400, 426]),
        (without("Sec-WebSocket-Key"), [400, 400]),
        (without("Sec-WebSocket-Version"), [426, 400]),
        (good.replace("Version: 13", "Version: 8"), [426, 400]),
        (good.replace("GET ", "POST "), [400, 405]),
        (good.replace("HTTP/1.1", "HTTP/1.0"), [400, 505]),
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), [404, 400]),
    ] {
        assert!(codes.contains(&status(&addr, request.as_bytes())), "{request}");
    }
}

#[test]
fn b49_a_giant_handshake_is_refused() {
    let guard = Guard::new();
    let addr = ws(&guard);
    let giant =
        upgrade_request(&addr, "/mqtt", Some("mqtt"), &format!("X-Filler: {}\r\n", "x".repeat(100_000)));
    let many = upgrade_request(&addr, "/mqtt", Some("mqtt"), &"X: y\r\n".repeat(10_000));
    for request in [giant, many, format!("GET /{}", "x".repeat(100_000))] {
        let code = status(&addr, request.as_bytes());
        assert!([0, 400, 414, 431].contains(&code), "{code}");
    }
}

#[test]
fn b49_a_slow_handshake_is_closed_at_the_connect_timeout() {
    let guard = Guard::with_config("[limits]\nconnect_timeout = \"5s\"\n");
    let addr = ws(&guard);
    let mut silent = RawClient::open(&addr);
    let mut upgraded = WsStream::connect(&addr);
    let mut slow = RawClient::open(&addr);
    let closed = upgrade_request(&addr, "/mqtt", Some("mqtt"), "").bytes().any(|byte| {
        slow.send(&[byte]);
        matches!(slow.read(Duration::from_millis(200)), Read::Closed)
    });
    assert!(closed, "a byte at a time does not stretch the deadline");
    silent.expect_closed();
    upgraded.expect_closed();
}

#[test]
fn b49_an_origin_that_is_not_allowed_is_forbidden() {
    let config = r#"
[listener.ws]
protocol = "ws"
address = "127.0.0.1:0"
ws_origins = ["https://good.example"]
"#;
    let guard = Guard::with_config(config);
    if guard.is_external() {
        return;
    }
    let addr = ws(&guard);
    let from = |origin: &str| status(&addr, upgrade_request(&addr, "/mqtt", Some("mqtt"), origin).as_bytes());
    assert_eq!(from("Origin: https://good.example\r\n"), 101);
    for origin in [
        "",
        "Origin: https://evil.example\r\n",
        "Origin: null\r\n",
        "Origin: https://good.example.evil.example\r\n",
    ] {
        assert_eq!(from(origin), 403, "{origin:?}");
    }
}

#[test]
fn b49_mqtt_offences_over_websocket_end_it_alike() {
    let guard = Guard::new();
    let mut client = RawClient::over(Box::new(WsStream::connect(&ws(&guard))));
    client.handshake(&Connect::v5(unique("ws")));
    client.send(&Publish::v5("a/#", "x").bytes());
    assert_eq!(client.expect_refusal(&[0x90]), Some(0x90));
    let mut oversized = RawClient::over(Box::new(WsStream::connect(&ws(&guard))));
    oversized.handshake(&Connect::v5(unique("ws")));
    oversized.send(&[0x30, 0xFF, 0xFF, 0xFF, 0x7F]);
    assert_eq!(oversized.expect_refusal(&[0x95]), Some(0x95));
    let mut plain = RawClient::open(&ws(&guard));
    plain.send(&Connect::v5(unique("ws")).bytes());
    plain.expect_closed();
}
