//! Whether the certificate that a client has shown would still be accepted: authorities and lists of what is revoked change
//! while its connection lasts. Kept with the connection's bytes, which have the certificate; decides nothing about users.

use std::fmt;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;

use super::tls::Tls;

/// What one connection knows of its listener's files.
pub(super) struct Trust {
    tls: Arc<Tls>,
    /// Which of their versions has accepted the certificate.
    seen: u64,
}

impl Trust {
    /// To be made before the handshake: what is read again during it is looked at once more. `None` where nobody is asked for a
    /// certificate.
    pub(super) fn new(tls: &Arc<Tls>) -> Option<Self> {
        tls.asks_clients().then(|| Self { tls: Arc::clone(tls), seen: tls.version() })
    }

    /// Whether these certificates, the client's own first, would be accepted now. Costs next to nothing where no file has
    /// changed.
    pub(super) fn holds(&mut self, certificates: &[CertificateDer<'_>]) -> bool {
        let version = self.tls.version();
        if version != self.seen && self.tls.accepts(certificates) {
            self.seen = version;
        }
        version == self.seen
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Trust").field("seen", &self.seen).finish_non_exhaustive()
    }
}
