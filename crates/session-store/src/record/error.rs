//! Why bytes are not a record. Made by everything that reads one; says nothing of where the bytes lay.

/// Why bytes are not a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Not the prost message that they should be.
    #[error("expected a record of kind `{kind}`, found bytes that are none: {reason}")]
    Malformed {
        /// Which kind of record.
        kind: &'static str,
        /// What prost says.
        reason: String,
    },
    /// A version that this binary does not know.
    #[error(
        "expected a record of kind `{kind}` in version {known}, found version {found}: a newer Quelea wrote it"
    )]
    Version {
        /// Which kind of record.
        kind: &'static str,
        /// The newest that this binary reads.
        known: u32,
        /// What the record says.
        found: u32,
    },
    /// A field that is always written is absent.
    #[error("expected the field `{field}`, found none")]
    Missing {
        /// Its name.
        field: &'static str,
    },
    /// A field has a value that is never written.
    #[error("the field `{field}` has a value that is never written")]
    Invalid {
        /// Its name.
        field: &'static str,
    },
    /// The checksum of a record does not fit its bytes.
    #[error("the checksum of a record of kind `{kind}` does not fit its bytes")]
    Checksum {
        /// Which kind of record.
        kind: &'static str,
    },
}

impl RecordError {
    /// The bytes are not a message of this kind.
    pub(crate) fn malformed(kind: &'static str, error: &prost::DecodeError) -> Self {
        Self::Malformed { kind, reason: error.to_string() }
    }
}
