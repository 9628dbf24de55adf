//! TLS over real connections: certificates by name, reload, client certificates, and what is refused.

use super::*;
use crate::config::{SniFiles, TlsFiles};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName},
};
use std::{fs, path::Path};
use tokio_rustls::{TlsConnector, client::TlsStream};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign, rcgen::KeyUsagePurpose::CrlSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate for `names` and its key.
fn issue(authority: &Authority, serial: u64, names: &[&str]) -> (rcgen::Certificate, KeyPair) {
    let key = KeyPair::generate().unwrap();
    let mut params =
        CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
    params.serial_number = Some(serial.into());
    (params.signed_by(&key, authority).unwrap(), key)
}

/// Writes `STEM.pem` and `STEM.key`.
fn put(dir: &Path, stem: &str, (certificate, key): &(rcgen::Certificate, KeyPair)) {
    fs::write(dir.join(stem).with_extension("pem"), certificate.pem()).unwrap();
    fs::write(dir.join(stem).with_extension("key"), key.serialize_pem()).unwrap();
}

fn files(dir: &Path) -> TlsFiles {
    TlsFiles {
        certificate: dir.join("server.pem"),
        key: dir.join("server.key"),
        client_ca: None,
        crl: None,
        user_name_from: None,
        sni: Vec::new(),
    }
}

fn with_files(protocol: Protocol, files: TlsFiles) -> ListenerSettings {
    ListenerSettings { tls: Some(files), ..on("127.0.0.1:0", protocol) }
}

/// A listener with a certificate for `localhost` made for it.
pub(super) fn listener(dir: &Path, protocol: Protocol) -> ListenerSettings {
    put(dir, "server", &issue(&authority(), 1, &["localhost"]));
    with_files(protocol, files(dir))
}

fn trusting(authority: &Authority) -> ClientConfig {
    client_config(authority, &[&rustls::version::TLS13, &rustls::version::TLS12], None)
}

fn client_config(
    authority: &Authority,
    versions: &[&'static rustls::SupportedProtocolVersion],
    identity: Option<&(rcgen::Certificate, KeyPair)>,
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(authority.der().to_vec())).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots);
    match identity {
        Some((certificate, key)) => {
            let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
            builder.with_client_auth_cert(vec![certificate.der().clone()], key).unwrap()
        }
        None => builder.with_no_client_auth(),
    }
}

async fn connect(
    node: &TestNode,
    config: ClientConfig,
    name: &'static str,
) -> io::Result<TlsStream<TcpStream>> {
    let stream = node.connect().await;
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(name).unwrap(), stream).await
}

