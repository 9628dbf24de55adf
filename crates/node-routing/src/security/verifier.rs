//! Whether whoever is at the other end of a TLS connection is a node: by a public key that follows from a shared secret, or
//! by a certificate of an authority that is trusted for a node of this cluster. Asked by rustls, for either end.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    WebPkiSupportedAlgorithms, ring, verify_tls13_signature, verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, ServerName, SubjectPublicKeyInfoDer, TrustAnchor, UnixTime,
};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, PeerIncompatible,
    SignatureScheme,
};
use webpki::{
    CertRevocationList, EndEntityCert, KeyUsage, OwnedCertRevocationList, RevocationCheckDepth,
    RevocationOptionsBuilder, anchor_from_trusted_cert,
};

use super::Who;

/// Certificates of a node, and whose it accepts.
pub struct Certificates {
    /// Its own, with its key.
    pub own: Arc<CertifiedKey>,
    /// The authorities of all nodes' certificates; more than one while they are replaced.
    pub authorities: Vec<CertificateDer<'static>>,
    /// Their revocation lists. With any, each certificate must be covered by one.
    pub revocations: Vec<CertificateRevocationListDer<'static>>,
    /// What is behind the node's name in a certificate: `NODE.DOMAIN` is among its DNS names.
    pub domain: String,
    /// What the node is called itself.
    pub node: String,
}

/// Keys that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BadKeys {
    /// No key, which is a mistake in this binary.
    #[error("a key has no public half")]
    NoPublicHalf,
    /// What is to be trusted is no authority.
    #[error("a certificate of the authorities cannot be used: {0}")]
    Authority(webpki::Error),
    /// A list of revoked certificates cannot be read.
    #[error("a revocation list cannot be used: {0}")]
    Revocations(webpki::Error),
    /// The node's own certificate is for somebody else.
    #[error(
        "the certificate is not that of this node: expected the DNS name \"{expected}\" in it, found {found:?}"
    )]
    NotOwn {
        /// The name that is missing.
        expected: String,
        /// Its DNS names.
        found: Vec<String>,
    },
    /// The library cannot use them.
    #[error("the keys cannot be used: {0}")]
    Tls(#[from] Error),
}

/// Why somebody is no node.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoNode {
    #[error("it does not have the secret of this cluster")]
    OtherSecret,
    #[error("its certificate has expired")]
    Expired,
    #[error("its certificate is not valid yet")]
    NotYet,
    #[error("its certificate is revoked")]
    Revoked,
    #[error("its certificate is of no authority that is trusted here")]
    Authority,
    #[error("its certificate is for no node of {0:?}")]
    Domain(String),
    #[error("its certificate cannot be used: {0}")]
    Other(String),
}

impl From<NoNode> for Error {
    fn from(why: NoNode) -> Self {
        Self::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(why))))
    }
}

impl From<webpki::Error> for NoNode {
    fn from(error: webpki::Error) -> Self {
        match error {
            webpki::Error::CertExpired { .. } => Self::Expired,
            webpki::Error::CertNotValidYet { .. } => Self::NotYet,
            webpki::Error::CertRevoked => Self::Revoked,
            // One of the same name is not the same.
            webpki::Error::UnknownIssuer | webpki::Error::InvalidSignatureForPublicKey => Self::Authority,
            other => Self::Other(other.to_string()),
        }
    }
}

/// What somebody has to show.
#[derive(Debug)]
pub(super) enum Trust {
    /// One of these keys.
    Keys(Vec<SubjectPublicKeyInfoDer<'static>>),
    /// A certificate of one of these authorities.
    Authorities(Authorities),
}

#[derive(Debug)]
pub(super) struct Authorities {
    anchors: Vec<TrustAnchor<'static>>,
    revocations: Vec<CertRevocationList<'static>>,
    domain: String,
}

impl Authorities {
    /// Those of a node, whose own certificate has to fit.
    ///
    /// # Errors
    /// [`BadKeys`].
    pub(super) fn of(certificates: &Certificates) -> Result<Self, BadKeys> {
        let anchor = |der| anchor_from_trusted_cert(der).map(|anchor| anchor.to_owned());
        let anchors = certificates.authorities.iter().map(anchor).collect::<Result<_, _>>();
        let list =
            |der: &CertificateRevocationListDer<'_>| OwnedCertRevocationList::from_der(der).map(Into::into);
        let revocations = certificates.revocations.iter().map(list).collect::<Result<_, _>>();
        let this = Self {
            anchors: anchors.map_err(BadKeys::Authority)?,
            revocations: revocations.map_err(BadKeys::Revocations)?,
            domain: certificates.domain.to_ascii_lowercase(),
        };
        let own = certificates.own.cert.first().ok_or(BadKeys::NoPublicHalf)?;
        let names = this.names(own);
        if names.is_empty() || !Who::Named(names.into()).may_be(&certificates.node) {
            let certificate = EndEntityCert::try_from(own).ok();
            let found = certificate.iter().flat_map(|found| found.valid_dns_names()).map(str::to_owned);
            let expected = format!("{}.{}", certificates.node, this.domain);
            return Err(BadKeys::NotOwn { expected, found: found.collect() });
        }
        Ok(this)
    }

