//! Certificates, keys and revocation lists in PEM files, and how a change of files is noticed. Used by whoever speaks TLS:
//! listeners, the admin API, the port for nodes. Keeps nothing.

use rustls::{
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};
use std::{
    collections::hash_map::DefaultHasher,
    fs,
    hash::{Hash, Hasher},
    io,
    path::{Path, PathBuf},
};
use zeroize::Zeroizing;

/// Certificates that cannot be used, with the file to look at.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file does not hold what it should.
    #[error("{} holds no usable {what}: {why}", path.display())]
    Content {
        /// Which file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// A certificate and a key that are not a pair.
    #[error("the key in {} does not belong to the certificate in {}", key.display(), certificate.display())]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// The protocol versions or parameters do not go together.
    #[error("tls cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
}

/// Changes with the content of any file, however it is replaced; a file that cannot be read counts as empty.
pub(crate) fn fingerprint<'a>(files: impl IntoIterator<Item = &'a PathBuf>) -> u64 {
    let mut hasher = DefaultHasher::new();
    for path in files {
        Zeroizing::new(fs::read(path).unwrap_or_default()).hash(&mut hasher);
    }
    hasher.finish()
}

/// A certificate with its authorities, and its key.
///
/// # Errors
/// A file cannot be used, or they are not a pair.
pub(crate) fn certified_key(
    certificate: &Path,
    key: &Path,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, TlsError> {
    let unusable = |why: String| TlsError::Content { path: key.into(), what: "private key", why };
    let chain = certificates(certificate)?;
    let der = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|error| unusable(error.to_string()))?;
    let signing = provider.key_provider.load_private_key(der).map_err(|error| unusable(error.to_string()))?;
    let certified = CertifiedKey::new(chain, signing);
    match certified.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => Ok(certified),
        Err(rustls::Error::InconsistentKeys(_)) => {
            Err(TlsError::Mismatch { certificate: certificate.into(), key: key.into() })
        }
        Err(error) => {
            let why = error.to_string();
            Err(TlsError::Content { path: certificate.into(), what: "certificate", why })
        }
    }
}

/// All certificates of a file; at least one.
///
/// # Errors
/// It cannot be used.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    items(path, "certificate")
}

/// All items of one kind in a PEM file; at least one.
///
/// # Errors
/// It cannot be used.
pub(crate) fn items<T: PemObject>(path: &Path, what: &'static str) -> Result<Vec<T>, TlsError> {
    let unusable = |why: String| TlsError::Content { path: path.into(), what, why };
    let items: Result<Vec<T>, _> = T::pem_slice_iter(&read(path)?).collect();
    let items = items.map_err(|error| unusable(error.to_string()))?;
    if items.is_empty() {
        return Err(unusable("no PEM section of that kind".into()));
    }
    Ok(items)
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, TlsError> {
    fs::read(path).map(Zeroizing::new).map_err(|source| TlsError::Read { path: path.into(), source })
}
