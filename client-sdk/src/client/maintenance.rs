//! Looking after the file: what is unsent, idle work, exports, checks, wiping.

use std::path::Path;

use crdt_core::schema::Entity;
use serde_json::Value as Json;

use super::{Client, SEARCH_STEP};
use crate::error::StoreError;
use crate::store::fold::{self, VerifyReport};
use crate::store::incoming::purge::{self, Done};
use crate::store::{Durability, Session, export, loading, lock, meta, outbox, search};
use crate::unsent::{Unsent, WipeMode};

/// Batches and documents that one step of idle work takes.
const IDLE_STEP: usize = 50;

impl Client {
    /// How much the server has not answered.
    ///
    /// # Errors
    /// When the store cannot answer.
    pub fn unsent(&self) -> Result<Unsent, StoreError> {
        self.read(outbox::unsent)
    }

    /// One small step of what can wait: traces of records that left, words for full text, batches that are kept no longer, histories
    /// that outgrew their snapshot. Gives whether there is more; call it when the app is idle. After records
    /// have left, a large file is written anew here, which takes seconds.
    ///
    /// # Errors
    /// When the store cannot write.
    pub fn idle_work(&self) -> Result<bool, StoreError> {
        self.purge(Occasion::Idle)?;
        self.end_loading(Unless::CatchingUp)?;
        let now = self.inner.config.clock.wall();
        self.quiet()?;
        self.write(Durability::Normal, |session| {
            let schema = session.schema();
            let mut more = false;
            for entity in schema.entities().filter(|entity| !entity.search.is_empty()) {
                more |= search::flush(&session.tx, entity, SEARCH_STEP)? == SEARCH_STEP;
            }
            let now = now.plus_millis(session.state.meta.offset());
            more |= outbox::prune(session, now, IDLE_STEP)? == IDLE_STEP;
            more |= fold::fold(session, IDLE_STEP)?;
            Ok(more)
        })
    }

    /// Writes what is unsent or disputed as JSON, with field names and values, and the changes as stored.
    ///
    /// # Errors
    /// When the store cannot be read or the file not be written.
    pub fn export_unsent(&self, path: &Path) -> Result<(), StoreError> {
        let state = self.inner.store.state();
        let json = self.read(|connection| export::unsent(connection, &state))?;
        write_json(path, &json)
    }

    /// Writes what helps to find a fault as JSON: versions, positions, counts, reasons of refusals. Nothing
    /// of any record's contents.
    ///
    /// # Errors
    /// When the store cannot be read or the file not be written.
    pub fn export_diagnostics(&self, path: &Path) -> Result<(), StoreError> {
        let state = self.inner.store.state();
        let json = self.read(|connection| export::diagnostics(connection, &state))?;
        write_json(path, &json)
    }

    /// Compares what every document says with its history. Takes as long as loading all of them.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn verify(&self) -> Result<VerifyReport, StoreError> {
        self.read(fold::verify)
    }

    /// Removes the file and everything in it. Tells how much was unsent.
    ///
    /// # Errors
    /// [`StoreError::Unsent`] when work is unsent and `mode` does not allow for that; the file is then left
    /// as it is. Otherwise when the file cannot be removed.
    pub fn wipe(&self, mode: WipeMode) -> Result<Unsent, StoreError> {
        let unsent = self.unsent()?;
        if mode == WipeMode::IfSent && !unsent.is_empty() {
            return Err(StoreError::Unsent(unsent));
        }
        self.inner.store.remove()?;
        self.inner.hub.close();
        Ok(unsent)
    }

    /// Removes the file, whatever is unsent, and what was set aside or salvaged beside it: the device was
    /// revoked.
    pub(crate) fn wipe_revoked(&self) -> Result<(), StoreError> {
        let path = &self.inner.config.path;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        let set_aside = name.map(|name| format!("{name}.damaged-")).unwrap_or_default();
        for entry in std::fs::read_dir(folder.unwrap_or(Path::new("."))).map_err(io)? {
            let entry = entry.map_err(io)?;
            if !set_aside.is_empty() && entry.file_name().to_string_lossy().starts_with(&set_aside)
            {
                std::fs::remove_file(entry.path()).map_err(io)?;
            }
        }
        self.wipe(WipeMode::Always).map(drop)
    }

    /// Removes from the file what is left of records that are gone: in many small transactions, so that
    /// edits pass in between, but for writing the file anew.
    pub(super) fn purge(&self, occasion: Occasion) -> Result<(), StoreError> {
        let Some(due) = self.read(purge::read)? else { return Ok(()) };
        let small = self.read(purge::file_bytes)? <= purge::SMALL_BYTES_MAX;
        let anew = small || due.scope_lost || due.erased || occasion == Occasion::Idle;
        if !anew && !due.log {
            return Ok(());
        }
        let schema = self.schema();
        for entity in due.entities.iter().filter_map(|name| schema.entity(name)) {
            self.merge_words(entity)?;
        }
        if anew {
            self.inner.store.write_anew()?;
        }
        if self.inner.store.empty_log()? {
            let done = if anew { Done::Everything } else { Done::AllButFile };
            self.write(Durability::Normal, |session| purge::done(&session.tx, &due, done))?;
        }
        Ok(())
    }

    /// What is better done now than behind the next edit.
    pub(crate) fn quiet(&self) -> Result<(), StoreError> {
        self.inner.store.fold_log()
    }

    /// Builds the indexes that the first load left out, in steps between which edits pass.
    pub(crate) fn end_loading(&self, unless: Unless) -> Result<(), StoreError> {
        if !self.inner.store.state().loading {
            return Ok(());
        }
        if unless == Unless::CatchingUp && !self.read(loading::is_over)? {
            return Ok(());
        }
        while self.write(Durability::Normal, loading::build_some)? {}
        Ok(())
    }

    /// Writes the words that wait, and merges them all.
    fn merge_words(&self, entity: &Entity) -> Result<(), StoreError> {
        let flush = |session: &mut Session<'_>| search::flush(&session.tx, entity, SEARCH_STEP);
        while self.write(Durability::Normal, flush)? == SEARCH_STEP {}
        let merge = |pages: i64| {
            self.write(Durability::Normal, |session| search::merge(&session.tx, entity, pages))
        };
        let mut more = merge(-MERGE_PAGES)?;
        while more {
            more = merge(MERGE_PAGES)?;
        }
        Ok(())
    }

    /// Gives the device an id of its own when the app gave none and the file has none.
    pub(super) fn name_device(&self) -> Result<(), StoreError> {
        if self.inner.config.device.is_some() || self.read(meta::device)?.is_some() {
            return Ok(());
        }
        let mut id = [0; 16];
        lock(&self.inner.config.entropy).fill(&mut id);
        self.write(Durability::Full, |session| meta::put(&session.tx, "device", &id))
    }
}

/// When traces are removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Occasion {
    /// A page has come; the user may be writing.
    Page,
    /// The app has nothing else to do.
    Idle,
}

/// What keeps the first load from being ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unless {
    /// More of it is on its way.
    CatchingUp,
    /// Nothing: whether the rest comes soon is not known.
    Never,
}

fn io(error: std::io::Error) -> StoreError {
    StoreError::Io(error.to_string())
}

/// Pages of words that one step of merging takes.
const MERGE_PAGES: i64 = 500;

fn write_json(path: &Path, json: &Json) -> Result<(), StoreError> {
    std::fs::write(path, json.to_string()).map_err(io)
}
