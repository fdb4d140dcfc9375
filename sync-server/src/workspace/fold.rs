//! Folding: a document's old changes become one snapshot, in the background. Positions, contents and the
//! index of hashes stay as they are.

use std::collections::BTreeSet;

use crdt_core::limits;
use crdt_core::record::document::Purpose;
use crdt_core::record::{Cells, Document, DocumentError};

use super::Workspace;
use crate::failpoint;
use crate::store::{self, DocumentRow, Read, StoreError};

/// What one step of folding did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Folding {
    /// A document was folded; there may be more.
    Folded {
        /// Its number.
        document: u64,
    },
    /// Nothing was folded yet; there is more to look at.
    Looked,
    /// There is nothing to do until the log grows.
    Idle,
}

/// Positions that one step looks at: a batch that comes meanwhile waits for no more than that.
const STEP: u64 = 64;

/// A document's new snapshot, verified.
struct Folded {
    document: u64,
    snapshot: Vec<u8>,
}

impl Workspace {
    /// One step of folding: looks for the next document whose old changes outgrow its snapshot, and folds
    /// them. The log's last positions keep their changes, so that devices near the head get changes and
    /// not whole documents.
    ///
    /// # Errors
    /// When the storage fails, or a document is damaged; that document is left as it is, and the next step
    /// goes on behind it.
    pub fn fold_one(&mut self) -> Result<Folding, StoreError> {
        let up_to = self.head()?.saturating_sub(self.stride.followed_max);
        if self.fold_cursor >= up_to {
            return Ok(Folding::Idle);
        }
        let (after, last) = (self.fold_cursor, up_to.min(self.fold_cursor + STEP));
        let mut reached = after;
        // This thread is the only writer: between the two transactions nothing changes.
        let folded = store::read(&*self.store, |tx| {
            let mut seen = BTreeSet::new();
            for (position, number) in tx.changed(after, last)? {
                reached = position;
                if seen.insert(number)
                    && let Some(document) = outgrown(tx, number, up_to)?
                {
                    return fold(tx, &document, up_to).map(Some);
                }
            }
            Ok(None)
        });
        let Folded { document, snapshot } = match folded {
            Ok(Some(folded)) => folded,
            Ok(None) => {
                self.fold_cursor = last;
                return Ok(Folding::Looked);
            }
            Err(error) => {
                if matches!(error, StoreError::Damaged(_)) {
                    self.fold_cursor = reached;
                }
                return Err(error);
            }
        };
        store::write(&*self.store, |tx| {
            tx.fold(document, &snapshot, up_to)?;
            failpoint::hit(failpoint::FOLD);
            Ok(())
        })?;
        // Another document of the same batch may need it.
        self.fold_cursor = reached.saturating_sub(1);
        Ok(Folding::Folded { document })
    }
}

/// A document and its snapshot.
type Outgrown = (DocumentRow, Option<Vec<u8>>);

/// The document, when its old changes outgrow its snapshot.
fn outgrown(tx: &dyn Read, number: u64, up_to: u64) -> Result<Option<Outgrown>, StoreError> {
    let foldable = tx.foldable(number, up_to, limits::FOLD_CHANGES_MIN)?;
    let (Some(bytes), Some(row)) = (foldable, tx.document(number)?) else { return Ok(None) };
    let snapshot = tx.snapshot(number)?;
    let outgrown = bytes > snapshot.as_ref().map_or(0, Vec::len) as u64;
    Ok(outgrown.then_some((row, snapshot)))
}

/// The snapshot with the changes up to a position, loaded again and compared before anything is replaced.
fn fold(tx: &dyn Read, (row, snapshot): &Outgrown, up_to: u64) -> Result<Folded, StoreError> {
    let damaged = |error: DocumentError| StoreError::Damaged(error.to_string());
    let changes = tx.changes_after(row.number, row.folded_to)?;
    let (old, recent): (Vec<_>, Vec<_>) =
        changes.iter().partition(|change| change.position <= up_to);
    let old = old.iter().filter_map(|change| change.bytes.as_deref());
    let recent = recent.iter().filter_map(|change| change.bytes.as_deref());
    let document = Document::load(Purpose::Fold, snapshot.as_deref(), old).map_err(damaged)?;
    let snapshot = document.save().map_err(damaged)?;
    let reloaded = Document::load(Purpose::Fold, Some(&snapshot), recent).map_err(damaged)?;
    let cells = Cells::from_stored(&row.cells).map_err(|e| StoreError::Damaged(e.to_string()))?;
    if reloaded.heads() != cells.heads() || reloaded.cells().map_err(damaged)? != cells {
        return Err(damaged(DocumentError::Heads));
    }
    Ok(Folded { document: row.number, snapshot })
}
