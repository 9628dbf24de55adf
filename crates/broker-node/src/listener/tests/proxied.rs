//! The PROXY protocol over real connections: who may speak it, and whose address the handler sees.

use super::*;
use crate::config::ProxyProtocol;

fn behind(trusted: &str) -> ListenerSettings {
    let mut listener = on("127.0.0.1:0", Protocol::Tcp);
    listener.proxy_protocol = ProxyProtocol::Accept;
    listener.proxy_trusted = vec![trusted.to_owned().try_into().unwrap()];
    listener
}

const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\x0a\0\0\x01\x30\x39\x07\x5b";

#[tokio::test(flavor = "multi_thread")]
async fn the_handler_sees_the_real_client_and_all_that_follows() {
    let node = TestNode::start(behind("127.0.0.1"));
    for header in [&b"PROXY TCP4 192.0.2.7 10.0.0.1 12345 1883\r\n"[..], V2] {
        let mut client = node.connect().await;
        client.write_all(&[header, b"and more"].concat()).await.unwrap();
        assert_eq!(greeting(&mut client).await, "192.0.2.7:12345 tcp\n");
        let mut more = [0; 8];
        client.read_exact(&mut more).await.unwrap();
        assert_eq!(&more, b"and more");
    }
    let mut client = node.connect().await;
    client.write_all(b"PROXY UNKNOWN\r\n").await.unwrap();
    assert_eq!(greeting(&mut client).await, format!("{} tcp\n", client.local_addr().unwrap()));
    drop(client);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_inside_comes_before_tls_and_websocket() {
    let mut listener = behind("127.0.0.0/8");
    listener.protocol = Protocol::Ws;
    let node = TestNode::start(listener);
    let mut stream = node.connect().await;
    stream.write_all(V2).await.unwrap();
    let (mut client, _) = super::websocket::open(stream, "mqtt").await.unwrap();
    assert_eq!(super::websocket::receive(&mut client).await, b"192.0.2.7:12345 ws\n");
    drop(client);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_peers_and_bad_headers_are_refused() {
    let node = TestNode::start(behind("10.0.0.0/8"));
    let mut client = node.connect().await;
    let _ = client.write_all(V2).await;
    assert!(rest(&mut client).await.is_empty());
    node.stop().await;

    let node = TestNode::start(behind("127.0.0.1"));
    for bytes in [&b"\x10\x0c\0\x04MQTT\x05\x02\0\0\0\0"[..], b"PROXY TCP4 nonsense\r\n", &[b'P'; 4000]] {
        let mut client = node.connect().await;
        let _ = client.write_all(bytes).await;
        assert!(rest(&mut client).await.is_empty(), "{bytes:?}");
    }
    let mut client = node.connect().await;
    client.write_all(&V2[..20]).await.unwrap();
    client.shutdown().await.unwrap();
    assert!(rest(&mut client).await.is_empty());
    node.stop().await;
}
