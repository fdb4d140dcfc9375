//! What SQLite's errors mean for whoever must act.

use rusqlite::ErrorCode;

use crate::error::StoreError;

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        let text = error.to_string();
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Corrupt(text),
            Some(
                ErrorCode::SystemIoFailure
                | ErrorCode::CannotOpen
                | ErrorCode::PermissionDenied
                | ErrorCode::ReadOnly
                | ErrorCode::NoLargeFileSupport
                | ErrorCode::FileLockingProtocolFailed,
            ) => Self::Io(text),
            Some(
                ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::AuthorizationForStatementDenied,
            ) => Self::Busy,
            _ => Self::Statement(text),
        }
    }
}

impl StoreError {
    /// Whether the file itself can no longer be trusted as it is.
    pub(crate) const fn is_damage(&self) -> bool {
        matches!(self, Self::Corrupt(_))
    }
}
