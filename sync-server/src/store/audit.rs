//! What a workspace keeps of its audit: entries as bytes, each with its hash, and a note of the last one.

use super::StoreError;
use crate::audit::Head;

/// An entry's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRow {
    /// Its number, from 1.
    pub number: u64,
    /// Its canonical bytes.
    pub bytes: Vec<u8>,
    /// The hash of the entry before it and these bytes.
    pub hash: [u8; 32],
}

/// Reading the audit.
pub trait ReadAudit {
    /// The last entry's number and hash; [`Head::empty`] before the first.
    fn audit_head(&self) -> Result<Head, StoreError>;
    /// The entries after a number, in order, at most `limit`.
    fn audit_after(&self, number: u64, limit: usize) -> Result<Vec<AuditRow>, StoreError>;
}

/// Writing the audit.
pub trait WriteAudit: ReadAudit {
    /// Appends the entry that follows the last one. Nothing is ever changed or removed.
    fn append_audit(&mut self, row: &AuditRow) -> Result<(), StoreError>;
}
