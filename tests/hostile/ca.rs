//! A certificate authority for tests, and a TLS client as a transport of `RawClient`.
//! Used by the TLS tests, here and in `access/`; nothing it makes is good for anything else.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use e2e_tests::transport::{Transport, tcp};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams,
    SerialNumber, date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// An authority.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate with its key, both PEM.
pub(crate) struct Identity {
    certificate: String,
    key: String,
    serial: u64,
}

/// When a certificate is valid.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Validity {
    /// Now.
    Now,
    /// Until some years ago.
    Past,
    /// From some decades ahead.
    Future,
}

impl Authority {
    /// A new one with a key of its own.
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Issues a certificate for these names, of a server and client alike; the first is its common name too.
    pub(crate) fn issue(&self, serial: u64, names: &[&str], validity: Validity) -> Identity {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        // What is no host's name stands in the subject alone.
        let hosts = names.iter().filter(|name| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'));
        let mut params = CertificateParams::new(hosts.cloned().collect::<Vec<_>>()).unwrap();
        params.distinguished_name = DistinguishedName::new();
        if let Some(name) = names.first() {
            params.distinguished_name.push(DnType::CommonName, name.as_str());
        }
        params.serial_number = Some(SerialNumber::from(serial));
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        match validity {
            Validity::Now => {}
            Validity::Past => {
                (params.not_before, params.not_after) =
                    (date_time_ymd(2000, 1, 1), date_time_ymd(2001, 1, 1));
            }
            Validity::Future => params.not_before = date_time_ymd(2090, 1, 1),
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        Identity { certificate, key: key.serialize_pem(), serial }
    }

    /// A revocation list of these certificates.
    pub(crate) fn revoke(&self, revoked: &[&Identity]) -> String {
        let one = |identity: &&Identity| RevokedCertParams {
            serial_number: SerialNumber::from(identity.serial),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(2090, 1, 1),
            crl_number: SerialNumber::from(1u64),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(one).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).unwrap().pem().unwrap()
    }

    /// This authority alone, as what a client trusts.
    pub(crate) fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap()).unwrap();
        roots
    }

    /// What a client trusts this authority with, and shows of itself.
    pub(crate) fn client(&self, shown: Option<&Identity>) -> ClientConfig {
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.roots());
        let Some(shown) = shown else { return builder.with_no_client_auth() };
        let chain = vec![CertificateDer::from_pem_slice(shown.certificate.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(shown.key.as_bytes()).unwrap();
        builder.with_client_auth_cert(chain, key).unwrap()
    }
}

/// The files of a server, in a directory that goes when this is dropped.
pub(crate) struct Files(PathBuf);

impl Files {
    /// Writes certificate and key of the server, the authority of its clients, and who of them is revoked.
    pub(crate) fn write(server: &Identity, clients: &Authority, revoked: &[&Identity]) -> Self {
        let dir = std::env::temp_dir().join(e2e_tests::unique("quelea-tls"));
        std::fs::create_dir_all(&dir).unwrap();
        for (name, content) in [
            ("server.pem", &server.certificate),
            ("server.key", &server.key),
            ("ca.pem", &clients.pem),
            ("crl.pem", &clients.revoke(revoked)),
        ] {
            std::fs::write(dir.join(name), content).unwrap();
        }
        Self(dir)
    }

    /// One of them.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        Path::join(&self.0, name)
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// A TLS connection as a transport.
pub(crate) struct TlsTransport(pub(crate) StreamOwned<ClientConnection, TcpStream>);

impl TlsTransport {
    /// Connects; the handshake happens with the first bytes.
    pub(crate) fn open(addr: &str, config: ClientConfig) -> Self {
        let name = ServerName::try_from("localhost").unwrap();
        Self(StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), tcp(addr)))
    }
}

impl Transport for TlsTransport {
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)?;
        self.0.flush()
    }

    fn receive(&mut self, buffer: &mut [u8], timeout: Duration) -> io::Result<usize> {
        self.0.sock.set_read_timeout(Some(timeout.max(Duration::from_millis(1))))?;
        self.0.read(buffer)
    }

    fn shutdown(&mut self) {
        Transport::shutdown(&mut self.0.sock);
    }
}
