//! Which sockets an address means, and that bytes go both ways over each of them.

use super::*;
use std::{fs, os::unix::fs::PermissionsExt};
use tokio::net::UnixStream;

#[tokio::test(flavor = "multi_thread")]
async fn localhost_is_both_loopback_addresses_with_one_port() {
    let node = TestNode::start(on("localhost:0", Protocol::Tcp));
    let ports: Vec<&str> = node.addresses.iter().map(|address| address.rsplit_once(':').unwrap().1).collect();
    assert!(ports.iter().all(|port| *port == ports[0]), "{:?}", node.addresses);
    for address in &node.addresses {
        let mut client = TcpStream::connect(address).await.unwrap();
        assert_eq!(greeting(&mut client).await, format!("{} tcp\n", client.local_addr().unwrap()));
        exchange(&mut client, &[7; 300_000]).await;
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_addresses_are_one_socket_and_ipv4_clients_keep_their_address() {
    let node = TestNode::start(on(":0", Protocol::Tcp));
    assert_eq!(node.addresses.len(), 1);
    let port = node.addresses[0].rsplit_once(':').unwrap().1;
    let mut client = TcpStream::connect(format!("127.0.0.1:{port}")).await.unwrap();
    assert_eq!(greeting(&mut client).await, format!("{} tcp\n", client.local_addr().unwrap()));
    if node.addresses[0].starts_with('[') {
        let mut client = TcpStream::connect(format!("[::1]:{port}")).await.unwrap();
        assert!(greeting(&mut client).await.starts_with("[::1]:"));
    }
    drop(client);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_in_use_is_named() {
    let node = TestNode::start(on("127.0.0.1:0", Protocol::Tcp));
    let mut taken = on(&node.addresses[0], Protocol::Tcp);
    taken.name = "second".into();
    let error = bind(&taken).unwrap_err().to_string();
    assert!(error.contains(&node.addresses[0]) && error.contains("second"), "{error}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unix_socket_takes_the_place_of_a_stale_one_only() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("q.sock");
    let listener = on(path.to_str().unwrap(), Protocol::Unix);
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let node = TestNode::start(listener.clone());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    let mut client = UnixStream::connect(&path).await.unwrap();
    assert_eq!(greeting(&mut client).await, "unix unix\n");
    exchange(&mut client, &[9; 300_000]).await;
    assert!(bind(&listener).is_err(), "somebody listens there");
    drop(client);
    node.stop().await;
    assert!(!path.exists());
    fs::write(&path, "not a socket").unwrap();
    assert!(bind(&listener).is_err());
    assert_eq!(fs::read(&path).unwrap(), b"not a socket");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_spread_evenly_over_the_worker_threads() {
    let node = TestNode::start(on("127.0.0.1:0", Protocol::Tcp));
    let mut clients = Vec::new();
    for _ in 0..10 {
        let mut client = node.connect().await;
        greeting(&mut client).await;
        clients.push(client);
    }
    assert_eq!(node.listeners.workers.loads(), [5, 5]);
    drop(clients);
    let workers = node.listeners.workers.clone();
    node.stop().await;
    assert_eq!(workers.loads(), [0, 0]);
}
