//! One writer per file: a lock beside the database, held for the client's lifetime and freed by the
//! operating system when the process ends, however it ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use crate::error::StoreError;

/// The lock; dropping it frees the file.
#[derive(Debug)]
pub(crate) struct WriterLock {
    _file: File,
}

impl WriterLock {
    /// Takes the lock of `database`.
    pub(crate) fn take(database: &Path) -> Result<Self, StoreError> {
        let io = |error: std::io::Error| StoreError::Io(error.to_string());
        let path = beside(database, ".lock");
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path);
        let file = file.map_err(io)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(StoreError::InUse { path: database.to_owned() }),
            Err(TryLockError::Error(error)) => Err(io(error)),
        }
    }
}

/// The file's name with `suffix` appended.
pub(crate) fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
