//! Limits of connections and of time, which no client can stretch.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn at_the_limit_a_client_waits_until_another_goes() {
    for (own, all) in [(None, 2), (Some(2), 100)] {
        let mut listener = on("127.0.0.1:0", Protocol::Tcp);
        listener.max_connections = own;
        let node = TestNode::start_with(listener, all, Duration::from_secs(5));
        let (mut a, mut b) = (node.connect().await, node.connect().await);
        greeting(&mut a).await;
        greeting(&mut b).await;
        let mut waiting = [node.connect().await, node.connect().await];
        for client in &mut waiting {
            assert!(timeout(Duration::from_millis(200), client.read_u8()).await.is_err(), "no place is free");
        }
        drop(a);
        greeting(&mut waiting[0]).await;
        exchange(&mut b, b"still served").await;
        drop(b);
        greeting(&mut waiting[1]).await;
        drop(waiting);
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn places_are_free_again_when_clients_are_gone() {
    let node = TestNode::start(on("127.0.0.1:0", Protocol::Tcp));
    let mut clients = Vec::new();
    for _ in 0..50 {
        let mut client = node.connect().await;
        greeting(&mut client).await;
        clients.push(client);
    }
    assert_eq!(node.free(), 50);
    drop(clients);
    let freed = async {
        while node.free() < 100 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, freed).await.unwrap();
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_byte_now_and_then_does_not_stretch_the_deadline() {
    let request = format!("GET /mqtt HTTP/1.1\r\nX: {}", "x".repeat(1000));
    let mut hello = vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xFC, 3, 3];
    hello.extend([7; 1000]);
    let mut proxied = on("127.0.0.1:0", Protocol::Tcp);
    proxied.proxy_protocol = crate::config::ProxyProtocol::Accept;
    proxied.proxy_trusted = vec!["127.0.0.0/8".to_owned().try_into().unwrap()];
    let dir = tempfile::tempdir().unwrap();
    let secure = super::tls::listener(dir.path(), Protocol::Tls);
    let cases: [(ListenerSettings, &[u8]); 3] = [
        (on("127.0.0.1:0", Protocol::Ws), request.as_bytes()),
        (secure, &hello),
        (proxied, b"PROXY TCP4 192.0.2.7 10.0.0.1 12345 1883"),
    ];
    for (listener, bytes) in cases {
        let protocol = listener.protocol;
        let node = TestNode::start_with(listener, 100, Duration::from_secs(1));
        let begun = Instant::now();
        trickle(node.connect().await, bytes).await;
        let took = begun.elapsed();
        assert!(
            took >= Duration::from_millis(900) && took < Duration::from_secs(15),
            "{protocol:?}: {took:?}"
        );
        let silent = Instant::now();
        assert!(rest(&mut node.connect().await).await.is_empty());
        assert!(silent.elapsed() < Duration::from_secs(15));
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_accepting_and_waits_for_the_connections() {
    let node = TestNode::start(on("127.0.0.1:0", Protocol::Tcp));
    let address = node.addresses[0].clone();
    let mut client = node.connect().await;
    greeting(&mut client).await;
    let stopping = tokio::spawn(node.stop());
    let refused = async {
        while TcpStream::connect(&address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, refused).await.unwrap();
    exchange(&mut client, b"not thrown out by the listener").await;
    assert!(!stopping.is_finished());
    drop(client);
    timeout(PATIENCE, stopping).await.unwrap().unwrap();
}
