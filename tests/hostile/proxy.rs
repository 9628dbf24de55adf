//! B51: PROXY protocol headers from whom and of what kind they should not be.
//! Each test has a broker of its own, see `guard`.

use e2e_tests::client::Read;
use e2e_tests::wire::kind;
use e2e_tests::{BOUND, Connect, RawClient, unique};
use std::time::Duration;

use crate::guard::Guard;

/// A listener that trusts loopback, one that trusts others only, and the plain one that takes no header at all.
const LISTENERS: &str = r#"
[auth]
allow_anonymous = true
[limits]
connect_timeout = "5s"
[listener.trusting]
protocol = "tcp"
address = "127.0.0.1:0"
proxy_protocol = "accept"
proxy_trusted = ["127.0.0.0/8"]
[listener.distant]
protocol = "tcp"
address = "127.0.0.1:0"
proxy_protocol = "accept"
proxy_trusted = ["10.0.0.0/8"]
"#;

const V1: &[u8] = b"PROXY TCP4 203.0.113.7 192.0.2.1 51234 1883\r\n";
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// A version 2 header with this command and family byte.
fn v2(version_command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    [SIGNATURE, &[version_command, family], &(rest.len() as u16).to_be_bytes(), rest].concat()
}

/// Sends a header and a CONNECT to a listener; says whether it was let in.
fn admitted(guard: &Guard, listener: &str, header: &[u8]) -> bool {
    let mut client = RawClient::open(&guard.broker().addr(listener));
    client.send(&[header, &Connect::v5(unique("c")).bytes()].concat());
    match client.read(BOUND) {
        Read::Packet(packet) => {
            assert_eq!(packet.kind(), kind::CONNACK, "{header:02x?}");
            packet.body[1] == 0
        }
        Read::Closed => false,
        Read::Nothing => panic!("{header:02x?}: neither let in nor closed"),
    }
}

#[test]
fn b51_headers_of_trusted_peers_are_taken() {
    let guard = Guard::with_config(LISTENERS);
    if guard.is_external() {
        return;
    }
    let v4 = [203, 0, 113, 7, 192, 0, 2, 1, 0xC8, 0x22, 0x07, 0x5B];
    let v6 = [[0x20, 0x01, 0x0D, 0xB8].as_slice(), &[0; 12], &[0; 16], &[1, 2, 3, 4]].concat();
    let with_tlv = [&v4[..], &[0x01, 0, 4], b"mqtt"].concat();
    for header in [
        V1.to_vec(),
        b"PROXY TCP6 2001:db8::7 2001:db8::1 51234 1883\r\n".to_vec(),
        b"PROXY UNKNOWN\r\n".to_vec(),
        v2(0x21, 0x11, &v4),
        v2(0x21, 0x21, &v6),
        v2(0x21, 0x11, &with_tlv),
        v2(0x20, 0x00, &[]),
    ] {
        assert!(admitted(&guard, "trusting", &header), "{header:02x?}");
    }
}

#[test]
fn b51_headers_of_other_peers_are_refused() {
    let guard = Guard::with_config(LISTENERS);
    if guard.is_external() {
        return;
    }
    assert!(!admitted(&guard, "distant", V1), "from a peer that is not trusted");
    assert!(!admitted(&guard, "distant", b""), "and it may not do without either");
    assert!(!admitted(&guard, "mqtt", V1), "where the listener takes none");
    assert!(!admitted(&guard, "mqtt", &v2(0x20, 0x00, &[])), "where the listener takes none");
}

#[test]
fn b51_headers_that_make_no_sense_are_refused() {
    let guard = Guard::with_config(LISTENERS);
    if guard.is_external() {
        return;
    }
    let oversized = [b"PROXY TCP4 ".as_slice(), &[b'1'; 200], b"\r\n"].concat();
    for header in [
        Vec::new(),
        b"PROXY\r\n".to_vec(),
        b"PROXY TCP4 203.0.113.7 192.0.2.1 51234\r\n".to_vec(),
        b"PROXY TCP4 203.0.113.999 192.0.2.1 51234 1883\r\n".to_vec(),
        b"PROXY TCP4 203.0.113.7 192.0.2.1 99999 1883\r\n".to_vec(),
        b"PROXY TCP4 2001:db8::7 2001:db8::1 51234 1883\r\n".to_vec(),
        b"PROXY UDP4 203.0.113.7 192.0.2.1 51234 1883\r\n".to_vec(),
        oversized,
        v2(0x11, 0x11, &[0; 12]),
        v2(0x2F, 0x11, &[0; 12]),
        v2(0x21, 0x11, &[0; 5]),
        v2(0x21, 0x21, &[0; 12]),
        v2(0x21, 0x11, &[0; 60_000]),
    ] {
        assert!(!admitted(&guard, "trusting", &header), "{:02x?}", &header[..header.len().min(60)]);
    }
}

#[test]
fn b51_a_header_that_never_ends_is_closed_at_the_connect_timeout() {
    let guard = Guard::with_config(LISTENERS);
    if guard.is_external() {
        return;
    }
    let whole = v2(0x21, 0x11, &[0; 12]);
    let headers = [b"PROXY TCP4 1".as_slice(), b"P", SIGNATURE, &whole[..whole.len() - 1]];
    let clients = headers.map(|header| {
        let mut client = RawClient::open(&guard.broker().addr("trusting"));
        client.send(header);
        client
    });
    for mut client in clients {
        assert!(client.expect_closed().is_empty());
    }
    let mut slow = RawClient::open(&guard.broker().addr("trusting"));
    let closed = V1.iter().any(|byte| {
        slow.send(&[*byte]);
        matches!(slow.read(Duration::from_millis(200)), Read::Closed)
    });
    assert!(closed, "a byte at a time does not stretch the deadline");
}
