//! A broker with every kind of listener, and a certificate authority of the test's own for those with TLS.
//! Used by every module here; one broker a test, so that fixed client ids and topics never meet.

use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use e2e_tests::{Broker, process};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

/// The broker under test and the directory with its certificates; both end with the test.
pub(crate) struct Node {
    broker: Broker,
    dir: Directory,
}

/// A directory that is removed in the end.
pub(crate) struct Directory(PathBuf);

impl Directory {
    /// A new one.
    pub(crate) fn new() -> Self {
        Self(process::fresh_dir())
    }

    /// A file in it that need not exist.
    pub(crate) fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

impl Deref for Node {
    type Target = Broker;

    fn deref(&self) -> &Broker {
        &self.broker
    }
}

impl Node {
    /// A broker with the listeners `mqtt`, `ws`, `tls`, `wss` and `unix`.
    pub(crate) fn start() -> Self {
        Self::with_config("")
    }

    /// The same with more configuration.
    pub(crate) fn with_config(toml: &str) -> Self {
        let dir = Directory::new();
        write_certificates(&dir.0);
        let keys =
            format!("{{ certificate = {:?}, key = {:?} }}", dir.file("node.pem"), dir.file("node.key"));
        let secure = |name: &str| {
            format!("[listener.{name}]\nprotocol = \"{name}\"\naddress = \"127.0.0.1:0\"\ntls = {keys}\n")
        };
        let unix = format!("[listener.unix]\nprotocol = \"unix\"\naddress = {:?}\n", dir.file("mqtt.sock"));
        let broker = Broker::with_config(&(secure("tls") + &secure("wss") + &unix + toml));
        Self { broker, dir }
    }

    /// The port of a listener.
    pub(crate) fn port(&self, listener: &str) -> String {
        self.addr(listener).rsplit(':').next().unwrap().to_owned()
    }

    /// The URL of a listener by the name that its certificate has.
    pub(crate) fn url(&self, listener: &str) -> String {
        let path = if listener.starts_with("ws") { "/mqtt" } else { "" };
        format!("{listener}://localhost:{}{path}", self.port(listener))
    }

    /// The authority that signed the broker's certificate.
    pub(crate) fn ca(&self) -> String {
        self.dir.file("ca.pem")
    }

    /// An authority that did not.
    pub(crate) fn other_ca(&self) -> String {
        self.dir.file("other-ca.pem")
    }

    /// The path of the unix socket.
    pub(crate) fn socket(&self) -> String {
        self.dir.file("mqtt.sock")
    }
}

/// `ca.pem`, a certificate of it for localhost in `node.pem` and `node.key`, and an authority that signed nothing.
fn write_certificates(dir: &Path) {
    let (ca, issuer) = authority("Quelea test CA");
    let mut params = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, "localhost");
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    let files = [
        ("ca.pem", ca),
        ("other-ca.pem", authority("Another CA").0),
        ("node.pem", certificate.pem()),
        ("node.key", key.serialize_pem()),
    ];
    for (name, text) in files {
        fs::write(dir.join(name), text).unwrap();
    }
}

fn authority(name: &str) -> (String, Issuer<'static, KeyPair>) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    (certificate.pem(), Issuer::new(params, key))
}
