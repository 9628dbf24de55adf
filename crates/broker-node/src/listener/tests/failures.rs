//! What becomes of connections that fail in their handshakes: each is counted as what it is, once.

use super::*;
use crate::config::ProxyProtocol;

/// Connections that failed: PROXY, TLS, WebSocket, deadline, lost.
fn failures(node: &TestNode) -> [u64; 5] {
    let totals = node.totals();
    [
        totals.proxy_headers_refused,
        totals.tls_handshakes_failed,
        totals.websocket_handshakes_failed,
        totals.handshake_timeouts,
        totals.handshakes_lost,
    ]
}

/// How a client ends what it has begun.
#[derive(Clone, Copy, PartialEq)]
enum Then {
    Waits,
    Leaves,
}

/// What is counted of two clients that send these bytes.
async fn counted(listener: &ListenerSettings, bytes: &[u8], then: Then) -> [u64; 5] {
    counted_by(TestNode::start(listener.clone()), bytes, then).await
}

/// Of two clients that are waited for no longer than a second.
async fn counted_as_late(listener: ListenerSettings, bytes: &[u8]) -> [u64; 5] {
    let node = TestNode::start_with(listener, 100, Duration::from_secs(1));
    counted_by(node, bytes, Then::Waits).await
}

async fn counted_by(node: TestNode, bytes: &[u8], then: Then) -> [u64; 5] {
    for n in 1..=2 {
        let mut client = node.connect().await;
        let _ = client.write_all(bytes).await;
        if then == Then::Leaves {
            let _ = client.shutdown().await;
        }
        rest(&mut client).await;
        drop(client);
        let counting = async {
            while failures(&node).iter().sum::<u64>() < n {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, counting).await.expect("it is counted");
    }
    let counted = failures(&node);
    node.stop().await;
    counted
}

fn behind(trusted: &str) -> ListenerSettings {
    ListenerSettings {
        proxy_protocol: ProxyProtocol::Accept,
        proxy_trusted: vec![trusted.to_owned().try_into().unwrap()],
        ..on("127.0.0.1:0", Protocol::Tcp)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_proxy_header_is_counted() {
    let header = b"PROXY TCP4 192.0.2.7 10.0.0.1 12345 1883\r\n";
    assert_eq!(counted(&behind("10.0.0.0/8"), header, Then::Waits).await, [2, 0, 0, 0, 0], "not trusted");
    assert_eq!(counted(&behind("127.0.0.1"), b"PROXY nonsense\r\n", Then::Waits).await, [2, 0, 0, 0, 0]);
    assert_eq!(counted(&behind("127.0.0.1"), &header[..20], Then::Leaves).await, [0, 0, 0, 0, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_tls_handshake_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let secure = super::tls::listener(dir.path(), Protocol::Tls);
    assert_eq!(counted(&secure, b"\x10\x0c\0\x04MQTT", Then::Waits).await, [0, 2, 0, 0, 0], "plain MQTT");
    assert_eq!(counted(&secure, b"", Then::Leaves).await, [0, 0, 0, 0, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_websocket_request_is_counted() {
    let listener = on("127.0.0.1:0", Protocol::Ws);
    let request = b"GET /elsewhere HTTP/1.1\r\nHost: h\r\n\r\n";
    assert_eq!(counted(&listener, request, Then::Waits).await, [0, 0, 2, 0, 0]);
    assert_eq!(counted(&listener, &request[..9], Then::Leaves).await, [0, 0, 0, 0, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn handshakes_that_take_too_long_are_counted() {
    assert_eq!(counted_as_late(on("127.0.0.1:0", Protocol::Ws), b"GET").await, [0, 0, 0, 2, 0]);
    assert_eq!(counted_as_late(behind("127.0.0.1"), b"PROXY").await, [0, 0, 0, 2, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_gets_through_is_no_failure() {
    let node = TestNode::start(on("127.0.0.1:0", Protocol::Tcp));
    let mut client = node.connect().await;
    greeting(&mut client).await;
    drop(client);
    assert_eq!(failures(&node), [0; 5]);
    node.stop().await;
}
