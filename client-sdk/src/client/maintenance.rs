//! Looking after the file: what is unsent, idle work, exports, checks, wiping.

use std::path::Path;

use serde_json::Value as Json;

use super::{Client, SEARCH_STEP};
use crate::error::StoreError;
use crate::store::fold::{self, VerifyReport};
use crate::store::{Durability, export, outbox, search};
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

    /// One small step of what can wait: words for full text, batches that are kept no longer, histories
    /// that outgrew their snapshot. Gives whether there is more; call it when the app is idle.
    ///
    /// # Errors
    /// When the store cannot write.
    pub fn idle_work(&self) -> Result<bool, StoreError> {
        let now = self.inner.config.clock.wall();
        self.write(Durability::Normal, |session| {
            let schema = session.schema();
            let mut more = false;
            for entity in schema.entities().filter(|entity| !entity.search.is_empty()) {
                more |= search::flush(&session.tx, entity, SEARCH_STEP)? == SEARCH_STEP;
            }
            let now = now.plus_millis(session.state.meta.offset());
            more |= outbox::prune(session, now, IDLE_STEP)? == IDLE_STEP;
            more |= fold::fold(session, IDLE_STEP)? == IDLE_STEP;
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
}

fn write_json(path: &Path, json: &Json) -> Result<(), StoreError> {
    std::fs::write(path, json.to_string()).map_err(|error| StoreError::Io(error.to_string()))
}
