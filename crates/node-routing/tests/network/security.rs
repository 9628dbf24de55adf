//! Who is taken for a node, over real sockets (B53, F38): by a shared secret and by certificates, at either end; and what of
//! that can be replaced while nodes run.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use node_routing::join::{Meets, Standing};
use node_routing::limits::Limits;
use node_routing::security::{BadKeys, Certificates, Guarded, Keys, Plain, Secret, Security};
use parking_lot::Mutex;
use raft_consensus::network::{Channel, Refusal, TransportError};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, IsCa, KeyIdMethod,
    KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring::{default_provider, sign::any_supported_type};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::cluster::{WITHIN, eventually};
use crate::place::{Caller, Host, arrived, identity, known};

const DOMAIN: &str = "nodes.example";

/// Enough time for whoever answers on a busy machine.
fn limits() -> Limits {
    Limits { greet_within: Duration::from_secs(20), ..Limits::default() }
}

fn secrets(of: &[u8]) -> Keys {
    let lines: Vec<String> = of.iter().map(|byte| char::from(*byte).to_string().repeat(32)).collect();
    Keys::Secrets(Secret::parse_all(&lines.join("\n")).unwrap())
}

fn guarded(keys: &Keys) -> Arc<Guarded> {
    Arc::new(Guarded::new(keys).unwrap())
}

async fn host(security: Arc<dyn Security>) -> Host {
    Host::secured(identity(2, 1), limits(), security).await
}

fn caller(security: Arc<dyn Security>, host: &Host) -> Caller {
    let caller = Caller::secured(identity(1, 1), limits(), security);
    caller.place(2, &host.address);
    caller
}

/// Why a caller is not answered by a host.
async fn refused(caller: Arc<dyn Security>, host: Arc<dyn Security>) -> String {
    let host = self::host(host).await;
    let caller = self::caller(caller, &host);
    let why = caller.ask(2, Channel::Control).await;
    assert!(matches!(why, TransportError::Unreachable { .. }), "{why}");
    // Whoever has not shown to be a node is hung up on, and has asked nothing.
    eventually("stranger", || async { (host.counters().peer_strangers > 0).then_some(()) }).await;
    assert!(host.ear.heard.lock().is_empty() && host.ear.touches.lock().is_empty());
    why.to_string()
}

async fn answered(caller: Arc<dyn Security>, host: Arc<dyn Security>) {
    let host = self::host(host).await;
    self::caller(caller, &host).reaches(2).await;
}

