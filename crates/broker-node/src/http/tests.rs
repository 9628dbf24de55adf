//! The HTTP port from a client's side.

use super::*;
use crate::stop::stop_pair;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

async fn ask(port: u16, request: &str) -> String {
    let mut client = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    client.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(Duration::from_secs(20), client.read_to_string(&mut answer)).await.unwrap().unwrap();
    answer
}

#[tokio::test]
async fn metrics_health_and_readiness_are_answered_and_nothing_else() {
    let ready = Arc::new(AtomicBool::new(false));
    let is_ready = Arc::clone(&ready);
    let endpoints = Endpoints {
        metrics: Arc::new(|| "# TYPE x counter\nx 1\n".into()),
        ready: Arc::new(
            move || if is_ready.load(Ordering::Relaxed) { Ok(()) } else { Err("it starts".to_owned()) },
        ),
    };
    let (stopper, stop) = stop_pair();
    let sockets = bind_tcp("http", &ListenAddress::Localhost(0)).unwrap();
    let port = sockets[0].local_addr().unwrap().port();
    let mut tasks = start_on(sockets, &endpoints, &stop).unwrap();
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    let metrics = ask(port, &get("/metrics")).await;
    assert!(metrics.starts_with("HTTP/1.1 200 ") && metrics.ends_with("\nx 1\n"), "{metrics}");
    assert!(metrics.contains("text/plain; version=0.0.4"), "{metrics}");
    assert!(ask(port, &get("/healthz")).await.starts_with("HTTP/1.1 200 "));
    let not_ready = ask(port, &get("/readyz")).await;
    assert!(not_ready.starts_with("HTTP/1.1 503 ") && not_ready.ends_with("not ready: it starts\n"));
    ready.store(true, Ordering::Relaxed);
    assert!(ask(port, &get("/readyz")).await.starts_with("HTTP/1.1 200 "));
    assert!(ask(port, &get("/other")).await.starts_with("HTTP/1.1 404 "));
    let post = "POST /metrics HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    assert!(ask(port, post).await.starts_with("HTTP/1.1 405 "));
    assert!(
        ask(port, &format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(20_000))).await.contains(" 431 ")
    );
    assert!(ask(port, "\x10\x0c\0\x04MQTT\r\n\r\n").await.contains(" 400 "));
    stopper.stop();
    timeout(Duration::from_secs(20), async { while tasks.join_next().await.is_some() {} }).await.unwrap();
}