/// Connects and expects to be served; the serial number of the server's certificate is the last byte of it that is.
async fn served(node: &TestNode, config: ClientConfig, name: &'static str) -> CertificateDer<'static> {
    let mut client = connect(node, config, name).await.unwrap();
    assert!(greeting(&mut client).await.ends_with(" tls\n"));
    exchange(&mut client, &[3; 200_000]).await;
    client.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

/// In TLS 1.3 a client learns only with its first read that it was refused.
async fn refused(node: &TestNode, config: ClientConfig) {
    if let Ok(mut client) = connect(node, config, "localhost").await {
        assert!(rest(&mut client).await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_versions_are_spoken_and_the_name_chooses_the_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let (dir, ca) = (dir.path(), authority());
    let certificates = [
        ("server", issue(&ca, 1, &["localhost"])),
        ("a", issue(&ca, 2, &["a.example"])),
        ("w", issue(&ca, 3, &["*.b.example"])),
    ];
    certificates.iter().for_each(|(stem, certificate)| put(dir, stem, certificate));
    let sni = |stem: &str, name: &str| SniFiles {
        names: vec![name.into()],
        certificate: dir.join(stem).with_extension("pem"),
        key: dir.join(stem).with_extension("key"),
    };
    let files = TlsFiles { sni: vec![sni("a", "A.example"), sni("w", "*.b.example")], ..files(dir) };
    let node = TestNode::start(with_files(Protocol::Tls, files));
    for (name, expected) in [("localhost", 0), ("a.example", 1), ("x.b.example", 2)] {
        for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
            let found = served(&node, client_config(&ca, &[version], None), name).await;
            assert_eq!(found, *certificates[expected].1.0.der(), "{name}");
        }
    }
    let mut config = trusting(&ca);
    config.alpn_protocols = vec![b"mqtt".to_vec()];
    let mut client = connect(&node, config, "localhost").await.unwrap();
    greeting(&mut client).await;
    assert_eq!(client.get_ref().1.alpn_protocol(), Some(&b"mqtt"[..]));
    let mut config = trusting(&ca);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    assert!(connect(&node, config, "localhost").await.is_err());
    drop(client);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_certificates_are_taken_and_unusable_ones_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let (dir, ca) = (dir.path(), authority());
    let old = issue(&ca, 1, &["localhost"]);
    put(dir, "server", &old);
    let node = TestNode::start(with_files(Protocol::Tls, files(dir)));
    let mut before = connect(&node, trusting(&ca), "localhost").await.unwrap();
    greeting(&mut before).await;

    fs::write(dir.join("server.pem"), "broken").unwrap();
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(served(&node, trusting(&ca), "localhost").await, *old.0.der());

    let new = issue(&ca, 2, &["localhost"]);
    put(dir, "server", &new);
    let replaced = async {
        while served(&node, trusting(&ca), "localhost").await != *new.0.der() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(PATIENCE, replaced).await.unwrap();
    exchange(&mut before, b"the old connection goes on").await;
    drop(before);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_clients_of_the_authority_are_let_in_and_no_revoked_one() {
    let dir = tempfile::tempdir().unwrap();
    let (dir, ca, other) = (dir.path(), authority(), authority());
    put(dir, "server", &issue(&ca, 1, &["localhost"]));
    let (good, revoked, foreign) = (issue(&ca, 7, &["c"]), issue(&ca, 8, &["c"]), issue(&other, 9, &["c"]));
    let list = rcgen::CertificateRevocationListParams {
        this_update: rcgen::date_time_ymd(2020, 1, 1),
        next_update: rcgen::date_time_ymd(2090, 1, 1),
        crl_number: 1_u64.into(),
        issuing_distribution_point: None,
        revoked_certs: vec![rcgen::RevokedCertParams {
            serial_number: 8_u64.into(),
            revocation_time: rcgen::date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        }],
        key_identifier_method: rcgen::KeyIdMethod::Sha256,
    };
    fs::write(dir.join("ca.pem"), ca.pem()).unwrap();
    fs::write(dir.join("crl.pem"), list.signed_by(&ca).unwrap().pem().unwrap()).unwrap();
    let files =
        TlsFiles { client_ca: Some(dir.join("ca.pem")), crl: Some(dir.join("crl.pem")), ..files(dir) };
    let node = TestNode::start(with_files(Protocol::Tls, files));
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        served(&node, client_config(&ca, &[version], Some(&good)), "localhost").await;
        for identity in [None, Some(&revoked), Some(&foreign)] {
            refused(&node, client_config(&ca, &[version], identity)).await;
        }
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_mqtt_gets_an_alert() {
    let dir = tempfile::tempdir().unwrap();
    let node = TestNode::start(listener(dir.path(), Protocol::Tls));
    let mut client = node.connect().await;
    client.write_all(b"\x10\x0c\0\x04MQTT\x05\x02\0\0\0\0").await.unwrap();
    let answer = rest(&mut client).await;
    assert_eq!(answer.first(), Some(&21), "an alert: {answer:?}");
    node.stop().await;
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let (dir, ca) = (dir.path(), authority());
    let error = |files: TlsFiles| super::super::tls::Tls::load(files, b"mqtt").err().unwrap().to_string();
    assert!(error(files(dir)).contains("server.pem"));
    put(dir, "server", &issue(&ca, 1, &["localhost"]));
    put(dir, "other", &issue(&ca, 2, &["localhost"]));
    let mixed = error(TlsFiles { key: dir.join("other.key"), ..files(dir) });
    assert!(mixed.contains("other.key") && mixed.contains("server.pem"), "{mixed}");
    fs::write(dir.join("empty"), "").unwrap();
    for broken in [
        TlsFiles { certificate: dir.join("empty"), ..files(dir) },
        TlsFiles { key: dir.join("empty"), ..files(dir) },
        TlsFiles { client_ca: Some(dir.join("empty")), ..files(dir) },
        TlsFiles { client_ca: Some(dir.join("server.pem")), crl: Some(dir.join("empty")), ..files(dir) },
    ] {
        let error = error(broken);
        assert!(error.contains("/empty holds no usable"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn secure_websocket_is_websocket_inside_tls() {
    let dir = tempfile::tempdir().unwrap();
    let (dir, ca) = (dir.path(), authority());
    put(dir, "server", &issue(&ca, 1, &["localhost"]));
    let node = TestNode::start(with_files(Protocol::Wss, files(dir)));
    let mut config = trusting(&ca);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let stream = connect(&node, config, "localhost").await.unwrap();
    let (mut client, _) = super::websocket::open(stream, "mqtt").await.unwrap();
    assert!(super::websocket::receive(&mut client).await.ends_with(b" wss\n"));
    super::websocket::exchange(&mut client, &vec![5; 300_000]).await;
    drop(client);
    node.stop().await;
}