/// What a node sends to another one, as whoever is between them sees it.
async fn seen_between(security: impl Fn() -> Arc<dyn Security>) -> Vec<u8> {
    let host = host(security()).await;
    let between = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = between.local_addr().unwrap().to_string();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (to, reads) = (host.address.clone(), Arc::clone(&seen));
    let passing = tokio::spawn(async move {
        let (dialer, _) = between.accept().await.unwrap();
        let node = TcpStream::connect(to).await.unwrap();
        let ((mut said, mut hears), (mut answers, mut asked)) = (dialer.into_split(), node.into_split());
        let forth = async move {
            let mut piece = [0; 4096];
            while let Ok(bytes @ 1..) = said.read(&mut piece).await {
                reads.lock().extend_from_slice(&piece[..bytes]);
                asked.write_all(&piece[..bytes]).await.unwrap();
            }
        };
        tokio::join!(forth, async { drop(tokio::io::copy(&mut answers, &mut hears).await) });
    });
    let meets = Meets { limits: limits(), security: security() };
    assert_eq!(meets.meet(&address).await, Ok(Standing::Member(known())));
    passing.abort();
    let seen = seen.lock();
    seen.clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_the_secret_is_answered_and_nobody_can_read_along() {
    answered(guarded(&secrets(b"a")), guarded(&secrets(b"a"))).await;
    let reads_along = |seen: &[u8]| seen.windows(4).any(|bytes| bytes == b"HTTP");
    assert!(reads_along(&seen_between(|| Arc::new(Plain)).await), "how nodes begin to speak");
    let seen = seen_between(|| guarded(&secrets(b"a"))).await;
    assert!(!seen.is_empty() && !reads_along(&seen));
    assert!(!seen.windows(32).any(|bytes| bytes == [b'a'; 32]), "the secret itself");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_another_secret_or_none_is_refused_at_either_end() {
    let why = refused(guarded(&secrets(b"a")), guarded(&secrets(b"b"))).await;
    assert!(why.contains("does not have the secret of this cluster"), "{why}");
    refused(Arc::new(Plain), guarded(&secrets(b"b"))).await;
    let why = refused(guarded(&secrets(b"a")), Arc::new(Plain)).await;
    assert!(why.contains("does not speak TLS"), "{why}");
    let meets = Meets { limits: limits(), security: guarded(&secrets(b"a")) };
    let met = meets.meet(&host(guarded(&secrets(b"b"))).await.address).await.unwrap_err();
    assert!(met.to_string().contains("secret of this cluster"), "{met}");
}

/// One after the other takes the new secret as one more, then as its first, then alone: none is cut off from one that is a
/// step behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_are_replaced_in_three_steps() {
    let steps: [&[u8]; 4] = [b"a", b"ab", b"ba", b"b"];
    for pair in steps.windows(2) {
        answered(guarded(&secrets(pair[0])), guarded(&secrets(pair[1]))).await;
        answered(guarded(&secrets(pair[1])), guarded(&secrets(pair[0]))).await;
    }
    let why = refused(guarded(&secrets(b"ba")), guarded(&secrets(b"a"))).await;
    assert!(!why.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_connections_take_what_was_replaced_and_others_stay() {
    let security = guarded(&secrets(b"a"));
    let host = host(security.clone()).await;
    let before = caller(guarded(&secrets(b"a")), &host);
    before.reaches(2).await;
    security.replace(&secrets(b"b")).unwrap();
    caller(guarded(&secrets(b"b")), &host).reaches(2).await;
    assert_eq!(before.ask(2, Channel::Control).await, arrived(2), "the connection is there already");
    // Another purpose has a connection of its own.
    assert_ne!(before.ask(2, Channel::Snapshot).await, arrived(2));
}

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from(self.0.der().to_vec())
    }

    /// A certificate for these names.
    fn issue(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Arc<CertifiedKey> {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let key = any_supported_type(&PrivateKeyDer::try_from(key.serialize_der()).unwrap()).unwrap();
        Arc::new(CertifiedKey::new(vec![certificate.der().clone()], key))
    }

    fn of(&self, node: &str) -> Arc<CertifiedKey> {
        self.issue(&[&format!("{node}.{DOMAIN}")], |_| {})
    }

    /// What a node with such a certificate shows, and wants to be shown.
    fn keys(&self, own: Arc<CertifiedKey>) -> Keys {
        self.keys_of("", own)
    }

    /// The same for a node that knows its name.
    fn keys_of(&self, node: &str, own: Arc<CertifiedKey>) -> Keys {
        let (authorities, domain) = (vec![self.der()], DOMAIN.to_owned());
        Keys::Certificates(Certificates {
            own,
            authorities,
            revocations: Vec::new(),
            domain,
            node: node.into(),
        })
    }

    fn node(&self, node: &str) -> Arc<Guarded> {
        guarded(&self.keys_of(node, self.of(node)))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_with_certificates_of_one_authority_reach_each_other() {
    let authority = Authority::new();
    answered(authority.node("one"), authority.node("two")).await;
    let all = authority.issue(&["localhost", &format!("*.{DOMAIN}")], |_| {});
    answered(guarded(&authority.keys(all)), authority.node("two")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_that_are_no_nodes_are_refused_at_either_end() {
    let (authority, other) = (Authority::new(), Authority::new());
    let good = || authority.node("one");
    let expired = authority.issue(&[&format!("one.{DOMAIN}")], |params| {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
    });
    // A certificate of the same authority for something else, as a node would have it that says so itself.
    let elsewhere = Certificates {
        own: authority.issue(&["one.other.example"], |_| {}),
        authorities: vec![authority.der()],
        revocations: Vec::new(),
        domain: "other.example".to_owned(),
        node: "one".to_owned(),
    };
    // Of another authority, with the right one trusted.
    let strange = authority.keys(other.of("one"));
    let bad = [
        (guarded(&authority.keys(expired)), "has expired"),
        (guarded(&Keys::Certificates(elsewhere)), "is for no node of"),
        (guarded(&strange), "of no authority that is trusted here"),
        (guarded(&secrets(b"a")), ""),
    ];
    for (bad, expected) in bad {
        let why = refused(good(), bad.clone()).await;
        assert!(why.contains(expected), "{why}");
        refused(bad, good()).await;
    }
    refused(Arc::new(Plain), good()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_held_against_the_name_of_the_node_at_either_end() {
    let authority = Authority::new();
    let host = host(authority.node("two")).await;
    let caller = caller(authority.node("one"), &host);
    caller.place_named(2, &host.address, "three");
    let wrong = |name: &str| TransportError::Refused { to: 2, refusal: Refusal::WrongName(name.to_owned()) };
    assert_eq!(caller.ask(2, Channel::Control).await, wrong("three"));
    caller.place_named(2, &host.address, "two");
    caller.reaches(2).await;
    // Each request is looked at, also on connections that are there.
    host.knows_name(1, "four");
    assert_eq!(caller.ask(2, Channel::Control).await, wrong("four"));
    assert!(host.counters().peer_refusals > 0);
    host.knows_name(1, "one");
    caller.reaches(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authority_is_replaced_while_both_are_trusted_and_a_certificate_can_be_revoked() {
    let (old, new) = (Authority::new(), Authority::new());
    let both = |own: Arc<CertifiedKey>| {
        let (authorities, domain) = (vec![old.der(), new.der()], DOMAIN.to_owned());
        let node = String::new();
        Keys::Certificates(Certificates { own, authorities, revocations: Vec::new(), domain, node })
    };
    let security = guarded(&both(old.of("two")));
    let host = host(security.clone()).await;
    caller(guarded(&both(new.of("one"))), &host).reaches(2).await;
    caller(old.node("one"), &host).reaches(2).await;
    let serial = SerialNumber::from(7_u64);
    let revoked =
        new.issue(&[&format!("one.{DOMAIN}")], |params| params.serial_number = Some(serial.clone()));
    let list = CertificateRevocationListParams {
        this_update: date_time_ymd(2020, 1, 1),
        next_update: date_time_ymd(2090, 1, 1),
        crl_number: SerialNumber::from(1_u64),
        issuing_distribution_point: None,
        revoked_certs: vec![RevokedCertParams {
            serial_number: serial,
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        }],
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let revocations = vec![list.signed_by(&new.0).unwrap().der().clone()];
    let (own, authorities, domain) = (new.of("two"), vec![new.der()], DOMAIN.to_owned());
    let node = "two".to_owned();
    let keys = Keys::Certificates(Certificates { own, authorities, revocations, domain, node });
    security.replace(&keys).unwrap();
    caller(new.node("one"), &host).reaches(2).await;
    let cut_off = caller(guarded(&new.keys(revoked)), &host);
    assert!(matches!(cut_off.ask(2, Channel::Control).await, TransportError::Unreachable { .. }));
}

#[tokio::test]
async fn a_node_does_not_take_a_certificate_of_its_own_that_is_for_no_node() {
    let authority = Authority::new();
    let elsewhere = authority.issue(&["mqtt.example.org"], |_| {});
    for own in [elsewhere, authority.of("two")] {
        let error = Guarded::new(&authority.keys_of("one", own)).err().unwrap();
        assert!(matches!(error, BadKeys::NotOwn { .. }));
        assert!(error.to_string().contains("\"one.nodes.example\""), "{error}");
    }
}

/// Takes any server.
#[derive(Debug)]
struct Credulous;

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// Whether a client that is no node hears anything but an alert and the end.
async fn is_served(
    host: &Host,
    version: &'static SupportedProtocolVersion,
    own: Option<&CertifiedKey>,
) -> bool {
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Credulous));
    let config = match own {
        Some(own) => {
            builder.with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(own.clone())))
        }
        None => builder.with_no_client_auth(),
    };
    let stream = TcpStream::connect(&host.address).await.unwrap();
    let name = ServerName::IpAddress(Ipv4Addr::LOCALHOST.into());
    let serving = async {
        let Ok(mut stream) = TlsConnector::from(Arc::new(config)).connect(name, stream).await else {
            return false;
        };
        let mut byte = [0];
        let sent = stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        sent.is_ok() && matches!(stream.read(&mut byte).await, Ok(1))
    };
    timeout(WITHIN, serving).await.unwrap()
}

/// B50, B53 at the port for nodes: no certificate, an older TLS, another protocol inside.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b53_who_is_no_node_hears_nothing() {
    let authority = Authority::new();
    let host = host(authority.node("two")).await;
    assert!(!is_served(&host, &TLS13, None).await, "without a certificate");
    let own = authority.of("one");
    assert!(!is_served(&host, &TLS12, Some(&own)).await, "by TLS 1.2");
    assert!(!is_served(&host, &TLS13, Some(&own)).await, "without the protocol of nodes");
    caller(authority.node("one"), &host).reaches(2).await;
}
