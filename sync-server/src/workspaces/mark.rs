//! A note beside the workspaces of how far each log went. It is only ever behind the log, whose commits are
//! durable: a log that ends before its note was put back to an older state.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crdt_core::id::Epoch;

use crate::store::{self, Store, StoreError};

/// Between two writings.
const PERIOD: Duration = Duration::from_secs(5);

/// The note of one workspace.
#[derive(Debug)]
pub(crate) struct Mark {
    path: PathBuf,
    written: Option<(Epoch, u64)>,
    at: Option<Instant>,
}

impl Mark {
    /// The note of a workspace. It stands apart from the databases, as the ledger does.
    pub(crate) fn of(data_dir: &Path, workspace: &str) -> Self {
        let path = data_dir.join("heads").join(format!("{workspace}.head"));
        Self { path, written: None, at: None }
    }

    /// Whether the log ends before what the note says of it. A note that cannot be read says nothing.
    ///
    /// # Errors
    /// When the storage fails.
    pub(crate) fn is_beyond(&self, store: &dyn Store) -> Result<bool, StoreError> {
        let log = store::read(store, |tx| tx.log())?;
        let text = match fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "the note cannot be read");
                return Ok(false);
            }
        };
        let said = text.trim_end().split_once(' ');
        let head = said.filter(|(epoch, _)| *epoch == log.epoch.to_string());
        let head: Option<u64> = head.and_then(|(_, head)| head.parse().ok());
        Ok(head.is_some_and(|head| head > log.head))
    }

    /// Writes how far the log goes, every few seconds.
    pub(crate) fn note(&mut self, store: &dyn Store) {
        if self.at.is_none_or(|at| at.elapsed() >= PERIOD) {
            self.write(store);
        }
    }

    /// Writes how far the log goes.
    pub(crate) fn write(&mut self, store: &dyn Store) {
        self.at = Some(Instant::now());
        let written = store::read(store, |tx| {
            let log = tx.log()?;
            Ok((log.epoch, log.head))
        });
        let Ok(now) = written else { return };
        if self.written == Some(now) {
            return;
        }
        match self.put(&format!("{} {}\n", now.0, now.1)) {
            Ok(()) => self.written = Some(now),
            // The log is whole all the same.
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "the note cannot be written");
            }
        }
    }

    fn put(&self, text: &str) -> std::io::Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        let unfinished = self.path.with_extension("unfinished");
        fs::write(&unfinished, text)?;
        fs::rename(&unfinished, &self.path)
    }
}