    /// Of which nodes of the cluster a certificate is.
    pub(super) fn names(&self, der: &CertificateDer<'_>) -> Vec<Box<str>> {
        let Ok(certificate) = EndEntityCert::try_from(der) else { return Vec::new() };
        let names = certificate.valid_dns_names().map(str::to_ascii_lowercase);
        let of_domain = names.filter_map(|name| {
            let node = name.strip_suffix(&self.domain)?.strip_suffix('.')?;
            (!node.is_empty()).then(|| node.into())
        });
        of_domain.collect()
    }

    fn check(
        &self,
        (own, others): (&CertificateDer<'_>, &[CertificateDer<'_>]),
        now: UnixTime,
        usage: KeyUsage,
    ) -> Result<(), NoNode> {
        let certificate = EndEntityCert::try_from(own)?;
        let lists: Vec<&CertRevocationList<'_>> = self.revocations.iter().collect();
        // Without lists there is nothing to look up.
        let revocation = RevocationOptionsBuilder::new(&lists).ok();
        let revocation =
            revocation.map(|options| options.with_depth(RevocationCheckDepth::EndEntity).build());
        let all = algorithms().all;
        certificate.verify_for_usage(all, &self.anchors, others, now, usage, revocation, None)?;
        if self.names(own).is_empty() {
            return Err(NoNode::Domain(self.domain.clone()));
        }
        Ok(())
    }
}

fn algorithms() -> WebPkiSupportedAlgorithms {
    ring::default_provider().signature_verification_algorithms
}

/// Holds what somebody shows against what they have to.
#[derive(Debug)]
pub(super) struct Verifier(pub(super) Trust);

impl Verifier {
    fn check(
        &self,
        (own, others): (&CertificateDer<'_>, &[CertificateDer<'_>]),
        now: UnixTime,
        usage: KeyUsage,
    ) -> Result<(), NoNode> {
        match &self.0 {
            Trust::Keys(keys) if keys.iter().any(|key| **key == **own) => Ok(()),
            Trust::Keys(_) => Err(NoNode::OtherSecret),
            Trust::Authorities(authorities) => authorities.check((own, others), now, usage),
        }
    }

    /// Who somebody may be who was accepted.
    pub(super) fn who(&self, shown: Option<&[CertificateDer<'_>]>) -> Who {
        match (&self.0, shown.and_then(<[_]>::first)) {
            (Trust::Keys(_), _) => Who::Any,
            (Trust::Authorities(authorities), Some(own)) => Who::Named(authorities.names(own).into()),
            (Trust::Authorities(_), None) => Who::Named(Arc::default()),
        }
    }

    fn is_signed(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match &self.0 {
            Trust::Keys(_) => {
                let key = SubjectPublicKeyInfoDer::from(own.as_ref());
                verify_tls13_signature_with_raw_key(message, &key, signed, &algorithms())
            }
            Trust::Authorities(_) => verify_tls13_signature(message, own, signed, &algorithms()),
        }
    }

    fn is_raw(&self) -> bool {
        matches!(self.0, Trust::Keys(_))
    }
}

/// There is no TLS 1.2 between nodes.
fn too_old() -> Error {
    PeerIncompatible::ServerDoesNotSupportTls12Or13.into()
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check((own, others), now, KeyUsage::server_auth())?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _own: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(too_old())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.is_signed(message, own, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        algorithms().supported_schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        self.is_raw()
    }
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check((own, others), now, KeyUsage::client_auth())?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _own: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(too_old())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.is_signed(message, own, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        algorithms().supported_schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        self.is_raw()
    }
}
