//! B50: what is no TLS, too slow, too old, or from a client whose certificate does not do.
//! Each test has a broker of its own, see `guard`.

use std::time::Duration;

use e2e_tests::client::Read;
use e2e_tests::transport::{Transport, tcp};
use e2e_tests::wire::kind;
use e2e_tests::{BOUND, Connect, RawClient, Version, unique};
use rustls::ClientConfig;

use crate::ca::{Authority, Files, Identity, TlsTransport, Validity};
use crate::guard::Guard;

/// A broker with a TLS listener for everybody, `open`, and one that asks for certificates, `mutual`.
struct Tls {
    guard: Guard,
    authority: Authority,
    good: Identity,
    revoked: Identity,
    _files: Files,
}

impl Tls {
    /// `None` when the broker is somebody else's.
    fn start() -> Option<Self> {
        let authority = Authority::new("the authority of a test");
        let server = authority.issue(1, &["localhost"], Validity::Now);
        let good = authority.issue(2, &["a client"], Validity::Now);
        let revoked = authority.issue(3, &["a revoked client"], Validity::Now);
        let files = Files::write(&server, &authority, &[&revoked]);
        let path = |name: &str| files.path(name).display().to_string();
        let pair = format!("certificate = {:?}, key = {:?}", path("server.pem"), path("server.key"));
        let mutual = format!("{pair}, client_ca = {:?}, crl = {:?}", path("ca.pem"), path("crl.pem"));
        let listener = |name: &str, tls: &str| {
            format!("[listener.{name}]\nprotocol = \"tls\"\naddress = \"127.0.0.1:0\"\ntls = {{ {tls} }}\n")
        };
        let config = format!(
            "[limits]\nconnect_timeout = \"5s\"\n{}{}",
            listener("open", &pair),
            listener("mutual", &mutual)
        );
        let guard = Guard::with_config(&config);
        (!guard.is_external()).then_some(Self { guard, authority, good, revoked, _files: files })
    }

    fn addr(&self, listener: &str) -> String {
        self.guard.broker().addr(listener)
    }

    /// Whether a client with this configuration gets to be one.
    fn admits(&self, listener: &str, config: ClientConfig) -> bool {
        let mut client = RawClient::over(Box::new(TlsTransport::open(&self.addr(listener), config)));
        client.send(&Connect::v5(unique("tls")).bytes());
        match client.read(BOUND) {
            Read::Packet(packet) => packet.kind() == kind::CONNACK && packet.connack(Version::V5).reason == 0,
            Read::Closed => false,
            Read::Nothing => panic!("neither admitted nor closed"),
        }
    }
}

#[test]
fn b50_tls_1_2_and_1_3_are_served() {
    let Some(tls) = Tls::start() else { return };
    assert!(tls.admits("open", tls.authority.client(None)));
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let mut config = ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(tls.authority.roots())
            .with_no_client_auth();
        assert!(tls.admits("open", config.clone()), "{version:?}");
        config.alpn_protocols = vec![b"mqtt".to_vec()];
        assert!(tls.admits("open", config.clone()), "{version:?} with ALPN mqtt");
        config.alpn_protocols = vec![b"h2".to_vec()];
        assert!(!tls.admits("open", config), "{version:?} with ALPN of something else");
    }
}

#[test]
fn b50_plain_mqtt_on_the_tls_port_is_closed() {
    let Some(tls) = Tls::start() else { return };
    for listener in ["open", "mutual"] {
        for bytes in [
            Connect::v5(unique("c")).bytes(),
            Connect::v3(unique("c")).bytes(),
            b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        ] {
            let mut stream = tcp(&tls.addr(listener));
            drop(Transport::send(&mut stream, &bytes));
            let answer = read_to_end(&mut stream);
            assert!(answer.is_empty() || answer[0] == 0x15, "an alert, if anything: {answer:02x?}");
        }
    }
}

/// Everything until the peer closes.
fn read_to_end(stream: &mut impl Transport) -> Vec<u8> {
    let mut all = Vec::new();
    let mut chunk = [0; 4096];
    let started = std::time::Instant::now();
    while started.elapsed() < BOUND {
        match stream.receive(&mut chunk, BOUND) {
            Ok(count) if count > 0 => all.extend_from_slice(&chunk[..count]),
            Err(error)
                if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) =>
            {
                break;
            }
            _ => return all,
        }
    }
    panic!("not closed after {all:02x?}");
}

/// The first flight of a TLS client: a ClientHello.
fn client_hello(config: ClientConfig) -> Vec<u8> {
    let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
    let mut hello = Vec::new();
    let mut connection = rustls::ClientConnection::new(config.into(), name).unwrap();
    connection.write_tls(&mut hello).unwrap();
    hello
}

