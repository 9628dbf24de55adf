//! What a broker counts, read from its HTTP listener. Used by tests that wait for something that no client sees.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};

use crate::Broker;

impl Broker {
    /// The value of a metric by its whole name; the broker needs a listener `[http]`.
    #[track_caller]
    pub fn metric(&self, name: &str) -> f64 {
        metric(self.addr("http"), name)
    }
}

/// The value of a metric by its whole name, of whoever serves it at an address.
#[track_caller]
pub(crate) fn metric(address: impl ToSocketAddrs, name: &str) -> f64 {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("no {name} in {text}")).trim().parse().unwrap()
}
