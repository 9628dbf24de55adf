//! What a node says of itself, over HTTP. Its configuration has to have `[http]` with `address = "127.0.0.1:0"`.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use e2e_tests::Broker;

/// The value of the first metric whose name begins so.
pub(crate) fn metric(broker: &Broker, name: &str) -> f64 {
    let mut stream = TcpStream::connect(broker.addr("http")).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let line = text.lines().find(|line| line.starts_with(name) && !line.starts_with('#'));
    let line = line.unwrap_or_else(|| panic!("no {name} in {text}"));
    line.split_whitespace().last().unwrap().parse().unwrap()
}
