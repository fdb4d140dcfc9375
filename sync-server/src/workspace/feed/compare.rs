//! Comparing documents with a device's, after a restore. A document that the device may not see is answered as
//! one that is not there.

use std::sync::Arc;

use crdt_core::protocol::{Compare, Compared, Lack, Lacking};
use crdt_core::record::{Cells, Reach};

use super::watched::Watched;
use crate::store::{Read, StoreError};

/// What answers how far documents go, for one device.
#[derive(Debug, Clone)]
pub struct Comparison {
    watched: Arc<Watched>,
}

impl Comparison {
    pub(super) const fn new(watched: Arc<Watched>) -> Self {
        Self { watched }
    }

    /// What the server lacks of each document.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn answer(&self, tx: &dyn Read, compare: &Compare) -> Result<Lacking, StoreError> {
        let documents = compare.documents.iter().map(|compared| self.lack(tx, compared));
        Ok(Lacking { documents: documents.collect::<Result<_, _>>()? })
    }

    fn lack(&self, tx: &dyn Read, compared: &Compared) -> Result<Lack, StoreError> {
        let Compared { identity, reach } = compared;
        let row = tx.find_document(&identity.id)?;
        let row = row.filter(|row| row.entity == identity.entity);
        let row = match row {
            Some(row) if self.watched.shows(tx, row.number)? => row,
            _ => {
                let from = Reach::default().lacking(reach);
                return Ok(Lack { number: 0, from, parted: false });
            }
        };
        let mut all = true;
        for head in &reach.heads {
            let like = tx.changes_like(row.number, head.short())?;
            all &= like.iter().any(|change| change.hash == *head);
        }
        if all {
            return Ok(Lack { number: row.number, ..Lack::default() });
        }
        let cells =
            Cells::from_stored(&row.cells).map_err(|e| StoreError::Damaged(e.to_string()))?;
        let from = Reach::of(&cells).lacking(reach);
        let parted = from.is_empty();
        Ok(Lack { number: row.number, from, parted })
    }
}