#[test]
fn b50_a_slow_client_hello_is_closed_at_the_connect_timeout() {
    let Some(tls) = Tls::start() else { return };
    let hello = client_hello(tls.authority.client(None));
    let mut silent = RawClient::open(&tls.addr("open"));
    let mut half = RawClient::open(&tls.addr("open"));
    half.send(&hello[..hello.len() / 2]);
    let mut slow = RawClient::open(&tls.addr("open"));
    let closed = hello.iter().any(|byte| {
        slow.send(&[*byte]);
        matches!(slow.read(Duration::from_millis(200)), Read::Closed)
    });
    assert!(closed, "a byte at a time does not stretch the deadline");
    silent.expect_closed();
    half.expect_closed();
}

#[test]
fn b50_a_client_without_connect_is_closed_at_the_connect_timeout() {
    let Some(tls) = Tls::start() else { return };
    let mut transport = TlsTransport::open(&tls.addr("open"), tls.authority.client(None));
    while transport.0.conn.is_handshaking() {
        transport.0.conn.complete_io(&mut transport.0.sock).unwrap();
    }
    RawClient::over(Box::new(transport)).expect_closed();
}

#[test]
fn b50_certificates_decide_who_is_let_in() {
    let Some(tls) = Tls::start() else { return };
    let other = Authority::new("the authority of a test");
    let stranger = other.issue(2, &["a client"], Validity::Now);
    let expired = tls.authority.issue(4, &["a client"], Validity::Past);
    let not_yet = tls.authority.issue(5, &["a client"], Validity::Future);
    let nameless = tls.authority.issue(6, &[], Validity::Now);
    assert!(tls.admits("mutual", tls.authority.client(Some(&tls.good))));
    assert!(
        tls.admits("mutual", tls.authority.client(Some(&nameless))),
        "names say nothing until they are asked for"
    );
    for (identity, what) in [
        (Some(&stranger), "of another authority of the same name"),
        (Some(&expired), "expired"),
        (Some(&not_yet), "not valid yet"),
        (Some(&tls.revoked), "revoked"),
        (None, "missing"),
    ] {
        assert!(!tls.admits("mutual", tls.authority.client(identity)), "a certificate that is {what}");
    }
    assert!(tls.admits("mutual", tls.authority.client(Some(&tls.good))), "and it goes on");
}

#[test]
fn b50_early_data_is_never_offered() {
    let Some(tls) = Tls::start() else { return };
    let mut config = tls.authority.client(None);
    config.enable_early_data = true;
    for round in 0..3 {
        let mut transport = TlsTransport::open(&tls.addr("open"), config.clone());
        assert!(transport.0.conn.early_data().is_none(), "round {round}: a ticket that allows 0-RTT");
        let mut client = {
            drop(transport.send(&[]));
            RawClient::over(Box::new(transport))
        };
        assert_eq!(client.handshake(&Connect::v5(unique("tls"))).reason, 0);
        client.ping();
    }
}

#[test]
fn b50_versions_before_1_2_are_refused() {
    let Some(tls) = Tls::start() else { return };
    for minor in [0x00, 0x01, 0x02] {
        // A ClientHello of SSL 3.0, TLS 1.0 or TLS 1.1: version, random, no session, two suites, no compression.
        let body = [&[0x03, minor][..], &[7; 32], &[0, 0, 4, 0xC0, 0x13, 0x00, 0x2F, 1, 0]].concat();
        let handshake = [&[1, 0, 0, body.len() as u8][..], &body].concat();
        let record = [&[0x16, 0x03, minor, 0, handshake.len() as u8][..], &handshake].concat();
        let mut stream = tcp(&tls.addr("open"));
        drop(Transport::send(&mut stream, &record));
        let answer = read_to_end(&mut stream);
        assert!(answer.is_empty() || answer[0] == 0x15, "an alert, if anything: {answer:02x?}");
    }
}

#[test]
fn b50_damaged_records_end_the_connection() {
    let Some(tls) = Tls::start() else { return };
    for damage in [
        &[0x17, 3, 3, 0, 5, 1, 2, 3, 4, 5][..],
        &[0x17, 3, 3, 0xFF, 0xFF],
        &[0x80; 40],
        &[0x16, 3, 3, 0, 4, 0, 0, 0, 0],
    ] {
        let mut transport = TlsTransport::open(&tls.addr("open"), tls.authority.client(None));
        drop(transport.send(&Connect::v5(unique("tls")).bytes()));
        drop(Transport::send(&mut transport.0.sock, damage));
        drop(Transport::send(&mut transport.0.sock, &[0; 70_000]));
        let mut client = RawClient::over(Box::new(transport));
        client.expect_closed();
    }
}
